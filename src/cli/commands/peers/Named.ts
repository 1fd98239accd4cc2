/**
 * Finding the peer that a command names.
 */
import { Effect } from "effect"
import { Argument } from "effect/cli"
import { PeerStore } from "../../../services/PeerStore.ts"
import { failed } from "../../Failure.ts"
import { printableShort } from "../../Printable.ts"
import { nodeIdOf } from "./Describe.ts"

export const nameArgument = Argument.String("name").pipe(Argument.withDescription("Name or node id of a peer"))

/** The entry of this name or node id. */
export const findPeer = Effect.fnUntraced(function* (text: string) {
  const { peers } = yield* (yield* PeerStore).list
  const found = peers.find((peer) => peer.peerId === text) ?? peers.find((peer) => nodeIdOf(peer) === text)
  if (found !== undefined) return found
  return yield* failed("UNKNOWN_PEER", `there is no peer named ${printableShort(text)}`, "see: alknet peers list")
})
