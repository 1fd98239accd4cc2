/** Conformance of subscriptions at slow consumers: who waits, what is held, what is given up (call.md section 15). */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Stream } from "effect"
import { TestClock } from "effect/testing"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { Count, Flood, feeds, heard } from "./feeds.ts"
import { acceptWire, begin, both, calling, casesOver, openWire } from "./kit.ts"
import { Echo, operations } from "./operations.ts"

/** A consumer that takes the first item, then no more until it is let go on. */
const stalled = Effect.fnUntraced(function* <A, E>(stream: Stream.Stream<A, E>) {
  const first = Deferred.makeUnsafe<void>()
  const gate = Deferred.makeUnsafe<void>()
  const wait = Effect.andThen(Deferred.succeed(first, undefined), Deferred.await(gate))
  const fiber = yield* begin(heard(Stream.tap(stream, () => wait)))
  return { first: Deferred.await(first), goOn: Effect.andThen(Deferred.succeed(gate, undefined), Fiber.join(fiber)) }
})

export const backpressureCases = (provider: TransportProvider): void => {
  const { check, many, timed } = casesOver(provider)

  many(
    "CALL-122 10,000 items at a slow consumer: none is lost, in order, and the handler is held back",
    Effect.gen(function* () {
      const size = 4096
      const { group, made } = feeds()
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const ahead = 32 + provider.bufferedMax / size + 16
      let taken = 0
      yield* Stream.runForEach(Stream.take(connection.subscribe(Flood, size), 5000), () => {
        taken++
        assert.isBelow(made.count, taken + ahead)
        return turns(1)
      })
      const numbers = connection.subscribe(Count, 10_000)
      const seen: Array<number> = []
      yield* Stream.runForEach(numbers, (n) => (n % 100 === 0 ? turns(1) : Effect.void).pipe(Effect.as(seen.push(n))))
      assert.deepStrictEqual(
        seen,
        Array.from({ length: 10_000 }, (_, at) => at + 1)
      )
    })
  )

  timed(
    "CALL-122 a consumer that takes an item every 10 ms gets 10,000 of them, and what waits for it stays within the bounds",
    Effect.gen(function* () {
      if (!provider.multiStream) return
      const { group, made } = feeds()
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const size = 2048
      let taken = 0
      const slow = Stream.tap(Stream.take(connection.subscribe(Flood, size), 10_000), () =>
        Effect.andThen(
          Effect.sync(() => taken++),
          Effect.sleep("10 millis")
        )
      )
      const done = yield* begin(Stream.runDrain(slow))
      while (done.pollUnsafe() === undefined) {
        yield* TestClock.adjust("1 seconds")
        yield* turns(1)
        assert.isBelow(made.count, taken + 32 + provider.bufferedMax / size + 16)
      }
      assert.strictEqual(taken, 10_000)
    })
  )

  check(
    "CALL-123 items that do not come on a stream of their own overflow at a consumer that does not take them",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const { first, goOn } = yield* stalled(connection.subscribe("x/feed", 1))
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      const elsewhere = provider.multiStream ? yield* openWire(accepted) : wire
      yield* elsewhere.send("call.responded", id, { output: 0 })
      yield* first
      // The consumer has one, 31 more fill the queue, 1,024 are beyond it, and one is too many.
      for (let n = 1; n <= 32 + 1024; n++) yield* elsewhere.send("call.responded", id, { output: n })
      // There is no shared stream yet: the abort comes on a stream of its own.
      const abort = provider.multiStream ? yield* acceptWire(accepted) : wire
      assert.deepInclude(yield* abort.receive, { type: "call.aborted", id })
      const call = yield* begin(connection.call("x/y", "unharmed"))
      const shared = provider.multiStream ? yield* acceptWire(accepted) : wire
      yield* shared.send("call.responded", (yield* shared.receive).id, { output: "unharmed" })
      assert.strictEqual(yield* Fiber.join(call), "unharmed")
      const [items, error] = yield* goOn
      assert.deepStrictEqual(
        items,
        Array.from({ length: 1 + 31 + 1024 }, (_, at) => at)
      )
      assert.deepInclude(error, { code: "INTERNAL", message: "subscription overflow" })
    })
  )

  check(
    "CALL-124 a consumer that makes a call for each item does not dead-lock",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [feeds().group, operations().group] } })
      const calls = Stream.mapEffect(connection.subscribe(Count, 500), (n) => connection.call(Echo, n))
      assert.strictEqual((yield* Stream.runCollect(calls)).length, 500)
      // Where items and answers share a stream, a flood that is this far ahead overflows.
      if (!provider.multiStream) return
      const large = connection.subscribe(Flood, 100_000).pipe(
        Stream.take(80),
        Stream.mapEffect((item) => connection.call(Echo, item))
      )
      assert.strictEqual((yield* Stream.runCollect(large)).length, 80)
    })
  )

  many(
    "CALL-124 subscriptions whose consumers wait hold up no call, however much it carries",
    Effect.gen(function* () {
      if (!provider.multiStream) return
      const { connection } = yield* both(provider, { server: { groups: [feeds().group, operations().group] } })
      for (let count = 0; count < 3; count++) yield* (yield* stalled(connection.subscribe(Flood, 4096))).first
      const text = "x".repeat(60_000)
      // 27 MB of answers.
      for (let count = 0; count < 450; count++) {
        assert.strictEqual(yield* connection.call(Echo, text), text)
      }
    })
  )
}
