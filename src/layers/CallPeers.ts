/**
 * Peers as layers: a `LayerMap` of kept-up connections over `CallClient`, whose filter decides what the peers may call here.
 *
 * What has to be done anew on each connection (an import, a subscription that feeds something) goes into `onConnected`: it
 * runs before anybody gets the connection, and is interrupted when that ends.
 */
import { Context, type Duration, Effect, Layer, LayerMap } from "effect"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { CallClient, type ConnectOptions } from "../services/CallClient.ts"
import { CallConnection } from "../services/CallConnection.ts"
import { CallPeer, CallPeers } from "../services/CallPeers.ts"
import type { DialTarget } from "../services/Endpoint.ts"
import { defaultWaits, makeReconnecting, type ReconnectWaits } from "./call/Reconnecting.ts"

export interface CallPeersOptions<R = never> extends ConnectOptions, Partial<ReconnectWaits> {
  /**
   * Runs on each new connection before it is given to anybody. A failure closes it, and it is dialed again after the wait:
   * catch what should not have that effect.
   */
  readonly onConnected?: (connection: CallConnection["Service"], nodeId: NodeId) => Effect.Effect<void, unknown, R>
  /** How long a peer that nobody uses is kept. Default 30 s. */
  readonly idleTimeToLive?: Duration.Input
}

/** Waits 1 s, 2 s and so on up to 60 s between attempts, less up to a half at random. */
export const layer = <R = never>(options: CallPeersOptions<R> = {}): Layer.Layer<CallPeers, never, CallClient | R> =>
  Layer.effect(
    CallPeers,
    Effect.gen(function* () {
      const client = yield* CallClient
      const environment = yield* Effect.context<R>()
      const { firstWait, idleTimeToLive = "30 seconds", lasting, longestWait, onConnected, ...connect } = options
      const waits = {
        firstWait: firstWait ?? defaultWaits.firstWait,
        longestWait: longestWait ?? defaultWaits.longestWait,
        lasting: lasting ?? defaultWaits.lasting
      }
      const addresses = new Map<NodeId, NonNullable<DialTarget["addresses"]>>()
      const peers = yield* LayerMap.make(
        (nodeId: NodeId) =>
          Layer.effectContext(
            Effect.gen(function* () {
              yield* Effect.addFinalizer(() => Effect.sync(() => addresses.delete(nodeId)))
              const { connection, peer } = yield* makeReconnecting({
                nodeId,
                connect: Effect.suspend(() =>
                  client.connect({ nodeId, addresses: addresses.get(nodeId) ?? [] }, connect)
                ),
                onConnected: (fresh) =>
                  onConnected === undefined ? Effect.void : Effect.provide(onConnected(fresh, nodeId), environment),
                waits
              })
              return Context.make(CallConnection, connection).pipe(Context.add(CallPeer, peer))
            })
          ),
        { idleTimeToLive }
      )
      return CallPeers.of({
        get: (target) => {
          const { nodeId, addresses: given = [] } = typeof target === "string" ? { nodeId: target } : target
          if (given.length === 0) return peers.get(nodeId)
          return Layer.unwrap(
            Effect.sync(() => {
              addresses.set(nodeId, given)
              return peers.get(nodeId)
            })
          )
        }
      })
    })
  )
