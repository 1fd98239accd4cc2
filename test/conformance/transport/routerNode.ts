/** A node with router and endpoint over a transport under test; its peers are what the case says. */
import { Effect, Layer, Option, SubscriptionRef } from "effect"
import * as EndpointLayer from "../../../src/layers/Endpoint.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import * as RouterLayer from "../../../src/layers/Router.ts"
import { type Fingerprint, fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../../src/protocol/identity/NodeId.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { Discovery } from "../../../src/services/Discovery.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import { Identity } from "../../../src/services/Identity.ts"
import type { Snapshot } from "../../../src/services/PeerStore.ts"
import { Router } from "../../../src/services/Router.ts"
import { Transport } from "../../../src/services/Transport.ts"

/** `known` are the peers that the node knows; the set may change while it runs. */
export const routerNode = Effect.fnUntraced(function* (
  transport: Transport["Service"],
  listen: EndpointLayer.EndpointOptions["listen"] = []
) {
  const local = yield* makeEphemeralIdentity
  const known = new Set<NodeId>()
  const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
  const snapshot = yield* SubscriptionRef.make(empty)
  const resolve = (fingerprint: Fingerprint) =>
    Effect.sync(() => {
      const found = [...known].some((nodeId) => fingerprintOfNode(nodeId) === fingerprint)
      return found ? Option.some({ id: "peer", scopes: [], resources: {} }) : Option.none()
    })
  const identity = Identity.of({
    local,
    snapshot,
    resolveFromFingerprint: resolve,
    resolveFromToken: () => Effect.succeed(Option.none()),
    resolveRequest: ({ peerKey }) =>
      peerKey === undefined ? Effect.succeed(Option.none()) : resolve(fingerprintOfNode(peerKey))
  })
  const services = Layer.mergeAll(
    Layer.succeed(Identity, identity),
    Layer.succeed(Discovery, { lookup: () => Effect.succeed([]), reached: () => Effect.void }),
    Layer.succeed(Transport, transport),
    AuditLog.layerSilent
  )
  const context = yield* Layer.build(
    EndpointLayer.layer({ listen, drainTimeout: "300 millis" }).pipe(
      Layer.provideMerge(RouterLayer.layer),
      Layer.provide(services)
    )
  )
  return yield* Effect.provide(
    Effect.map(Effect.all([Endpoint, Router]), ([endpoint, router]) => ({ local, known, endpoint, router })),
    context
  )
})
