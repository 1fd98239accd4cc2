/**
 * A whole node on loopback, with both transports on one port, and peers that call its operations: what the hostile tests
 * attack while it works. The parts are the real ones; state is in memory, and the handshake time is short, so that a test
 * sees what a flood leaves behind.
 */
import { Effect, Layer, Schema, type Scope } from "effect"
import * as CallClientLayer from "../../src/layers/CallClient.ts"
import * as DispatcherLayer from "../../src/layers/call/Dispatcher.ts"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import * as CallHandlerLayer from "../../src/layers/handlers/CallHandler.ts"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as OperationRegistryLayer from "../../src/layers/OperationRegistry.ts"
import * as PeerStoreDiscovery from "../../src/layers/PeerStoreDiscovery.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as CombinedTransport from "../../src/layers/transport/CombinedTransport.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import { fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { PeerStore } from "../../src/services/PeerStore.ts"
import type { Transport } from "../../src/services/Transport.ts"

/** Time for a handshake at the node under attack. */
export const HANDSHAKE_MILLIS = 5000

export interface RunningNode {
  readonly address: SocketAddress
  /** Live connections of the node. */
  readonly connections: Effect.Effect<number>
  /** A peer in its own right: its own key, its own sockets, one transport. It dials the node, or what relays to it. */
  readonly client: (transport: "quic" | "tls", through?: SocketAddress) => Effect.Effect<Client, unknown, Scope.Scope>
}

export interface Client {
  /** Calls the operation that gives back what it gets. */
  readonly call: (message: string) => Effect.Effect<string, unknown>
}

const serving = CombinedTransport.layer(
  QuicTransport.layer({ limits: { handshakeMillis: HANDSHAKE_MILLIS } }),
  TlsTransport.layer({ handshakeTimeout: HANDSHAKE_MILLIS })
)
const dialing = { quic: QuicTransport.layer(), tls: TlsTransport.layer() }

const Echo = Operation.query("test/echo", {
  description: "Gives back what it gets.",
  input: Schema.String,
  output: Schema.String,
  access: AccessControl.scopes("test:echo"),
  visibility: "external"
})

const operations = OperationGroup.make(Operation.implement(Echo, (message) => Effect.succeed(message)))

/** A node with a key of its own that serves `alknet/call` where it listens. */
const buildNode = Effect.fnUntraced(function* (
  transport: Layer.Layer<Transport>,
  listen: ReadonlyArray<SocketAddress>
) {
  const local = yield* makeEphemeralIdentity
  const parts = Layer.mergeAll(CallHandlerLayer.layer, CallClientLayer.layer).pipe(
    Layer.provide(DispatcherLayer.layer),
    Layer.provide(OperationRegistryLayer.layer(operations)),
    Layer.provideMerge(EndpointLayer.layer({ listen })),
    Layer.provideMerge(RouterLayer.layer),
    Layer.provide(PeerStoreDiscovery.layer),
    Layer.provideMerge(IdentityLayer.layer(local)),
    Layer.provideMerge(MemoryPeerStore.layer({ local: local.nodeId })),
    Layer.provide(Layer.mergeAll(AuditLog.layerSilent, transport))
  )
  const services = Effect.all({ endpoint: Endpoint, peers: PeerStore, calls: CallClient })
  return { local, ...(yield* Effect.provide(services, yield* Layer.build(parts))) }
})

export const runNode: Effect.Effect<RunningNode, unknown, Scope.Scope> = Effect.gen(function* () {
  const node = yield* buildNode(serving, [{ host: "127.0.0.1", port: 0 }])
  const address = node.endpoint.addresses[0]
  if (address === undefined) return yield* Effect.die("the node listens nowhere")
  let clients = 0
  return {
    address,
    connections: Effect.map(node.endpoint.connections, (live) => live.length),
    client: Effect.fnUntraced(function* (transport, through = address) {
      const { calls, local } = yield* buildNode(dialing[transport], [])
      yield* node.peers.add({
        peerId: `client-${++clients}`,
        fingerprints: [fingerprintOfNode(local.nodeId)],
        scopes: ["test:echo"],
        resources: {},
        enabled: true,
        addresses: []
      })
      const connection = yield* calls.connect({ nodeId: node.local.nodeId, addresses: [through] })
      return { call: (message) => connection.call(Echo, message) }
    })
  }
})
