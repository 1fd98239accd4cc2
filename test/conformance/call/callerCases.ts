/** Conformance of the calling side: streams, ids, answers, what fails before anything is sent (call.md sections 5.2 and 6). */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { CallCarrier } from "../../../src/services/Dispatcher.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { BiStream } from "../../../src/services/Transport.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { callPair } from "./carriers.ts"
import { acceptWire, begin, both, calling, casesOver, node, trusted } from "./kit.ts"
import { Echo, external, messageOf, operations, Slow } from "./operations.ts"

export const callerCases = (provider: TransportProvider): void => {
  const { check, many, timed } = casesOver(provider)

  check(
    "CALL-114 an interrupted caller sends call.aborted with the request's id, and its entry is gone",
    Effect.gen(function* () {
      const { group, interrupted, started } = operations()
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const fiber = yield* begin(connection.call(Slow, "me"))
      yield* Queue.take(started)
      yield* Fiber.interrupt(fiber)
      assert.deepInclude(yield* connection.stats, { pending: 0 })
      assert.strictEqual(yield* Queue.take(interrupted), "me")
      assert.strictEqual(yield* connection.call(Echo, 1), 1)
    })
  )

  check(
    "CALL-114 CALL-063 a dedicated stream: the abort follows the request, and our direction ends with the first answer",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const dedicated = { stream: "dedicated" } as const
      const first = yield* begin(connection.call("x/y", 1, dedicated))
      const wire = yield* acceptWire(accepted)
      const request = yield* wire.receive
      if (!provider.multiStream) {
        yield* Fiber.interrupt(first)
        assert.deepInclude(yield* wire.receive, { type: "call.aborted", id: request.id })
        return
      }
      yield* wire.send("call.responded", request.id, { output: "done" })
      assert.strictEqual(yield* Fiber.join(first), "done")
      assert.strictEqual(yield* wire.ended, "EndOfStream")
      const second = yield* begin(connection.call("x/y", 2, dedicated))
      const next = yield* acceptWire(accepted)
      const { id } = yield* next.receive
      yield* Fiber.interrupt(second)
      assert.deepInclude(yield* next.receive, { type: "call.aborted", id, payload: {} })
      assert.strictEqual(yield* next.ended, "EndOfStream")
    })
  )

  many(
    "CALL-060 small calls share one stream; a large body, perCall and dedicated take their own",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = (input: Schema.Json, options = {}) => begin(Effect.ignore(connection.call("x/y", input, options)))
      yield* call(1)
      yield* call(2)
      const shared = yield* acceptWire(accepted)
      assert.strictEqual((yield* shared.receive).type, "call.requested")
      assert.strictEqual((yield* shared.receive).type, "call.requested")
      yield* call("x".repeat(65_536))
      const large = yield* acceptWire(accepted)
      assert.isAbove((yield* large.receiveText).length, 65_536)
      yield* call(3, { stream: "dedicated" })
      const own = yield* acceptWire(accepted)
      assert.include(yield* own.receiveText, '"input":3')
      const perCall = yield* calling(provider, {}, { streams: "perCall" })
      for (const input of [1, 2]) {
        yield* begin(Effect.ignore(perCall.connection.call("x/y", input)))
        const wire = yield* acceptWire(perCall.accepted)
        assert.include(yield* wire.receiveText, `"input":${input}`)
      }
    })
  )

  many(
    "CALL-061 the shared stream is reset: its calls fail, the next call opens a new one",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = begin(messageOf(connection.call("x/y", 1)))
      const first = yield* call
      const wire = yield* acceptWire(accepted)
      yield* wire.receive
      yield* wire.stream.reset(9)
      assert.strictEqual(yield* Fiber.join(first), "INTERNAL stream reset")
      const second = yield* call
      const next = yield* acceptWire(accepted)
      yield* next.receive
      yield* next.stream.finish
      assert.strictEqual(yield* Fiber.join(second), "INTERNAL stream ended without a response", "CALL-068")
      assert.deepInclude(yield* connection.stats, { pending: 0 })
    })
  )

  check(
    "CALL-017 an own request above the cap fails locally, an answer above it is `response too large`",
    Effect.gen(function* () {
      const Long = Operation.query("t/long", { output: Schema.String, ...external })
      const group = OperationGroup.make(Operation.implement(Long, Effect.succeed("x".repeat(5000))))
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [group, operations().group], limits: { maxFrame: 4000, maxFrameUnproven: 4000 } },
        client: { groups: [operations().group] }
      })
      assert.strictEqual(yield* messageOf(connection.call(Long, undefined)), "INTERNAL response too large")
      assert.strictEqual(yield* messageOf(serverSide.call(Echo, "x".repeat(5000))), "INTERNAL request too large")
      assert.strictEqual(yield* connection.call(Echo, 1), 1)
    })
  )

  check(
    "CALL-012 an input that is not JSON fails locally; nothing is sent",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [operations().group] } })
      const error = yield* Effect.flip(connection.call("t/echo", { n: Number.NaN }))
      assert.deepInclude(error, { code: "INVALID_INPUT", origin: "local" })
      const Int = Operation.query("t/int", { input: Schema.Int, output: Schema.Json })
      assert.match(yield* messageOf(connection.call(Int, 1.5)), /^INVALID_INPUT invalid input: /)
      assert.deepInclude(yield* connection.stats, { pending: 0, waiting: 0 })
    })
  )

  check(
    "CALL-066 CALL-067 CALL-020 answers out of order reach their callers; odd events and errors settle with the defaults",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const calls = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) => begin(Effect.result(connection.call("x/y", n))))
      const wire = yield* acceptWire(accepted)
      const ids = yield* Effect.forEach(calls, () => Effect.map(wire.receive, ({ id }) => id))
      yield* wire.send("call.responded", ids[2]!, { output: "third" })
      yield* wire.send("call.responded", ids[1]!, {})
      yield* wire.send("call.completed", ids[0]!, {})
      yield* wire.send("call.aborted", ids[3]!, {})
      yield* wire.send("call.error", ids[4]!, null)
      yield* wire.send("call.error", ids[5]!, { code: "ODD", message: "m", retryable: true, details: [1] })
      const results = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      const plain = results.map((result) =>
        result._tag === "Success"
          ? result.success
          : `${result.failure.code} ${result.failure.message} ${result.failure.retryable}`
      )
      assert.deepStrictEqual(plain, [
        "INTERNAL request cancelled false",
        null,
        "third",
        "INTERNAL request cancelled false",
        "INTERNAL  false",
        "ODD m true"
      ])
    })
  )

  check(
    "CALL-126 a call on a peer's subscription gives the first item and aborts the rest, once",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = yield* begin(connection.call("x/watch", 1))
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      for (const output of [1, 2, 3]) yield* wire.send("call.responded", id, { output })
      assert.strictEqual(yield* Fiber.join(call), 1)
      assert.deepInclude(yield* wire.receive, { type: "call.aborted", id })
      const next = yield* begin(connection.call("x/y", 2))
      const request = yield* wire.receive
      assert.strictEqual(request.type, "call.requested")
      yield* wire.send("call.responded", request.id, { output: "fine" })
      assert.strictEqual(yield* Fiber.join(next), "fine")
    })
  )

  check(
    "CALL-021 CALL-078 ids are fresh UUIDs, requests hold nothing beside name and input, answers nothing after the first",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider, {
        // All on the shared stream, however long a busy machine takes to begin them.
        limits: { sharedStallAfter: "1 minute" }
      })
      const calls = yield* Effect.forEach(Array.from({ length: 1000 }), () => begin(connection.call("x/y", { a: 1 })))
      const wire = yield* acceptWire(accepted)
      const seen = new Set<string>()
      for (const _ of calls) {
        const request = yield* wire.receive
        assert.match(request.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
        assert.deepStrictEqual(request.payload, { operationId: "/x/y", input: { a: 1 } })
        seen.add(request.id)
        yield* wire.send("call.responded", request.id, { output: 1 })
      }
      assert.strictEqual(seen.size, 1000)
      yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
    })
  )

  if (provider.multiStream) {
    timed(
      "CALL-062 a peer that serves a stream in sequence: after 50 ms new calls take their own, an overtaking answer ends that",
      Effect.gen(function* () {
        const { accepted, connection } = yield* calling(provider)
        const call = (n: number) => begin(connection.call("x/y", n))
        const first = yield* call(1)
        const shared = yield* acceptWire(accepted)
        const one = yield* shared.receive
        const second = yield* call(2)
        const two = yield* shared.receive
        yield* TestClock.adjust("51 millis")
        const third = yield* call(3)
        const own = yield* acceptWire(accepted)
        const three = yield* own.receive
        yield* own.send("call.responded", three.id, { output: 3 })
        yield* shared.send("call.responded", two.id, { output: 2 })
        yield* turns(5)
        const fourth = yield* call(4)
        const four = yield* shared.receive
        yield* shared.send("call.responded", four.id, { output: 4 })
        yield* shared.send("call.responded", one.id, { output: 1 })
        const outputs = yield* Effect.forEach([first, second, third, fourth], (fiber) => Fiber.join(fiber))
        assert.deepStrictEqual(outputs, [1, 2, 3, 4])
      })
    )
  }

  check(
    "CALL-065 an answer that arrives before the write of its request returns is not lost, nor are items",
    Effect.gen(function* () {
      const { accepted, connection, letReturn } = yield* writingLate(provider)
      const call = yield* begin(connection.call("x/y", 1))
      const wire = yield* acceptWire(accepted)
      yield* wire.send("call.responded", (yield* wire.receive).id, { output: "early" })
      assert.strictEqual(yield* Fiber.join(call), "early")
      const items = yield* begin(Stream.runCollect(connection.subscribe("x/feed", 1)))
      // On one stream the next frame leaves when the write before it has returned.
      if (!provider.multiStream) yield* letReturn
      const next = provider.multiStream ? yield* acceptWire(accepted) : wire
      const { id } = yield* next.receive
      yield* next.send("call.responded", id, { output: 1 })
      yield* next.send("call.completed", id, {})
      assert.deepStrictEqual(yield* Fiber.join(items), [1])
      yield* letReturn
    })
  )
}

/** A node that calls, whose writes go out at once and return when the case says so. */
const writingLate = Effect.fnUntraced(function* (provider: TransportProvider) {
  const client = yield* node({})
  const carriers = yield* callPair(provider, { client: client.people })
  const gate = Deferred.makeUnsafe<void>()
  const late = (stream: BiStream): BiStream => ({
    ...stream,
    write: (bytes) => Effect.tap(stream.write(bytes), () => Deferred.await(gate))
  })
  const carrier = carriers.dialedCarrier
  const delayed: CallCarrier =
    "receive" in carrier
      ? { ...carrier, send: (message) => Effect.tap(carrier.send(message), () => Deferred.await(gate)) }
      : { ...carrier, open: Effect.map(carrier.open, late), accept: Effect.map(carrier.accept, late) }
  const connection = yield* client.dispatcher.attach(delayed, { filter: trusted })
  return { accepted: carriers.accepted, connection, letReturn: Deferred.succeed(gate, undefined) }
})
