/** Our side of the cases, and the keys and certificates of the other side, made by openssl. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Result, type Scope } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import { type NodeId, nodeIdFromBytes } from "../../src/protocol/identity/NodeId.ts"
import type { LocalIdentity } from "../../src/services/Identity.ts"
import { type Connection, type Listener, Transport } from "../../src/services/Transport.ts"
import { ECHO, leavesNothing, OTHER, soon } from "../conformance/transport/provider.ts"
import { folder, run } from "./NewerDebian.ts"

/** A case, which has a scope of its own and leaves nothing behind. */
export const check = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) =>
  it.live(name, () => leavesNothing(body))

/** TLS alerts as QUIC errors (RFC 9001 section 4.8). */
export const CERTIFICATE_REQUIRED = 0x100 + 116
export const NO_APPLICATION_PROTOCOL = 0x100 + 120

/** What a node offers to nodes, and of that what it offers to anybody. */
const NODE_ALPNS = [ECHO, OTHER]
const PUBLIC_ALPNS = [OTHER]

export interface ListeningNode {
  readonly transport: Transport["Service"]
  readonly identity: LocalIdentity
  readonly listener: Listener
  readonly port: number
  /** The next connection, which must come soon. */
  readonly accepted: Effect.Effect<Connection>
}

const makeTransport = (
  options: QuicTransport.QuicTransportOptions
): Effect.Effect<Transport["Service"], never, Scope.Scope> =>
  Effect.map(Layer.build(QuicTransport.layer(options)), (context) => Context.get(context, Transport))

/** A node that listens over QUIC: `test/echo` and `test/other` for nodes, with `web` also `test/other` for anybody. */
export const listeningNode = Effect.fnUntraced(function* (options: QuicTransport.QuicTransportOptions = {}) {
  const transport = yield* makeTransport(options)
  const identity = yield* makeEphemeralIdentity
  const listener = yield* Effect.orDie(
    transport.listen({
      address: { host: "127.0.0.1", port: 0 },
      identity,
      alpns: { node: () => NODE_ALPNS, web: () => PUBLIC_ALPNS }
    })
  )
  const accepted = soon("a connection", Effect.orDie(listener.accept))
  return { transport, identity, listener, port: listener.address.port, accepted } satisfies ListeningNode
})

/** A node that only dials. */
export const dialingNode = Effect.fnUntraced(function* () {
  return { transport: yield* makeTransport({}), identity: yield* makeEphemeralIdentity }
})

/** Nobody got through before: the next connection that the node accepts is an honest one of ours. */
export const acceptedNobody = (node: ListeningNode) =>
  Effect.scoped(
    Effect.gen(function* () {
      const identity = yield* makeEphemeralIdentity
      const expect = node.identity.nodeId
      yield* node.transport.dial({ address: node.listener.address, expect, alpn: ECHO, identity })
      assert.strictEqual((yield* node.accepted).peer, identity.nodeId)
    })
  )

/** A key and a self-signed certificate of the other side: paths as its programs see them. */
export interface ForeignKey {
  readonly certificate: string
  readonly key: string
}

export interface ForeignIdentity extends ForeignKey {
  /** Read from openssl's own output of the key, not from the certificate. */
  readonly nodeId: NodeId
}

export const makeForeignKey = Effect.fnUntraced(function* (
  folder: string,
  name: string,
  ...kind: ReadonlyArray<string>
) {
  const key = `${folder}/${name}.key.pem`
  const certificate = `${folder}/${name}.certificate.pem`
  yield* run("openssl", "genpkey", ...kind, "-out", key)
  yield* run("openssl", "req", "-x509", "-new", "-key", key, "-subj", `/CN=${name}`, "-days", "2", "-out", certificate)
  return { certificate, key } satisfies ForeignKey
})

/** A node as openssl makes one: an Ed25519 key in a self-signed certificate. */
export const makeForeignIdentity = Effect.fnUntraced(function* (folder: string, name: string) {
  const files = yield* makeForeignKey(folder, name, "-algorithm", "ed25519")
  const text = yield* run("openssl", "pkey", "-in", files.key, "-noout", "-text_pub")
  const hex = text.split("pub:")[1]!.replace(/[^0-9a-f]/g, "")
  const nodeId = Result.getOrThrow(nodeIdFromBytes(Buffer.from(hex, "hex")))
  return { ...files, nodeId } satisfies ForeignIdentity
})

/** A node that listens, and a node of the other side, with its files in a folder of its own. */
export const nodeAndVisitor = Effect.fnUntraced(function* (options: QuicTransport.QuicTransportOptions = {}) {
  const node = yield* listeningNode(options)
  return { node, identity: yield* makeForeignIdentity(yield* folder, "node") }
})
