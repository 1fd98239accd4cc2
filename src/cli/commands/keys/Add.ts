/**
 * `alknet keys add`: an API key. It is shown once; the store keeps its hash.
 */
import { Duration, Effect, Option, Redacted } from "effect"
import { Command, Flag } from "effect/cli"
import { issueApiKey } from "../../../layers/ApiKeyIssue.ts"
import { wrongUsage } from "../../Failure.ts"
import { Output } from "../../Output.ts"
import { roleFlag, scopeFlag, scopesOf } from "../../Rights.ts"
import { spanFlag } from "../../Spans.ts"
import { layerPeers } from "../../Stores.ts"

export const add = Command.make(
  "add",
  {
    role: roleFlag,
    scopes: scopeFlag,
    expires: spanFlag("expires", "How long it is good, such as 30d; without it until it is revoked").pipe(Flag.optional)
  },
  Effect.fn(function* ({ expires, role, scopes: further }) {
    const output = yield* Output
    const scopes = yield* scopesOf(role, further)
    if (scopes.length === 0) return yield* wrongUsage("a key needs something it may do", "give --scope or --role")
    const issued = yield* issueApiKey({
      scopes,
      ...(Option.isSome(expires) ? { life: Duration.seconds(expires.value) } : {})
    })
    const { expiresAt, prefix } = issued.key
    const key = Redacted.value(issued.token)
    yield* output.answer({ key, prefix, scopes, ...(expiresAt === undefined ? {} : { expires: expiresAt }) }, key)
    yield* output.note(`this key is shown only now; revoke it with: alknet keys revoke ${prefix}`)
  }, Effect.provide(layerPeers))
).pipe(
  Command.withDescription("Make an API key; it is shown once"),
  Command.withExamples([
    { command: "alknet keys add --scope call:* --expires 30d", description: "for calls, for a month" },
    { command: "alknet keys add --scope git:read:site --json", description: "for a program" }
  ])
)
