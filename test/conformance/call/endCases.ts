/** Conformance of limits, timeouts and the end of a connection (call.md sections 5.3 and 14). */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Queue, Schema } from "effect"
import { TestClock } from "effect/testing"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { acceptWire, begin, both, calling, casesOver, errorOf, openWire, outputOf, serving, spy, wired } from "./kit.ts"
import { Back, Echo, external, messageOf, operations, Slow, until } from "./operations.ts"

export const endCases = (provider: TransportProvider): void => {
  const { check, many, timed } = casesOver(provider)

  check(
    "CALL-110 CALL-111 an abort interrupts its request and nothing else, and no frame for it follows",
    Effect.gen(function* () {
      const { group, interrupted, open, started } = operations()
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("a", "t/slow", "a")
      yield* wire.request("b", "t/slow", "b")
      yield* Queue.takeN(started, 2)
      yield* wire.send("call.aborted", "unknown", {})
      yield* wire.send("call.aborted", "a", { any: "payload" })
      assert.strictEqual(yield* Queue.take(interrupted), "a")
      yield* open
      assert.strictEqual((yield* wire.receive).id, "b")
      yield* wire.request("c", "t/echo", 1)
      assert.strictEqual((yield* wire.receive).id, "c")
    })
  )

  check(
    "CALL-057 above the limit a request waits without an error, can be aborted, and runs when another ends",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const { connection, dialed, wire } = yield* wired(provider, { groups: [group], limits: { maxInFlight: 2 } })
      for (const id of ["1", "2", "3"]) yield* wire.request(id, "t/slow", id)
      yield* until(connection, { inbound: 3 })
      assert.deepStrictEqual(yield* Queue.takeAll(started), ["1", "2"])
      if (provider.multiStream) {
        const other = yield* openWire(dialed)
        yield* other.send("call.aborted", "3", {})
        yield* until(connection, { inbound: 2 })
        yield* wire.request("4", "t/slow", "4")
        yield* until(connection, { inbound: 3 })
      }
      yield* open
      const ids = [yield* wire.receive, yield* wire.receive, yield* wire.receive].map(({ id }) => id)
      assert.sameMembers(ids, ["1", "2", provider.multiStream ? "4" : "3"])
    })
  )

  check(
    "CALL-059 more calls than fit at once, whose handlers each call back, are all answered",
    Effect.gen(function* () {
      const limits = { maxInFlight: 64 }
      const { connection } = yield* both(provider, {
        server: { groups: [operations().group], limits },
        client: { groups: [operations().group], limits }
      })
      const numbers = Array.from({ length: 256 }, (_, index) => index)
      const calls = Effect.forEach(numbers, (n) => connection.call(Back, n), { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* calls, numbers)
    })
  )

  check(
    "CALL-059 the same from both sides at once is over by the deadline, and nothing is left",
    Effect.gen(function* () {
      const limits = { maxInFlight: 8, callTimeout: "300 millis", dispatchDeadline: "300 millis" } as const
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [operations().group], limits },
        client: { groups: [operations().group], limits }
      })
      const calls = (from: CallConnection["Service"]) =>
        Effect.forEach(Array.from({ length: 32 }), (_, n) => Effect.exit(from.call(Back, n)), {
          concurrency: "unbounded"
        })
      yield* Effect.all([calls(connection), calls(serverSide)], { concurrency: 2 })
      yield* until(connection, { pending: 0, inbound: 0, waiting: 0 })
      yield* until(serverSide, { pending: 0, inbound: 0, waiting: 0 })
      assert.strictEqual(yield* connection.call(Echo, 1), 1)
    })
  )

  many(
    "CALL-058 bodies above the input budget wait, and answers to our own requests are still read",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const { connection, dialed } = yield* serving(provider, {
        groups: [group],
        limits: { inputBudget: 60_000, maxFrame: 50_000 }
      })
      const [one, two] = [yield* openWire(dialed), yield* openWire(dialed)]
      yield* one.request("1", "t/slow", "a".repeat(40_000))
      yield* Queue.take(started)
      yield* Effect.forkChild(Effect.ignore(two.request("2", "t/slow", "b".repeat(40_000))))
      const back = yield* begin(connection.call("x/y", 1))
      const wire = yield* acceptWire(dialed)
      const { id } = yield* wire.receive
      yield* wire.send("call.responded", id, { output: "through" })
      assert.strictEqual(yield* Fiber.join(back), "through")
      assert.deepInclude(yield* connection.stats, { inbound: 1 })
      yield* open
      assert.strictEqual((yield* one.receive).id, "1")
      assert.strictEqual((yield* two.receive).id, "2")
    })
  )

  check(
    "CALL-064 an own call above the limit waits, and goes when another has ended",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider, { limits: { maxInFlight: 1 } })
      const calls = yield* Effect.forEach([1, 2], (n) => begin(connection.call("x/y", n)))
      assert.deepInclude(yield* connection.stats, { pending: 1, waiting: 1 })
      const wire = yield* acceptWire(accepted)
      for (const output of [1, 2]) yield* wire.send("call.responded", (yield* wire.receive).id, { output })
      assert.deepStrictEqual(yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber)), [1, 2])
    })
  )

  check(
    "CALL-118 close settles every call with `connection closed`, interrupts handlers, and later calls fail at once",
    Effect.gen(function* () {
      const { group, interrupted, started } = operations()
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [group] },
        client: { limits: { maxInFlight: 90 } }
      })
      const calls = yield* Effect.forEach(Array.from({ length: 100 }), (_, n) =>
        begin(messageOf(connection.call(Slow, n)))
      )
      yield* Queue.takeN(started, 90)
      yield* connection.close
      const messages = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual([...new Set(messages)], ["INTERNAL connection closed"])
      assert.strictEqual((yield* Queue.takeN(interrupted, 90)).length, 90)
      yield* serverSide.closed
      yield* until(serverSide, { inbound: 0, pending: 0 })
      assert.strictEqual(yield* messageOf(connection.call(Echo, 1)), "INTERNAL connection closed", "CALL-120")
      yield* connection.close
      assert.deepStrictEqual(yield* connection.closed, yield* connection.closed)
    })
  )

  check(
    "CALL-118 the peer closes: pending calls fail with `connection closed`",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = yield* begin(messageOf(connection.call("x/y", 1)))
      const wire = yield* acceptWire(accepted)
      yield* wire.receive
      yield* accepted.close(0, "")
      // A single-stream carrier may show the end of the stream first.
      assert.match(yield* Fiber.join(call), /^INTERNAL (connection closed|stream ended without a response)$/)
      yield* connection.closed
      assert.strictEqual(yield* messageOf(connection.call("x/y", 2)), "INTERNAL connection closed")
    })
  )

  timed(
    "CALL-116 CALL-064 a call times out at its time, retryable, sends an abort, and ignores a late answer",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider, { limits: { maxInFlight: 1 } })
      const ran = spy()
      const call = (input: number, options = {}) =>
        begin(Effect.tapError(connection.call("x/y", input, options), () => ran.touch()))
      const first = yield* call(1)
      const short = yield* call(2, { timeout: "10 seconds" })
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      yield* TestClock.adjust("10 seconds")
      assert.deepInclude(yield* Effect.flip(Fiber.join(short)), { code: "TIMEOUT", message: "request timed out" })
      yield* TestClock.adjust("19999 millis")
      assert.strictEqual(ran.state.count, 1)
      yield* TestClock.adjust("1 millis")
      assert.deepInclude(yield* Effect.flip(Fiber.join(first)), { code: "TIMEOUT", retryable: true })
      assert.deepInclude(yield* wire.receive, { type: "call.aborted", id })
      yield* wire.send("call.responded", id, { output: "late" })
      assert.deepInclude(yield* connection.stats, { pending: 0, waiting: 0 })
    })
  )

  timed(
    "CALL-117 a handler's deadline answers TIMEOUT then, although its cleanup takes longer",
    Effect.gen(function* () {
      const cleaned = spy()
      const Stubborn = Operation.query("t/stubborn", { output: Schema.Void, ...external })
      const group = OperationGroup.make(
        Operation.implement(
          Stubborn,
          Effect.onInterrupt(Effect.never, () => Effect.andThen(Effect.sleep("5 seconds"), cleaned.touch()))
        )
      )
      const { wire } = yield* wired(provider, {
        groups: [group, operations().group],
        limits: { maxInFlight: 1 }
      })
      yield* wire.request("1", "t/stubborn")
      yield* turns(5)
      const answer = yield* begin(wire.receive)
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude(errorOf(yield* Fiber.join(answer)), { code: "TIMEOUT", retryable: true })
      assert.strictEqual(cleaned.state.count, 0)
      yield* wire.request("2", "t/echo", "waited for the permit")
      const second = yield* begin(wire.receive)
      yield* turns(5)
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(outputOf(yield* Fiber.join(second)), "waited for the permit")
      assert.strictEqual(cleaned.state.count, 1)
    })
  )

  timed(
    "CALL-118 the network is gone: every pending call ends with `connection closed` within the idle time",
    Effect.gen(function* () {
      const { group, started } = operations()
      const { connection, cut, serverIdentity } = yield* both(provider, {
        server: { groups: [group] },
        client: { limits: { callTimeout: "5 minutes" } }
      })
      const calls = yield* Effect.forEach(Array.from({ length: 64 }), (_, n) =>
        begin(messageOf(connection.call(Slow, n)))
      )
      yield* Queue.takeN(started, 64)
      yield* cut!(serverIdentity.nodeId)
      yield* TestClock.adjust("1 minutes")
      const messages = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual([...new Set(messages)], ["INTERNAL connection closed"])
    })
  )

  timed(
    "CALL-119 a handler that cannot be interrupted delays the close by closeGrace at most",
    Effect.gen(function* () {
      const Deaf = Operation.query("t/deaf", { output: Schema.Void, ...external })
      const entered = spy()
      const group = OperationGroup.make(
        Operation.implement(Deaf, Effect.uninterruptible(Effect.andThen(entered.touch(), Effect.sleep("1 hour"))))
      )
      const { connection, wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("1", "t/deaf")
      yield* entered.next
      const closing = yield* begin(connection.close)
      yield* turns(5)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      yield* TestClock.adjust("1 hour")
    })
  )
}
