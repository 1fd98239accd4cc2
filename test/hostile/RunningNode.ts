/**
 * A whole node on loopback, with both transports on one port, and peers that call its operations: what the hostile tests
 * attack while it works. The parts are the real ones; state is in memory, and the handshake time is short, so that a test
 * sees what a flood leaves behind.
 */
import { randomBytes } from "node:crypto"
import { Context, Effect, Layer, Option, References, Schema, type Scope, Stream } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as Node from "../../src/layers/Node.ts"
import * as NodeIdentity from "../../src/layers/NodeIdentity.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as CombinedTransport from "../../src/layers/transport/CombinedTransport.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import * as MemoryVault from "../../src/layers/vault/MemoryVault.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import { fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { wordsFromEntropy } from "../../src/protocol/vault/Mnemonic.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import type { CallConnection } from "../../src/services/CallConnection.ts"
import { CallHandler } from "../../src/services/CallHandler.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { PeerStore } from "../../src/services/PeerStore.ts"
import { type Connection, Transport } from "../../src/services/Transport.ts"

/** Time for a handshake at the node under attack. */
export const HANDSHAKE_MILLIS = 5000

export interface RunningNode {
  readonly address: SocketAddress
  /** Live connections of the node. */
  readonly connections: Effect.Effect<number>
  /** A peer in its own right: its own key, its own sockets, one transport. It dials the node, or what relays to it. */
  readonly client: (transport: "quic" | "tls", through?: SocketAddress) => Effect.Effect<Client, unknown, Scope.Scope>
  /** A peer whose key is known too, and that does what it likes: its bare connection, and the node's side of it. */
  readonly intruder: (transport: "quic" | "tls") => Effect.Effect<Intruder, unknown, Scope.Scope>
}

export interface Intruder {
  readonly connection: Connection
  /** As the node sees it. */
  readonly atNode: CallConnection["Service"]
}

export interface Client {
  /** Calls the operation that gives back what it gets. */
  readonly call: (message: string) => Effect.Effect<string, unknown>
}

const CALL = Schema.decodeUnknownSync(Alpn)("alknet/call")

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

const known = { access: AccessControl.scopes("test:echo"), visibility: "external" } as const

const Wait = Operation.query("test/wait", { description: "Never answers.", output: Schema.Void, ...known })

/** Bytes of an item of `test/items`. */
export const ITEM_BYTES = 1024
const ITEM = "i".repeat(ITEM_BYTES)

const Items = Operation.subscription("test/items", { description: "Never ends.", output: Schema.String, ...known })

const operations = OperationGroup.make(
  Operation.implement(Echo, (message) => Effect.succeed(message)),
  Operation.implement(Wait, Effect.never),
  Operation.implement(Items, Stream.forever(Stream.succeed(ITEM)))
)

/** A node with a key of its own; where it listens nowhere it only dials, and serves nothing. */
const buildNode = Effect.fnUntraced(function* (
  transport: Layer.Layer<Transport>,
  listen: ReadonlyArray<SocketAddress>
) {
  const node = Node.layer({
    version: "0.0.0",
    listen,
    operations: [operations],
    ...(listen.length === 0 ? { only: [] } : {})
  })
  const vault = MemoryVault.layer(wordsFromEntropy(randomBytes(16)).join(" "))
  const parts = node.pipe(
    Layer.provideMerge(NodeIdentity.layer),
    Layer.provideMerge(MemoryPeerStore.layer()),
    Layer.provide([transport, vault, AuditLog.layerSilent])
  )
  const services = Effect.all({
    endpoint: Endpoint,
    peers: PeerStore,
    calls: CallClient,
    handler: Effect.serviceOption(CallHandler)
  })
  // What a peer does wrong is a line in the log; thousands of them are of no use here.
  const quiet = Layer.succeed(References.MinimumLogLevel, "Error")
  return yield* Effect.provide(services, yield* Layer.build(Layer.provide(parts, quiet)))
})

export const runNode: Effect.Effect<RunningNode, unknown, Scope.Scope> = Effect.gen(function* () {
  const node = yield* buildNode(serving, [{ host: "127.0.0.1", port: 0 }])
  const address = node.endpoint.addresses[0]
  if (address === undefined) return yield* Effect.die("the node listens nowhere")
  let clients = 0
  const welcome = (nodeId: NodeId) =>
    node.peers.add({
      peerId: `client-${++clients}`,
      fingerprints: [fingerprintOfNode(nodeId)],
      scopes: ["test:echo"],
      resources: {},
      enabled: true,
      addresses: []
    })
  const nobody: CallHandler["Service"]["connections"] = Effect.succeed([])
  const atNode = Option.match(node.handler, { onNone: () => nobody, onSome: (one) => one.connections })
  return {
    address,
    intruder: Effect.fnUntraced(function* (transport) {
      const identity = yield* makeEphemeralIdentity
      yield* welcome(identity.nodeId)
      const before = yield* atNode
      const { dial } = Context.get(yield* Layer.build(dialing[transport]), Transport)
      const connection = yield* dial({ address, expect: node.endpoint.nodeId, alpn: CALL, identity })
      let mine: CallConnection["Service"] | undefined
      while (mine === undefined) {
        yield* Effect.yieldNow
        mine = (yield* atNode).find((one) => !before.includes(one))
      }
      return { connection, atNode: mine }
    }),
    connections: Effect.map(node.endpoint.connections, (live) => live.length),
    client: Effect.fnUntraced(function* (transport, through = address) {
      const { calls, endpoint } = yield* buildNode(dialing[transport], [])
      yield* welcome(endpoint.nodeId)
      const connection = yield* calls.connect({ nodeId: node.endpoint.nodeId, addresses: [through] })
      return {
        call: (message) =>
          connection.call(Echo, message).pipe(
            // A call that fails because its connection ended says nothing of why.
            Effect.tapError((error) =>
              error.message === "connection closed"
                ? Effect.flatMap(connection.closed, (reason) =>
                    Effect.logError("the connection ended", transport, reason)
                  )
                : Effect.void
            )
          )
      }
    })
  }
})
