/** Conformance at the edges: limits of frames and streams, carriers that break, callers that leave early (call.md sections 5 and 6). */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { encodeFrame } from "../../../src/protocol/call/Frame.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { type Connection, StreamLimit, StreamReset } from "../../../src/services/Transport.ts"
import { pair, type TransportProvider, turns } from "../transport/provider.ts"
import {
  acceptWire,
  begin,
  both,
  calling,
  casesOver,
  errorOf,
  node,
  openWire,
  outputOf,
  people,
  serving,
  trusted,
  wired
} from "./kit.ts"
import { Echo, external, messageOf, operations, until } from "./operations.ts"

const MIB = 1024 * 1024

/** A node that calls over a carrier with which something is wrong. */
const callingOver = Effect.fnUntraced(function* (
  provider: TransportProvider,
  spoil: (connection: Connection) => Partial<Connection>,
  limits = {}
) {
  const carriers = yield* pair(provider)
  const client = yield* node({ limits })
  const spoiled = { ...carriers.dialed, ...spoil(carriers.dialed) }
  const connection = yield* client.provide(client.dispatcher.attach(spoiled, { filter: trusted }))
  return { ...carriers, connection, logs: client.logs }
})

export const limitCases = (provider: TransportProvider): void => {
  const { check, many, timed } = casesOver(provider)

  check(
    "CALL-012 an output that JSON cannot say is INTERNAL, and not a byte of a broken frame is sent",
    Effect.gen(function* () {
      const odd = [Number.NaN, Number.POSITIVE_INFINITY, 5n, "\ud800", undefined, { deep: [{ n: Number.NaN }] }]
      const group = OperationGroup.make(
        ...odd.map((value, index) =>
          Operation.implement(
            Operation.query(`j/${index}`, { output: Schema.Unknown, ...external }),
            Effect.succeed(value)
          )
        ),
        ...operations().group.implementations
      )
      const { wire } = yield* wired(provider, { groups: [group] })
      for (const index of odd.keys()) {
        yield* wire.request("odd", `j/${index}`)
        assert.deepInclude(errorOf(yield* wire.receive), { code: "INTERNAL", message: "internal error" }, `${index}`)
        yield* wire.request("even", "t/echo", index)
        assert.strictEqual(outputOf(yield* wire.receive), index)
      }
    })
  )

  check(
    "CALL-016 who dialed takes more than 1 MiB; the limit of frames can be lowered, and not raised above 64 MiB",
    Effect.gen(function* () {
      const known = people()
      const dialed = yield* calling(provider, { groups: [operations().group], people: known })
      const wire = yield* openWire(dialed.accepted)
      const large = "x".repeat(2 * MIB)
      yield* Effect.forkChild(wire.request("1", "t/echo", large))
      assert.strictEqual(outputOf(yield* wire.receive), large)
      const refuses = (limits: { readonly maxFrame: number }, header: number) =>
        Effect.gen(function* () {
          const { connection, dialed } = yield* serving(provider, { groups: [operations().group], limits })
          const wire = yield* openWire(dialed)
          const bytes = Buffer.alloc(8)
          bytes.writeUInt32BE(header)
          yield* wire.sendBytes(bytes)
          if (provider.multiStream) assert.strictEqual(yield* wire.ended, "StreamReset")
          else yield* connection.closed
        })
      yield* refuses({ maxFrame: 5000 }, 5001)
      if (provider.isMessages !== true) yield* refuses({ maxFrame: 100 * MIB }, 64 * MIB + 1)
    })
  )

  check(
    "CALL-026 a code that nobody declared is INTERNAL for a typed caller; details that do not fit come as they are",
    Effect.gen(function* () {
      class Gone extends Schema.TaggedError<Gone>()("Gone", { path: Schema.String }) {
        static readonly code = "GONE"
      }
      const Read = Operation.query("x/read", { output: Schema.String, errors: [Gone], ...external })
      const { accepted, connection } = yield* calling(provider)
      const answers = [
        { code: "GONE", message: "m", retryable: false, details: { path: "a" } },
        { code: "GONE", message: "m", retryable: true, details: { path: 5 } },
        { code: "ODD", message: "m", retryable: true, details: { secret: 1 } },
        { code: "FORBIDDEN", message: "m", retryable: true }
      ]
      const calls = yield* Effect.forEach(answers, () => begin(Effect.flip(connection.call(Read, undefined))))
      const wire = yield* acceptWire(accepted)
      for (const answer of answers) yield* wire.send("call.error", (yield* wire.receive).id, answer)
      const [typed, unfit, undeclared, protocol] = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      assert.instanceOf(typed, Gone)
      assert.deepInclude(unfit, { code: "GONE", retryable: true, details: { path: 5 }, origin: "remote" })
      assert.deepInclude(undeclared, { code: "INTERNAL", retryable: false, details: { code: "ODD" } })
      assert.deepInclude(protocol, { code: "FORBIDDEN", message: "m" })
    })
  )

  many(
    "CALL-052 of more streams at once than are served the last ones wait, and all are served in the end",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const limits = { maxStreams: 16 }
      const { connection, dialed } = yield* serving(provider, { groups: [group], limits })
      const wires = yield* Effect.forEach(Array.from({ length: 20 }), (_, index) =>
        Effect.gen(function* () {
          const stream = yield* dialed.open
          const payload = { operationId: "t/slow", input: index }
          const frame = encodeFrame(JSON.stringify({ type: "call.requested", id: `${index}`, payload }))
          yield* Effect.forkChild(Effect.ignore(stream.writeLast(frame)))
          return stream
        })
      )
      yield* Queue.takeN(started, 16)
      yield* turns(20)
      assert.deepInclude(yield* connection.stats, { inbound: 16 })
      yield* open
      yield* Queue.takeN(started, 4)
      assert.strictEqual(wires.length, 20)
      yield* until(connection, { inbound: 0 })
    })
  )

  timed(
    "CALL-057 a request that waits for its permit times out in its time",
    Effect.gen(function* () {
      const Forever = Operation.subscription("t/forever", { output: Schema.Int, ...external })
      const group = OperationGroup.make(
        Operation.implement(Forever, Stream.concat(Stream.make(1), Stream.never)),
        ...operations().group.implementations
      )
      const { connection, wire } = yield* wired(provider, { groups: [group], limits: { maxInFlight: 1 } })
      yield* wire.request("holds", "t/forever")
      assert.strictEqual((yield* wire.receive).id, "holds")
      yield* wire.request("waits", "t/echo", 1)
      yield* until(connection, { inbound: 2 })
      const answer = yield* begin(wire.receive)
      yield* TestClock.adjust("29999 millis")
      assert.isUndefined(answer.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      const timedOut = yield* Fiber.join(answer)
      assert.strictEqual(timedOut.id, "waits")
      assert.deepInclude(errorOf(timedOut), { code: "TIMEOUT", message: "request timed out", retryable: true })
      assert.deepInclude(yield* connection.stats, { inbound: 1 })
    })
  )

  many(
    "CALL-068 no stream to be had, and a stream that takes nothing: the calls fail, and the table is empty",
    Effect.gen(function* () {
      const without = yield* callingOver(provider, () => ({ open: Effect.fail(new StreamLimit({})) }))
      const message = yield* messageOf(without.connection.call("x/y", 1))
      assert.strictEqual(message, "INTERNAL failed to open stream: StreamLimit")
      const deaf = yield* callingOver(provider, ({ open }) => ({
        open: Effect.map(open, ({ finish, id, read, reset, stop }) => {
          const refused = Effect.fail(new StreamReset({ side: "write", code: 7 }))
          return { id, read, finish, reset, stop, write: () => refused, writeLast: () => refused }
        })
      }))
      assert.match(yield* messageOf(deaf.connection.call("x/y", 1)), /^INTERNAL failed to write frame: /)
      const items = Stream.runDrain(deaf.connection.subscribe("x/y", 1))
      assert.match(yield* messageOf(items), /^INTERNAL failed to write frame: /)
      for (const { connection } of [without, deaf]) {
        assert.deepInclude(yield* connection.stats, { pending: 0, waiting: 0 })
      }
    })
  )

  many(
    "CALL-114 a caller that leaves while it waits for a permit or a stream: nothing of its request is sent",
    Effect.gen(function* () {
      const gate = Deferred.makeUnsafe<void>()
      const { accepted, connection } = yield* callingOver(
        provider,
        ({ open }) => ({ open: Effect.andThen(Deferred.await(gate), open) }),
        { maxInFlight: 2 }
      )
      const opening = yield* begin(connection.call("x/opening", 1))
      const holding = yield* begin(connection.call("x/holding", 2))
      const waiting = yield* begin(connection.call("x/waiting", 3))
      assert.deepInclude(yield* connection.stats, { pending: 2, waiting: 1 })
      yield* Fiber.interrupt(waiting)
      yield* Fiber.interrupt(opening)
      assert.deepInclude(yield* connection.stats, { pending: 1, waiting: 0 })
      yield* Deferred.succeed(gate, undefined)
      const wire = yield* acceptWire(accepted)
      const first = yield* wire.receive
      assert.deepInclude(first.payload, { operationId: "/x/holding" })
      yield* wire.send("call.responded", first.id, { output: "held" })
      assert.strictEqual(yield* Fiber.join(holding), "held")
    })
  )

  many(
    "CALL-118 callers that wait for a permit or a stream are told of the close; so is everybody when the reader breaks",
    Effect.gen(function* () {
      const { connection } = yield* callingOver(provider, () => ({ open: Effect.never }), { maxInFlight: 2 })
      const calls = yield* Effect.forEach([1, 2, 3], (n) => begin(messageOf(connection.call("x/y", n))))
      assert.deepInclude(yield* connection.stats, { pending: 2, waiting: 1 })
      yield* connection.close
      const messages = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual([...new Set(messages)], ["INTERNAL connection closed"])

      const broken = Deferred.makeUnsafe<never>()
      const other = yield* callingOver(provider, () => ({ accept: Deferred.await(broken) }))
      const call = yield* begin(messageOf(other.connection.call("x/y", 1)))
      yield* (yield* acceptWire(other.accepted)).receive
      yield* Deferred.die(broken, new Error("a bug in a transport"))
      assert.strictEqual(yield* Fiber.join(call), "INTERNAL connection closed")
      assert.deepInclude(yield* other.connection.closed, { by: "local" })
      assert.isTrue(other.logs.some((line) => line.includes("a call connection broke")))
      assert.deepInclude(yield* other.connection.stats, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  check(
    "CALL-118 the scope of a connection is closed: its calls and handlers end, on both sides",
    Effect.gen(function* () {
      const { group, interrupted, started } = operations()
      const ends = yield* Effect.scoped(
        Effect.gen(function* () {
          const { connection, serverSide } = yield* both(provider, { server: { groups: [group] } })
          const call = yield* Effect.forkDetach(messageOf(connection.call("t/slow", "left")), {
            startImmediately: true
          })
          yield* Queue.take(started)
          return { call, connection, serverSide }
        })
      )
      assert.strictEqual(yield* Fiber.join(ends.call), "INTERNAL connection closed")
      assert.strictEqual(yield* Queue.take(interrupted), "left")
      for (const side of [ends.connection, ends.serverSide]) {
        yield* side.closed
        assert.deepInclude(yield* side.stats, { pending: 0, inbound: 0, waiting: 0 })
        assert.strictEqual(yield* messageOf(side.call(Echo, 1)), "INTERNAL connection closed")
      }
    })
  )
}
