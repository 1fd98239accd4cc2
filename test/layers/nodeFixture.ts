/** A small node for tests of the router and the endpoint: memory network, a peer table that a test can change. */
import { Effect, Layer, Option, SubscriptionRef } from "effect"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { Discovery } from "../../src/services/Discovery.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Identity, type Principal } from "../../src/services/Identity.ts"
import type { Snapshot } from "../../src/services/PeerStore.ts"
import { Router } from "../../src/services/Router.ts"

export const ECHO = Alpn.make("test/echo")

export interface TestNode {
  readonly nodeId: NodeId
  readonly endpoint: Endpoint["Service"]
  readonly router: Router["Service"]
  readonly audit: ReadonlyArray<string>
  /** Sets or removes what a peer may do; connections see it like a change of the store. */
  readonly setPeer: (nodeId: NodeId, scopes: ReadonlyArray<string> | undefined) => Effect.Effect<void>
}

export const makeNode = (options: EndpointLayer.EndpointOptions = { listen: [{ host: "10.0.0.1", port: 0 }] }) =>
  Effect.gen(function* () {
    const local = yield* makeEphemeralIdentity
    const peers = new Map<string, Principal>()
    const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
    const snapshot = yield* SubscriptionRef.make(empty)
    const resolve = (fingerprint: string) => Effect.sync(() => Option.fromUndefinedOr(peers.get(fingerprint)))
    const identity = Layer.succeed(
      Identity,
      Identity.of({
        local,
        snapshot,
        resolveFromFingerprint: resolve,
        resolveFromToken: () => Effect.succeed(Option.none()),
        resolveRequest: ({ peerKey }) =>
          peerKey === undefined ? Effect.succeed(Option.none()) : resolve(fingerprintOfNode(peerKey))
      })
    )
    const audit: Array<string> = []
    const discovery = Layer.succeed(Discovery, { lookup: () => Effect.succeed([]), reached: () => Effect.void })
    const services = Layer.mergeAll(identity, discovery, AuditLog.layerCollect(audit), MemoryTransport.layer)
    const context = yield* Layer.build(
      EndpointLayer.layer(options).pipe(Layer.provideMerge(RouterLayer.layer), Layer.provide(services))
    )
    return yield* Effect.provide(
      Effect.gen(function* () {
        return {
          nodeId: local.nodeId,
          endpoint: yield* Endpoint,
          router: yield* Router,
          audit,
          setPeer: (nodeId, scopes) =>
            Effect.andThen(
              Effect.sync(() => {
                const fingerprint = fingerprintOfNode(nodeId)
                if (scopes === undefined) peers.delete(fingerprint)
                else peers.set(fingerprint, { id: "peer", scopes, resources: {} })
              }),
              SubscriptionRef.update(snapshot, (before) => ({ ...before, revision: before.revision + 1 }))
            )
        } satisfies TestNode as TestNode
      }),
      context
    )
  })

/** Where and as whom a node is reached. */
export const targetOf = (node: TestNode) => ({ nodeId: node.nodeId, addresses: node.endpoint.addresses })
