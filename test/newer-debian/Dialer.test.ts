/** Our dialer against a server of another stack. What that does is in aioquic_server.py. */
import { assert, describe } from "@effect/vitest"
import { Effect, Schema } from "effect"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import { bytesOf, ECHO, OTHER, readAll, soon } from "../conformance/transport/provider.ts"
import { check, dialingNode, type ForeignKey, makeForeignIdentity, makeForeignKey } from "./Fixture.ts"
import { copy, folder, isUsable, type Program, start } from "./NewerDebian.ts"

/** The alert that aioquic sends where no_application_protocol is meant. */
const HANDSHAKE_FAILURE = 0x100 + 40

const Told = Schema.fromJsonString(
  Schema.Struct({
    event: Schema.Literals(["listening", "handshake", "data", "ended"]),
    port: Schema.optionalKey(Schema.Int),
    alpn: Schema.optionalKey(Schema.NullOr(Schema.String)),
    bytes: Schema.optionalKey(Schema.Int),
    code: Schema.optionalKey(Schema.Int)
  })
)

const told = (program: Program) => Effect.map(program.line, (line) => Schema.decodeUnknownSync(Told)(line))

/** What the server says up to the end of the connection. */
const toldUntilEnd = Effect.fnUntraced(function* (program: Program) {
  const events = [yield* told(program)]
  while (events.at(-1)!.event !== "ended") events.push(yield* told(program))
  return events
})

const listening = Effect.fnUntraced(function* (identity: ForeignKey) {
  const script = yield* copy("aioquic_server.py", yield* folder)
  const program = yield* start(
    ...["python3", script, "--alpn", ECHO, "--certificate", identity.certificate, "--key", identity.key]
  )
  const { port } = yield* told(program)
  const us = yield* dialingNode()
  const dial = (expect: NodeId, alpn = ECHO) =>
    us.transport.dial({ address: { host: "127.0.0.1", port: port! }, expect, alpn, identity: us.identity })
  return { program, dial }
})

describe.skipIf(!isUsable)("our dialer and an aioquic server", () => {
  check(
    "TR-027 the right Ed25519 key is accepted, and streams with 1 MiB come back",
    Effect.gen(function* () {
      const identity = yield* makeForeignIdentity(yield* folder, "server")
      const { dial, program } = yield* listening(identity)
      const connection = yield* dial(identity.nodeId)
      assert.strictEqual(connection.peer, identity.nodeId)
      assert.strictEqual(connection.alpn, ECHO)
      const bytes = bytesOf(1_048_576)
      const echoes = yield* Effect.forEach(
        [bytes, bytes.subarray(0, 1)],
        (part) =>
          Effect.gen(function* () {
            const stream = yield* connection.open
            yield* Effect.forkChild(stream.writeLast(part))
            return yield* soon("the echo", readAll(stream))
          }),
        { concurrency: 2 }
      )
      assert.deepStrictEqual(
        echoes.map((echo) => Buffer.compare(echo, bytes.subarray(0, echo.length)) === 0 && echo.length),
        [1_048_576, 1]
      )
      yield* connection.close(0x42, "")
      const events = yield* toldUntilEnd(program)
      assert.deepInclude(events[0], { event: "handshake", alpn: ECHO })
      assert.deepInclude(events.at(-1), { code: 0x42 })
    })
  )

  check(
    "TR-027 another Ed25519 key is PeerMismatch, and no application byte is sent",
    Effect.gen(function* () {
      const identity = yield* makeForeignIdentity(yield* folder, "server")
      const expected = yield* makeForeignIdentity(yield* folder, "other")
      const { dial, program } = yield* listening(identity)
      const { reason } = yield* Effect.flip(dial(expected.nodeId))
      assert.deepInclude(reason, { _tag: "PeerMismatch", expected: expected.nodeId, actual: identity.nodeId })
      assert.deepStrictEqual(yield* toldUntilEnd(program), [
        { event: "handshake", alpn: ECHO },
        { event: "ended", code: 0x02 }
      ])
    })
  )

  check(
    "TR-027 an ALPN that the server does not serve is refused",
    Effect.gen(function* () {
      const identity = yield* makeForeignIdentity(yield* folder, "server")
      const { dial } = yield* listening(identity)
      const { reason } = yield* Effect.flip(dial(identity.nodeId, OTHER))
      assert.deepInclude(reason, { _tag: "Refused", code: HANDSHAKE_FAILURE })
    })
  )

  check(
    "TR-027 a server with another kind of key is no node",
    Effect.gen(function* () {
      const expected = yield* makeForeignIdentity(yield* folder, "expected")
      const kind = ["-algorithm", "EC", "-pkeyopt", "group:P-256"]
      const { dial, program } = yield* listening(yield* makeForeignKey(yield* folder, "server", ...kind))
      const { reason } = yield* Effect.flip(dial(expected.nodeId))
      // Nothing but Ed25519 is offered to it, so that it never shows its certificate.
      assert.deepInclude(reason, { _tag: "Refused", code: HANDSHAKE_FAILURE })
      assert.deepStrictEqual(yield* toldUntilEnd(program), [{ event: "ended", code: HANDSHAKE_FAILURE }])
    })
  )
})
