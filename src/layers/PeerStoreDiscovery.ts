/** Discovery from the peer store: the addresses that came with a ticket or worked before. */
import { Clock, Effect, Layer, Result, SubscriptionRef } from "effect"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { formatSocketAddress, parseSocketAddress } from "../protocol/SocketAddress.ts"
import { Discovery } from "../services/Discovery.ts"
import { Identity } from "../services/Identity.ts"
import { PeerStore } from "../services/PeerStore.ts"
import { peerOfNode } from "./PeerIndex.ts"

export const layer: Layer.Layer<Discovery, never, Identity | PeerStore> = Layer.effect(
  Discovery,
  Effect.gen(function* () {
    const identity = yield* Identity
    const store = yield* PeerStore
    const entryOf = (nodeId: NodeId) =>
      Effect.map(SubscriptionRef.get(identity.snapshot), (snapshot) => peerOfNode(snapshot, nodeId))
    return Discovery.of({
      lookup: (nodeId) =>
        Effect.map(entryOf(nodeId), (peer) =>
          (peer?.addresses ?? []).flatMap((text) => {
            const address = parseSocketAddress(text)
            return Result.isSuccess(address) ? [address.success] : []
          })
        ),
      reached: (nodeId, address) =>
        Effect.gen(function* () {
          const peer = yield* entryOf(nodeId)
          if (peer === undefined) return
          const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
          const text = address === undefined ? undefined : formatSocketAddress(address)
          yield* store.seen(peer.peerId, now, text)
        }).pipe(Effect.catch((error) => Effect.logWarning("could not note where a peer was reached", error)))
    })
  })
)
