/**
 * `alknet peers remove | disable | enable NAME`. A running node closes the connections of a peer that lost its place within
 * two seconds.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import { PeerStore } from "../../../services/PeerStore.ts"
import { Output } from "../../Output.ts"
import { layerPeers } from "../../Stores.ts"
import { findPeer, nameArgument } from "./Named.ts"

const change = (
  verb: "remove" | "disable" | "enable",
  apply: (store: PeerStore["Service"], peerId: string) => ReturnType<PeerStore["Service"]["remove"]>
) =>
  Effect.fn(function* ({ name }: { readonly name: string }) {
    const output = yield* Output
    const { peerId } = yield* findPeer(name)
    yield* apply(yield* PeerStore, peerId)
    yield* output.answer({ name: peerId, done: verb }, [])
    yield* output.note(`${peerId} is ${verb}d`)
  }, Effect.provide(layerPeers))

export const remove = Command.make(
  "remove",
  { name: nameArgument },
  change("remove", (store, id) => store.remove(id))
).pipe(
  Command.withDescription("Forget a peer; its open connections end"),
  Command.withExamples([
    { command: "alknet peers remove laptop", description: "it may not come back without an invite" }
  ])
)

export const disable = Command.make(
  "disable",
  { name: nameArgument },
  change("disable", (store, id) => store.enable(id, false))
).pipe(
  Command.withDescription("Shut a peer out and keep its entry"),
  Command.withExamples([{ command: "alknet peers disable laptop", description: "an invite does not undo this" }])
)

export const enable = Command.make(
  "enable",
  { name: nameArgument },
  change("enable", (store, id) => store.enable(id, true))
).pipe(
  Command.withDescription("Let a disabled peer in again"),
  Command.withExamples([{ command: "alknet peers enable laptop", description: "with the rights it had" }])
)
