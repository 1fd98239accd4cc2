/** quic-go as a client and as a server. What it does is in quic-go/main.go, which is built in the root. */
import { assert, beforeAll, describe } from "@effect/vitest"
import { Effect, Result, Schema } from "effect"
import { NODE_SERVER_NAME } from "../../src/protocol/identity/Certificate.ts"
import { nodeIdToBytes } from "../../src/protocol/identity/NodeId.ts"
import { parseSocketAddress } from "../../src/protocol/SocketAddress.ts"
import { bytesOf, ECHO, echoConnection, OTHER, readAll, soon } from "../conformance/transport/provider.ts"
import {
  acceptedNobody,
  CERTIFICATE_REQUIRED,
  check,
  dialingNode,
  type ForeignKey,
  type ListeningNode,
  listeningNode,
  makeForeignIdentity,
  NO_APPLICATION_PROTOCOL,
  nodeAndVisitor
} from "./Fixture.ts"
import { copy, folder, isUsable, run, start } from "./NewerDebian.ts"

interface ClientOptions {
  readonly alpn: string
  readonly serverName?: string
  readonly identity?: ForeignKey
  readonly bytes?: number
}

const Told = Schema.fromJsonString(
  Schema.Struct({
    alpn: Schema.String,
    same: Schema.Boolean,
    code: Schema.Int,
    peer: Schema.String,
    address: Schema.String
  })
)

const decode = Schema.decodeUnknownSync(Told)

const keyFlags = (identity: ForeignKey | undefined) =>
  identity === undefined ? [] : ["-certificate", identity.certificate, "-key", identity.key]

describe.skipIf(!isUsable)("quic-go", () => {
  const program = "/tmp/alknet-quic-go"

  beforeAll(
    () =>
      Effect.runPromise(
        Effect.scoped(
          Effect.gen(function* () {
            const source = yield* copy("quic-go", yield* folder)
            yield* run("go", "build", "-o", program, `${source}/main.go`)
          })
        )
      ),
    120_000
  )

  /** Echoes as a handler would, and gives what the client says. */
  const answer = (node: ListeningNode, options: ClientOptions) =>
    Effect.gen(function* () {
      const serverName = options.serverName ?? NODE_SERVER_NAME
      const client = yield* start(
        ...[program, "-address", `127.0.0.1:${node.port}`, "-alpn", options.alpn, "-server-name", serverName],
        ...["-bytes", `${options.bytes ?? 100}`, ...keyFlags(options.identity)]
      )
      return { client, told: Effect.map(client.line, decode) }
    })

  const echoed = (node: ListeningNode, options: ClientOptions) =>
    Effect.gen(function* () {
      const { client, told } = yield* answer(node, options)
      const connection = yield* node.accepted
      yield* Effect.forkScoped(echoConnection(connection))
      assert.deepInclude(yield* told, { alpn: options.alpn, same: true, code: 0 })
      assert.strictEqual((yield* client.finished).code, 0)
      return connection
    })

  const refusal = (node: ListeningNode, options: ClientOptions) =>
    Effect.gen(function* () {
      const { code, same } = yield* (yield* answer(node, options)).told
      assert.isFalse(same)
      yield* acceptedNobody(node)
      return code
    })

  check(
    "TR-027 with an Ed25519 certificate it opens a stream with the chosen ALPN, and both see the other's key",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor()
      const ours = Buffer.from(nodeIdToBytes(node.identity.nodeId)).toString("hex")
      for (const alpn of [ECHO, OTHER]) {
        const { told } = yield* answer(node, { alpn, identity, bytes: 1_048_576 })
        const connection = yield* node.accepted
        assert.strictEqual(connection.peer, identity.nodeId)
        assert.strictEqual(connection.alpn, alpn)
        yield* Effect.forkScoped(echoConnection(connection))
        assert.deepInclude(yield* told, { alpn, same: true, peer: ours })
        assert.deepInclude(yield* connection.closed, { by: "peer", kind: "app", code: 0 })
      }
    })
  )

  check(
    "TR-027 without a certificate it is refused in the node context, and anonymous in the web context",
    Effect.gen(function* () {
      const node = yield* listeningNode({ web: true })
      assert.strictEqual(yield* refusal(node, { alpn: OTHER }), CERTIFICATE_REQUIRED)
      assert.isUndefined((yield* echoed(node, { alpn: OTHER, serverName: "node.example" })).peer)
    })
  )

  check(
    "TR-027 an ALPN that is not served, or not to anybody, is no_application_protocol",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor({ web: true })
      assert.strictEqual(yield* refusal(node, { alpn: "test/nobody", identity }), NO_APPLICATION_PROTOCOL)
      const web = { alpn: ECHO, serverName: "node.example", identity }
      assert.strictEqual(yield* refusal(node, web), NO_APPLICATION_PROTOCOL)
    })
  )

  check(
    "TR-027 our dialer proves its key to a quic-go server, which echoes 1 MiB",
    Effect.gen(function* () {
      const identity = yield* makeForeignIdentity(yield* folder, "server")
      const us = yield* dialingNode()
      const server = yield* start(program, "-alpn", ECHO, ...keyFlags(identity), "server")
      const address = Result.getOrThrow(parseSocketAddress(decode(yield* server.line).address))
      const connection = yield* us.transport.dial({
        address,
        expect: identity.nodeId,
        alpn: ECHO,
        identity: us.identity
      })
      const ours = Buffer.from(nodeIdToBytes(us.identity.nodeId)).toString("hex")
      assert.deepInclude(decode(yield* server.line), { alpn: ECHO, peer: ours })
      const bytes = bytesOf(1_048_576)
      const stream = yield* connection.open
      yield* Effect.forkScoped(stream.writeLast(bytes))
      assert.strictEqual(Buffer.compare(yield* soon("the echo", readAll(stream)), bytes), 0)
      yield* connection.close(0, "")
      assert.strictEqual((yield* server.finished).code, 0)
    })
  )
})
