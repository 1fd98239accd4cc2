/**
 * `alknet keys revoke PREFIX`: the key is worth nothing from the next look-up on.
 */
import { Effect } from "effect"
import { Argument, Command } from "effect/cli"
import { isTokenPrefix } from "../../../protocol/identity/Token.ts"
import { PeerStore } from "../../../services/PeerStore.ts"
import { wrongUsage } from "../../Failure.ts"
import { Output } from "../../Output.ts"
import { layerPeers } from "../../Stores.ts"

export const revoke = Command.make(
  "revoke",
  { prefix: Argument.String("prefix").pipe(Argument.withDescription("The first 8 characters, as in keys list")) },
  Effect.fn(function* ({ prefix }) {
    const output = yield* Output
    if (!isTokenPrefix(prefix)) {
      return yield* wrongUsage("that is no prefix of a key", "give its first 8 characters only; see: alknet keys list")
    }
    yield* (yield* PeerStore).removeKey(prefix)
    yield* output.answer({ prefix, revoked: true }, [])
    yield* output.note(`${prefix} is revoked`)
  }, Effect.provide(layerPeers))
).pipe(
  Command.withDescription("Revoke an API key"),
  Command.withExamples([{ command: "alknet keys revoke alk_0123", description: "by its prefix" }])
)
