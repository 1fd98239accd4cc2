/**
 * `alknet keys list`: the API keys, by their public prefix.
 */
import { Clock, Effect } from "effect"
import { Command } from "effect/cli"
import { PeerStore } from "../../../services/PeerStore.ts"
import { Output } from "../../Output.ts"
import { layerPeers } from "../../Stores.ts"
import { formatSpan } from "../../Units.ts"

export const list = Command.make(
  "list",
  {},
  Effect.fn(function* () {
    const output = yield* Output
    const { apiKeys } = yield* (yield* PeerStore).list
    const now = yield* Clock.currentTimeMillis
    const until = (expiresAt: number | undefined): string => {
      if (expiresAt === undefined) return "revoked"
      const left = expiresAt * 1000 - now
      return left <= 0 ? "expired" : formatSpan(left)
    }
    yield* output.table(
      apiKeys.map(({ expiresAt, prefix, scopes }) => ({ prefix, scopes, expires: expiresAt ?? null })),
      [{ title: "PREFIX", whole: true }, { title: "MAY" }, { title: "GOOD UNTIL" }],
      apiKeys.map(({ expiresAt, prefix, scopes }) => [prefix, scopes.join(" "), until(expiresAt)])
    )
    if (apiKeys.length === 0) yield* output.note("no keys yet; alknet keys add makes one")
  }, Effect.provide(layerPeers))
).pipe(
  Command.withDescription("List the API keys by their prefix"),
  Command.withExamples([{ command: "alknet keys list --json", description: "for a program" }])
)
