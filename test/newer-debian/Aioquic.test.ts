/** aioquic, a QUIC stack in Python, as a client. What it does in each case is in aioquic_client.py. */
import { assert, describe } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { NODE_SERVER_NAME } from "../../src/protocol/identity/Certificate.ts"
import type { BiStream } from "../../src/services/Transport.ts"
import { ECHO, echoConnection, OTHER, readAll, readExactly, soon } from "../conformance/transport/provider.ts"
import {
  acceptedNobody,
  CERTIFICATE_REQUIRED,
  check,
  type ForeignKey,
  type ListeningNode,
  listeningNode,
  NO_APPLICATION_PROTOCOL,
  nodeAndVisitor
} from "./Fixture.ts"
import { copy, folder, isUsable, start } from "./NewerDebian.ts"

interface ClientOptions {
  readonly serverName?: string
  readonly alpn?: string
  readonly identity?: ForeignKey
  readonly bytes?: number
  readonly streams?: number
  readonly code?: number
}

type Case = "ended" | "echo" | "half-close" | "reset"

const client = (node: ListeningNode, name: Case, options: ClientOptions) =>
  Effect.gen(function* () {
    const script = yield* copy("aioquic_client.py", yield* folder)
    return yield* start(
      ...["python3", script, name, "--port", `${node.port}`, "--alpn", options.alpn ?? ECHO],
      ...["--server-name", options.serverName ?? NODE_SERVER_NAME, "--bytes", `${options.bytes ?? 100}`],
      ...["--streams", `${options.streams ?? 1}`, "--code", `${options.code ?? 0}`],
      ...(options.identity === undefined
        ? []
        : ["--certificate", options.identity.certificate, "--key", options.identity.key])
    )
  })

const Ended = Schema.Struct({ code: Schema.Int, alpn: Schema.NullOr(Schema.String) })
const Echoed = Schema.Struct({
  alpn: Schema.String,
  lengths: Schema.Array(Schema.Int),
  same: Schema.Array(Schema.Boolean)
})
const HalfClosed = Schema.Struct({ answers: Schema.Array(Schema.String) })
const Reset = Schema.Struct({ reset: Schema.Int, stop: Schema.Int })

/** Its answer, and that it ends well. */
const answer = <A>(schema: Schema.Codec<A, A>, program: Effect.Success<ReturnType<typeof client>>) =>
  Effect.gen(function* () {
    const { code, errors, output } = yield* program.finished
    assert.strictEqual(code, 0, errors)
    return Schema.decodeUnknownSync(Schema.fromJsonString(schema))(output)
  })

/** Runs the echo case against an echoing handler: gives our connection and its answer. */
const echoed = (node: ListeningNode, options: ClientOptions) =>
  Effect.gen(function* () {
    const program = yield* client(node, "echo", options)
    const connection = yield* node.accepted
    yield* Effect.forkScoped(echoConnection(connection))
    return { connection, told: yield* answer(Echoed, program) }
  })

/** The code with which our side ended the connection; nobody got through. */
const refusal = (node: ListeningNode, options: ClientOptions) =>
  Effect.gen(function* () {
    const { code } = yield* answer(Ended, yield* client(node, "ended", options))
    yield* acceptedNobody(node)
    return code
  })

/** A node, a client that begins the case with a certificate, and our end of their connection. */
const joined = (name: Case, options: ClientOptions = {}) =>
  Effect.gen(function* () {
    const { identity, node } = yield* nodeAndVisitor()
    const program = yield* client(node, name, { ...options, identity })
    const connection = yield* node.accepted
    return { program, connection }
  })

describe.skipIf(!isUsable)("aioquic as a client", () => {
  check(
    "TR-027 with an Ed25519 certificate it opens a stream with the chosen ALPN, and we see its key",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor()
      for (const alpn of [ECHO, OTHER]) {
        const { connection, told } = yield* echoed(node, { alpn, identity })
        assert.strictEqual(connection.peer, identity.nodeId)
        assert.strictEqual(connection.alpn, alpn)
        assert.deepStrictEqual(told, { alpn, lengths: [100], same: [true] })
        assert.deepInclude(yield* connection.closed, { by: "peer", code: 0 })
      }
    })
  )

  check(
    "TR-027 without a certificate it is refused in the node context",
    Effect.gen(function* () {
      const node = yield* listeningNode({ web: true })
      assert.strictEqual(yield* refusal(node, { alpn: OTHER }), CERTIFICATE_REQUIRED)
    })
  )

  check(
    "TR-027 with another server name it is anonymous and gets the public ALPNs",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor({ web: true })
      for (const options of [{}, { identity }]) {
        const { connection, told } = yield* echoed(node, { serverName: "node.example", alpn: OTHER, ...options })
        assert.isUndefined(connection.peer)
        assert.deepStrictEqual(told, { alpn: OTHER, lengths: [100], same: [true] })
      }
    })
  )

  check(
    "TR-027 an ALPN that is not served, or not to anybody, is no_application_protocol",
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
    "TR-027 two streams at once and 1 MiB on each, both ways, byte-exact",
    Effect.gen(function* () {
      const { identity, node } = yield* nodeAndVisitor()
      const { told } = yield* echoed(node, { identity, streams: 2, bytes: 1_048_576 })
      assert.deepStrictEqual(told, { alpn: ECHO, lengths: [1_048_576, 1_048_576], same: [true, true] })
    })
  )

  check(
    "TR-027 half-close: either side may end its direction first, and the other goes on",
    Effect.gen(function* () {
      const { connection, program } = yield* joined("half-close")
      const first = yield* soon("its first stream", connection.accept)
      assert.strictEqual((yield* readExactly(first, 5)).toString(), "first")
      yield* first.writeLast(Buffer.from("answer"))
      assert.strictEqual((yield* soon("the end", readAll(first))).toString(), " and later")
      const second = yield* soon("its second stream", connection.accept)
      assert.strictEqual((yield* soon("the end", readAll(second))).toString(), "question")
      yield* second.writeLast(Buffer.from("after its end"))
      assert.deepStrictEqual(yield* answer(HalfClosed, program), { answers: ["answer", "after its end"] })
    })
  )

  check(
    "TR-027 reset and stop cross with their codes, both ways",
    Effect.gen(function* () {
      // Above 2^32: no side may cut it.
      const theirs = 0x1234_5678_9abc
      const { connection, program } = yield* joined("reset", { code: theirs })
      const first = yield* soon("its first stream", connection.accept)
      yield* first.write(yield* first.read.pipe(Effect.orDie))
      const reset = yield* soon("its reset", Effect.flip(first.read))
      assert.deepInclude(reset, { _tag: "StreamReset", side: "read", code: theirs })
      yield* first.reset(77)
      const second = yield* soon("its second stream", connection.accept)
      yield* second.write(yield* second.read.pipe(Effect.orDie))
      const stopped = yield* soon("its stop", Effect.flip(writeUntilStopped(second)))
      assert.deepInclude(stopped, { _tag: "StreamReset", side: "write", code: theirs })
      yield* second.stop(99)
      assert.deepStrictEqual(yield* answer(Reset, program), { reset: 77, stop: 99 })
    })
  )
})

/** Never ends but with the peer's stop: it does not read, so that the window fills. */
const writeUntilStopped = (stream: BiStream) => Effect.forever(stream.write(new Uint8Array(65_536)))
