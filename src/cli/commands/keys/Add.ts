/**
 * `alknet keys add`: an API key. It is shown once; the store keeps its hash.
 */
import { randomBytes } from "node:crypto"
import { Clock, Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { hashToken, makeToken, tokenPrefix } from "../../../protocol/identity/Token.ts"
import { ApiKey, PeerStore } from "../../../services/PeerStore.ts"
import { wrongUsage } from "../../Failure.ts"
import { Output } from "../../Output.ts"
import { roleFlag, scopeFlag, scopesOf } from "../../Rights.ts"
import { spanFlag } from "../../Spans.ts"
import { layerPeers } from "../../Stores.ts"

/** Prefixes have four characters; with many keys a new one may be taken. */
const PREFIX_TRIES = 20

export const add = Command.make(
  "add",
  {
    role: roleFlag,
    scopes: scopeFlag,
    expires: spanFlag("expires", "How long it is good, such as 30d; without it until it is revoked").pipe(Flag.optional)
  },
  Effect.fn(function* ({ expires, role, scopes: further }) {
    const output = yield* Output
    const store = yield* PeerStore
    const scopes = yield* scopesOf(role, further)
    if (scopes.length === 0) return yield* wrongUsage("a key needs something it may do", "give --scope or --role")
    const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
    const expiresAt = Option.isSome(expires) ? now + expires.value : undefined
    const make = Effect.suspend(() => {
      const key = makeToken(randomBytes)
      const entry = new ApiKey({
        prefix: tokenPrefix(key),
        sha256: hashToken(key),
        scopes,
        ...(expiresAt === undefined ? {} : { expiresAt })
      })
      return Effect.as(store.addKey(entry), key)
    })
    const key = yield* Effect.retry(make, { times: PREFIX_TRIES, while: (error) => error.reason === "PrefixTaken" })
    const prefix = tokenPrefix(key)
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
