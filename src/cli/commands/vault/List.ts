/**
 * `alknet vault list`: which credentials are sealed. Needs no secret.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import { CREDENTIAL_PAGE, type CredentialId, CredentialStore } from "../../../services/CredentialStore.ts"
import { Output } from "../../Output.ts"
import { layerCredentials } from "./Credentials.ts"

export const list = Command.make(
  "list",
  {},
  Effect.fn(function* () {
    const output = yield* Output
    const store = yield* CredentialStore
    const all: Array<CredentialId> = []
    while (true) {
      const last = all.at(-1)
      const page = yield* store.list(last === undefined ? {} : { after: last })
      all.push(...page)
      if (page.length < CREDENTIAL_PAGE) break
    }
    const value = all.map(({ name, purpose }) => ({ purpose, name }))
    const rows = all.map(({ name, purpose }) => [purpose, name])
    yield* output.table(value, [{ title: "PURPOSE" }, { title: "NAME" }], rows)
    if (all.length === 0) yield* output.note("no credential is sealed yet; alknet vault seal NAME makes one")
  }, Effect.provide(layerCredentials))
).pipe(
  Command.withDescription("List the sealed credentials"),
  Command.withExamples([{ command: "alknet vault list", description: "names only" }])
)
