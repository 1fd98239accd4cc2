/** openssl's own QUIC stack as a client: `openssl s_client -quic -alpn`. */
import { assert, describe } from "@effect/vitest"
import { Effect } from "effect"
import { NODE_SERVER_NAME } from "../../src/protocol/identity/Certificate.ts"
import { ECHO, echoConnection, OTHER } from "../conformance/transport/provider.ts"
import {
  acceptedNobody,
  CERTIFICATE_REQUIRED,
  check,
  type ForeignKey,
  type ListeningNode,
  listeningNode,
  makeForeignKey,
  NO_APPLICATION_PROTOCOL,
  nodeAndVisitor
} from "./Fixture.ts"
import { folder, isUsable, start } from "./NewerDebian.ts"

interface ClientOptions {
  readonly serverName: string
  readonly alpn: string
  readonly identity?: ForeignKey
  /** Default: X25519 alone. With openssl's own default the ClientHello takes two datagrams; ID-R19 asks for one. */
  readonly groups?: string
}

/** `-adv`: a line is sent as it is, `{fin}` ends its direction. `-trace`: prints the frames. `stdbuf`: line by line. */
const client = (node: ListeningNode, options: ClientOptions) =>
  start(
    ...["stdbuf", "-oL", "openssl", "s_client", "-quic", "-adv", "-trace", "-connect", `127.0.0.1:${node.port}`],
    ...["-servername", options.serverName, "-alpn", options.alpn, "-groups", options.groups ?? "X25519"],
    ...(options.identity === undefined ? [] : ["-cert", options.identity.certificate, "-key", options.identity.key])
  )

/** Sends a line, ends its direction, waits for the echo: gives what our side saw and what openssl printed. */
const echoed = (node: ListeningNode, options: ClientOptions) =>
  Effect.gen(function* () {
    const program = yield* client(node, options)
    const connection = yield* node.accepted
    yield* Effect.forkScoped(echoConnection(connection))
    yield* program.write("a line from openssl\n{fin}\n")
    while ((yield* program.line) !== "a line from openssl") {}
    yield* program.endInput
    const { code, output } = yield* program.finished
    assert.strictEqual(code, 0)
    return { connection, output, closed: yield* connection.closed }
  })

/**
 * The code of the CONNECTION_CLOSE that openssl received; nobody got through.
 *
 * It looks for one when its input ends, so that must not be before ours is sent: after what it prints of the handshake
 * and a whole handshake of another client.
 */
const refusal = (node: ListeningNode, options: ClientOptions) =>
  Effect.gen(function* () {
    const program = yield* client(node, options)
    while (!(yield* program.line).includes("Verify return code")) {}
    yield* acceptedNobody(node)
    yield* program.endInput
    const { output } = yield* program.finished
    const received = /Received Frame: Connection close \(transport\)\s+Error Code: (\d+)/.exec(output)
    return received === null ? assert.fail(output) : Number(received[1])
  })

describe.skipIf(!isUsable)("openssl s_client -quic", () => {
  check(
    "TR-027 with an Ed25519 certificate it opens a stream with the chosen ALPN, and we see its key",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor()
      for (const alpn of [ECHO, OTHER]) {
        const { closed, connection, output } = yield* echoed(node, { serverName: NODE_SERVER_NAME, alpn, identity })
        assert.strictEqual(connection.peer, identity.nodeId)
        assert.strictEqual(connection.alpn, alpn)
        assert.include(output, `ALPN protocol: ${alpn}`)
        assert.deepInclude(closed, { by: "peer", kind: "app", code: 0 })
      }
    })
  )

  check(
    "TR-027 without a certificate it is refused in the node context",
    Effect.gen(function* () {
      const node = yield* listeningNode({ web: true })
      assert.strictEqual(yield* refusal(node, { serverName: NODE_SERVER_NAME, alpn: OTHER }), CERTIFICATE_REQUIRED)
    })
  )

  check(
    "TR-027 an ALPN that is not served, and none of the public ones in the web context, is no_application_protocol",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor({ web: true })
      for (const [serverName, alpn] of [
        [NODE_SERVER_NAME, "test/nobody"],
        ["node.example", "test/nobody"],
        ["node.example", ECHO]
      ] as const) {
        assert.strictEqual(yield* refusal(node, { serverName, alpn, identity }), NO_APPLICATION_PROTOCOL)
      }
    })
  )

  check(
    "TR-027 with another server name it is anonymous, gets a P-256 certificate and the public ALPNs",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor({ web: true })
      for (const options of [{}, { identity }]) {
        const { connection, output } = yield* echoed(node, { serverName: "node.example", alpn: OTHER, ...options })
        assert.isUndefined(connection.peer)
        assert.strictEqual(connection.alpn, OTHER)
        assert.include(output, "Peer signature type: ecdsa_secp256r1_sha256")
      }
    })
  )

  check(
    "TR-027 a ClientHello that takes two datagrams, openssl's own default, reaches the web context only",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor({ web: true })
      const groups = "X25519MLKEM768:X25519"
      const options = { serverName: NODE_SERVER_NAME, identity, groups }
      assert.isUndefined((yield* echoed(node, { ...options, alpn: OTHER })).connection.peer)
      assert.strictEqual(yield* refusal(node, { ...options, alpn: ECHO }), NO_APPLICATION_PROTOCOL)
    })
  )

  check(
    "TR-027 another kind of key is not asked for: a client that has a P-256 certificate is one without",
    Effect.gen(function* () {
      const node = yield* listeningNode()
      const identity = yield* makeForeignKey(yield* folder, "p256", "-algorithm", "EC", "-pkeyopt", "group:P-256")
      assert.strictEqual(
        yield* refusal(node, { serverName: NODE_SERVER_NAME, alpn: ECHO, identity }),
        CERTIFICATE_REQUIRED
      )
    })
  )
})
