/**
 * A whole node on loopback, with both transports on one port, and clients of it: what the hostile tests attack while it
 * works. The parts are the real ones; only the table of peers is a map, and the handshake time is short, so that a test
 * sees what a flood leaves behind.
 */
import { Effect, Layer, Option, type Scope, SubscriptionRef } from "effect"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as CombinedTransport from "../../src/layers/transport/CombinedTransport.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { Discovery } from "../../src/services/Discovery.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Identity, type LocalIdentity } from "../../src/services/Identity.ts"
import type { Snapshot } from "../../src/services/PeerStore.ts"
import { Router } from "../../src/services/Router.ts"
import type { BiStream, Transport } from "../../src/services/Transport.ts"

export const ECHO = Alpn.make("test/echo")

/** Time for a handshake at the node under attack. */
export const HANDSHAKE_MILLIS = 1000

export interface RunningNode {
  readonly nodeId: NodeId
  readonly address: SocketAddress
  /** Accepted connections that live now. */
  readonly connections: Effect.Effect<number>
  /** A client in its own right: its own key, its own sockets, one transport. It dials the node, or what relays to it. */
  readonly client: (transport: "quic" | "tls", through?: SocketAddress) => Effect.Effect<Client, never, Scope.Scope>
}

export interface Client {
  /** Sends a message on a stream and gets it back. The connection is kept for the next one. */
  readonly call: (message: string) => Effect.Effect<string, unknown>
}

const transports = {
  quic: QuicTransport.layer({ limits: { handshakeMillis: HANDSHAKE_MILLIS } }),
  tls: TlsTransport.layer({ handshakeTimeout: HANDSHAKE_MILLIS })
}

/** An identity service over a set of keys that may do everything. */
const identityOf = (local: LocalIdentity, peers: ReadonlySet<string>) =>
  Layer.effect(
    Identity,
    Effect.gen(function* () {
      const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
      const snapshot = yield* SubscriptionRef.make(empty)
      const resolve = (fingerprint: string) =>
        Effect.sync(() =>
          peers.has(fingerprint) ? Option.some({ id: "peer", scopes: ["**"], resources: {} }) : Option.none()
        )
      return Identity.of({
        local,
        snapshot,
        resolveFromFingerprint: resolve,
        resolveFromToken: () => Effect.succeed(Option.none()),
        resolveRequest: ({ peerKey }) =>
          peerKey === undefined ? Effect.succeed(Option.none()) : resolve(fingerprintOfNode(peerKey))
      })
    })
  )

const buildNode = (
  local: LocalIdentity,
  peers: ReadonlySet<string>,
  transport: Layer.Layer<Transport>,
  options: EndpointLayer.EndpointOptions
) => {
  const discovery = Layer.succeed(Discovery, { lookup: () => Effect.succeed([]), reached: () => Effect.void })
  const services = Layer.mergeAll(identityOf(local, peers), discovery, AuditLog.layerSilent, transport)
  return Layer.build(EndpointLayer.layer(options).pipe(Layer.provideMerge(RouterLayer.layer), Layer.provide(services)))
}

export const runNode: Effect.Effect<RunningNode, unknown, Scope.Scope> = Effect.gen(function* () {
  const local = yield* makeEphemeralIdentity
  const peers = new Set<string>()
  const context = yield* buildNode(local, peers, CombinedTransport.layer(transports.quic, transports.tls), {
    listen: [{ host: "127.0.0.1", port: 0 }]
  })
  const { endpoint, router } = yield* Effect.provide(Effect.all({ endpoint: Endpoint, router: Router }), context)
  yield* router.register({
    alpn: ECHO,
    access: "known-peer",
    accept: (connection) =>
      Effect.forever(Effect.flatMap(connection.accept, (stream) => Effect.forkChild(echo(stream))))
  })
  const address = endpoint.addresses[0]
  if (address === undefined) return yield* Effect.die("the node listens nowhere")
  return {
    nodeId: local.nodeId,
    address,
    connections: Effect.map(endpoint.connections, (live) => live.length),
    client: (transport, through = address) =>
      Effect.gen(function* () {
        const identity = yield* makeEphemeralIdentity
        peers.add(fingerprintOfNode(identity.nodeId))
        const built = yield* Effect.orDie(buildNode(identity, new Set(), transports[transport], {}))
        const dialer = yield* Effect.provide(Effect.service(Endpoint), built)
        const connection = yield* Effect.orDie(dialer.connect({ nodeId: local.nodeId, addresses: [through] }, ECHO))
        // Over TCP the connection is its only stream.
        const only = connection.multiStream ? undefined : yield* Effect.orDie(connection.open)
        return {
          call: (message) =>
            Effect.flatMap(only === undefined ? connection.open : Effect.succeed(only), (stream) =>
              callOn(stream, message, only === undefined)
            )
        }
      })
  }
})

const echo = (stream: BiStream) =>
  Effect.ignore(
    Effect.forever(Effect.flatMap(stream.read, (bytes) => stream.write(bytes))).pipe(
      Effect.catchTag("EndOfStream", () => stream.finish)
    )
  )

const callOn = (stream: BiStream, message: string, isLast: boolean) =>
  Effect.gen(function* () {
    yield* isLast ? stream.writeLast(Buffer.from(message)) : stream.write(Buffer.from(message))
    let heard = ""
    while (heard.length < message.length) heard += Buffer.from(yield* stream.read).toString()
    if (isLast) yield* Effect.ignore(stream.read)
    return heard
  })
