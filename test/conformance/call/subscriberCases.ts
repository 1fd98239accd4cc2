/** Conformance of subscribing: streams, order, ends, aborts (call.md sections 5.2, 6 and 15). */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { Count, Fails, Flood, feeds, Gone, Hangs, heard, heardText } from "./feeds.ts"
import { acceptWire, begin, both, calling, casesOver, type Wire } from "./kit.ts"
import { Echo, external, messageOf, operations, Slow, until } from "./operations.ts"

export const subscriberCases = (provider: TransportProvider): void => {
  const { check, halves, many, timed } = casesOver(provider)

  /** A subscription of `x/feed` to a peer that answers by hand. */
  const subscribed = Effect.fnUntraced(function* (options: Parameters<CallConnection["Service"]["subscribe"]>[2] = {}) {
    const { accepted, connection } = yield* calling(provider)
    const items = yield* begin(heardText(connection.subscribe("x/feed", 1, options)))
    const wire = yield* acceptWire(accepted)
    const { id } = yield* wire.receive
    const send = (...outputs: ReadonlyArray<Schema.Json>) =>
      Effect.forEach(outputs, (output) => wire.send("call.responded", id, { output }), { discard: true })
    return { accepted, connection, heard: Fiber.join(items), wire, id, send }
  })

  check(
    "CALL-121 CALL-022 a typed subscriber gets decoded items, the end, and a declared error as its class",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [feeds().group] } })
      assert.deepStrictEqual(yield* heard(connection.subscribe(Count, 5)), [[1, 2, 3, 4, 5], "end"])
      assert.deepStrictEqual(yield* heard(connection.subscribe(Count, 0)), [[], "end"])
      const [items, error] = yield* heard(connection.subscribe(Fails, 2))
      assert.deepStrictEqual(items, [1, 2])
      assert.instanceOf(error, Gone)
      assert.deepInclude(error, { after: 2 })
      const untyped = heardText(connection.subscribe("/t/fails", 1))
      assert.deepStrictEqual(yield* untyped, [[1], `GONE ${new Gone({ after: 1 }).message}`])
      const unknown = heardText(connection.subscribe("t/none", 1))
      assert.deepStrictEqual(yield* unknown, [[], "NOT_FOUND operation not found: t/none"])
      assert.deepStrictEqual(yield* connection.stats, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  check(
    "CALL-121 every run of a subscription is a request of its own",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [feeds().group] } })
      const stream = connection.subscribe(Count, 2)
      const runs = Effect.forEach([1, 2, 3], () => Stream.runCollect(stream), { concurrency: "unbounded" })
      assert.deepStrictEqual(yield* runs, [
        [1, 2],
        [1, 2],
        [1, 2]
      ])
    })
  )

  check(
    "CALL-012 CALL-082 input that does not encode is a stream with that one failure; nothing is sent",
    Effect.gen(function* () {
      const { connection } = yield* calling(provider)
      const Strict = Operation.subscription("t/strict", {
        input: Schema.Finite.check(Schema.isGreaterThan(5)),
        output: Schema.Finite,
        ...external
      })
      const [items, error] = yield* heard(connection.subscribe(Strict, 1))
      assert.deepStrictEqual(items, [])
      assert.deepInclude(error, { code: "INVALID_INPUT", origin: "local" })
      const [, notJson] = yield* heard(connection.subscribe("x/y", Number.NaN))
      assert.deepInclude(notJson, { code: "INVALID_INPUT", origin: "local" })
      assert.deepStrictEqual(yield* connection.stats, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  many(
    "CALL-060 CALL-063 a subscription takes a stream of its own; our direction ends with its first item",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      yield* begin(Effect.ignore(connection.call("x/y", 1)))
      const shared = yield* acceptWire(accepted)
      yield* shared.receive
      const items = yield* begin(heardText(connection.subscribe("x/feed", 1)))
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      const end = yield* begin(wire.ended)
      yield* shared.send("call.responded", "nobody", {})
      yield* turns(5)
      assert.isUndefined(end.pollUnsafe())
      yield* wire.send("call.responded", id, { output: 1 })
      assert.strictEqual(yield* Fiber.join(end), "EndOfStream")
      yield* wire.send("call.completed", id, {})
      assert.deepStrictEqual(yield* Fiber.join(items), [[1], "end"])
    })
  )

  check(
    "CALL-019 CALL-020 CALL-066 odd items and ends: no output is null, any payload completes, what comes after is ignored",
    Effect.gen(function* () {
      const one = yield* subscribed()
      yield* one.wire.send("call.responded", one.id, {})
      yield* one.wire.send("call.responded", "somebody else", { output: "lost" })
      yield* one.wire.send("call.completed", one.id, { any: "thing" })
      yield* one.wire.send("call.responded", one.id, { output: "late" })
      yield* one.wire.send("call.completed", one.id, {})
      yield* one.wire.send("call.error", one.id, null)
      assert.deepStrictEqual(yield* one.heard, [[null], "end"])
      const two = yield* subscribed()
      yield* two.send(1)
      yield* two.wire.send("call.error", two.id, null)
      assert.deepStrictEqual(yield* two.heard, [[1], "INTERNAL "])
      assert.deepStrictEqual(yield* two.connection.stats, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  halves(
    "CALL-127 a subscription that is cut after two items is an error, never a normal end",
    Effect.gen(function* () {
      const cut = (how: (wire: Wire) => Effect.Effect<unknown, unknown>, end: string) =>
        Effect.gen(function* () {
          const { heard, send, wire } = yield* subscribed()
          yield* send(1, 2)
          yield* how(wire)
          assert.deepStrictEqual(yield* heard, [[1, 2], end])
        })
      const only = "INTERNAL connection closed"
      const ended = "INTERNAL subscription ended without completion"
      yield* cut(({ stream }) => stream.finish, provider.multiStream ? ended : only)
      const broken = provider.multiStream ? "INTERNAL stream reset" : only
      yield* cut(({ sendText }) => sendText("no envelope"), broken)
    })
  )

  check(
    "CALL-127 a callee that gives up or goes away after two items is an error, with the items before it",
    Effect.gen(function* () {
      const aborted = yield* subscribed()
      yield* aborted.send(1, 2)
      yield* aborted.wire.send("call.aborted", aborted.id, {})
      assert.deepStrictEqual(yield* aborted.heard, [[1, 2], "INTERNAL request cancelled"])
      const closed = yield* subscribed()
      yield* closed.send(1, 2)
      // They have arrived when an answer behind them has.
      const call = yield* begin(closed.connection.call("x/y", 1, { stream: "dedicated" }))
      const wire = provider.multiStream ? yield* acceptWire(closed.accepted) : closed.wire
      yield* wire.send("call.responded", (yield* wire.receive).id, { output: "here" })
      yield* Fiber.join(call)
      yield* closed.connection.close
      assert.deepStrictEqual(yield* closed.heard, [[1, 2], "INTERNAL connection closed"])
      const late = heardText(closed.connection.subscribe("x/feed", 1))
      assert.deepStrictEqual(yield* late, [[], "INTERNAL connection closed"], "CALL-120")
    })
  )

  check(
    "CALL-026 an item that does not decode fails the stream after those before it, and an abort is sent",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const items = yield* begin(heard(connection.subscribe(Count, 1)))
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      for (const output of [1, 2, "three", 4]) yield* wire.send("call.responded", id, { output })
      const [seen, error] = yield* Fiber.join(items)
      assert.deepStrictEqual(seen, [1, 2])
      assert.deepInclude(error, { code: "INTERNAL", message: "bad response" })
      const other = provider.multiStream ? yield* acceptWire(accepted) : wire
      assert.deepInclude(yield* other.receive, { type: "call.aborted", id, payload: {} })
      assert.deepStrictEqual(yield* connection.stats, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  check(
    "CALL-125 a consumer that stops early: an abort is sent, the handler's finalizer runs, nothing is left",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection, serverSide } = yield* both(provider, { server: { groups: [group, operations().group] } })
      const first = yield* Stream.runCollect(Stream.take(connection.subscribe(Flood, 10), 3))
      assert.strictEqual(first.length, 3)
      assert.strictEqual(yield* ended, "flood")
      // Interrupted while it waits for an item that does not come.
      const waiting = yield* begin(Stream.runDrain(connection.subscribe(Hangs, 1)))
      yield* until(serverSide, { inbound: 1 })
      yield* Fiber.interrupt(waiting)
      assert.strictEqual(yield* ended, "hangs")
      assert.deepInclude(yield* connection.stats, { pending: 0 })
      yield* until(serverSide, { inbound: 0 })
      assert.strictEqual(yield* connection.call(Echo, 1), 1)
    })
  )

  check(
    "CALL-125 CALL-114 the abort goes out at once, before the first item and after it, and names the subscription",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const before = yield* begin(Stream.runDrain(connection.subscribe("x/feed", 1)))
      const wire = yield* acceptWire(accepted)
      const request = yield* wire.receive
      yield* Fiber.interrupt(before)
      assert.deepInclude(yield* wire.receive, { type: "call.aborted", id: request.id })
      const after = yield* begin(Stream.runDrain(Stream.take(connection.subscribe("x/feed", 1), 1)))
      const next = provider.multiStream ? yield* acceptWire(accepted) : wire
      const { id } = yield* next.receive
      yield* next.send("call.responded", id, { output: 1 })
      yield* Fiber.join(after)
      const last = provider.multiStream ? yield* acceptWire(accepted) : wire
      assert.deepInclude(yield* last.receive, { type: "call.aborted", id })
      assert.deepStrictEqual(yield* connection.stats, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  check(
    "CALL-126 a call on a subscription gives the first item and ends the rest; a subscription of a query gives its answer",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection } = yield* both(provider, { server: { groups: [group, operations().group] } })
      assert.strictEqual(yield* connection.call("t/flood", 3), "xxx")
      assert.strictEqual(yield* ended, "flood")
      const answer = connection.subscribe("t/echo", 7)
      // Where no stream ends, a query that was subscribed to stays open until its consumer stops.
      const items = provider.multiStream ? answer : Stream.take(answer, 1)
      assert.deepStrictEqual(yield* Stream.runCollect(items), [7])
      yield* until(connection, { pending: 0 })
    })
  )

  many(
    "CALL-127 a typed subscriber of a query that answered once gets an error",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [operations().group] } })
      const Wrong = Operation.subscription("t/echo", { input: Schema.Json, output: Schema.Json, ...external })
      const wrong = heardText(connection.subscribe(Wrong, 7))
      assert.deepStrictEqual(yield* wrong, [[7], "INTERNAL subscription ended without completion"])
    })
  )

  check(
    "CALL-118 close ends subscriptions and calls alike with `connection closed`, and their handlers",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { group: queries, interrupted, started } = operations()
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [group, queries] },
        client: { limits: { maxInFlight: 100 } }
      })
      const calls = yield* Effect.forEach(Array.from({ length: 90 }), (_, n) =>
        begin(messageOf(connection.call(Slow, n)))
      )
      const streams = yield* Effect.forEach(Array.from({ length: 10 }), (_, n) =>
        begin(heardText(connection.subscribe(Hangs, n)))
      )
      const waiting = yield* Effect.forEach(Array.from({ length: 5 }), () =>
        begin(heardText(connection.subscribe(Hangs, 0)))
      )
      yield* Queue.takeN(started, 90)
      yield* until(serverSide, { inbound: 100 })
      yield* until(connection, { pending: 100, waiting: 5 })
      yield* connection.close
      const messages = yield* Effect.forEach(calls, (fiber) => Fiber.join(fiber))
      assert.deepStrictEqual([...new Set(messages)], ["INTERNAL connection closed"])
      for (const fiber of [...streams, ...waiting]) {
        assert.strictEqual((yield* Fiber.join(fiber))[1], "INTERNAL connection closed")
      }
      yield* Queue.takeN(interrupted, 90)
      for (let n = 0; n < 10; n++) assert.strictEqual(yield* ended, "hangs")
      assert.deepStrictEqual(yield* connection.stats, { pending: 0, inbound: 0, waiting: 0 })
      yield* until(serverSide, { inbound: 0 })
    })
  )

  timed(
    "CALL-116 a subscription has no timeout unless it is given one, which counts from its start to its end",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const endless = yield* begin(heardText(connection.subscribe(Hangs, 1)))
      const short = yield* begin(heardText(connection.subscribe(Hangs, 2, { timeout: "1 minutes" })))
      yield* TestClock.adjust("59 seconds")
      yield* turns(5)
      assert.isUndefined(short.pollUnsafe())
      yield* TestClock.adjust("1 seconds")
      assert.deepStrictEqual(yield* Fiber.join(short), [[2], "TIMEOUT request timed out"])
      assert.strictEqual(yield* ended, "hangs")
      yield* TestClock.adjust("1 hours")
      assert.isUndefined(endless.pollUnsafe())
      yield* Fiber.interrupt(endless)
      assert.strictEqual(yield* ended, "hangs")
    })
  )

  check(
    "CALL-128 CALL-131 calls, subscriptions, large inputs and aborts go both ways at once",
    Effect.gen(function* () {
      const server = feeds()
      const client = feeds()
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [server.group, operations().group] },
        client: { groups: [client.group, operations().group] }
      })
      const large = "x".repeat(300_000)
      const talk = (from: CallConnection["Service"], ended: Effect.Effect<string>) =>
        Effect.gen(function* () {
          const [calls, items, echoed] = yield* Effect.all(
            [
              Effect.forEach(Array.from({ length: 100 }), (_, n) => from.call(Echo, n), { concurrency: 10 }),
              Effect.forEach([500, 600, 700], (n) => Stream.runCollect(from.subscribe(Count, n)), {
                concurrency: "unbounded"
              }),
              from.call(Echo, large),
              Stream.runDrain(Stream.take(from.subscribe(Flood, 1000), 5)).pipe(Effect.andThen(ended))
            ],
            { concurrency: "unbounded" }
          )
          assert.strictEqual(calls.length, 100)
          assert.deepStrictEqual(
            items.map((one) => one.length),
            [500, 600, 700]
          )
          assert.strictEqual(echoed, large)
        })
      yield* Effect.all([talk(connection, server.ended), talk(serverSide, client.ended)], { concurrency: 2 })
      yield* until(connection, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  check(
    "CALL-069 a peer cannot settle or feed the requests of another connection",
    Effect.gen(function* () {
      const mine = yield* subscribed()
      const other = yield* calling(provider)
      const call = yield* begin(mine.connection.call("x/y", 1, { stream: "dedicated" }))
      const own = provider.multiStream ? yield* acceptWire(mine.accepted) : mine.wire
      const { id } = yield* own.receive
      const pending = yield* begin(other.connection.call("x/y", 2))
      const wire = yield* acceptWire(other.accepted)
      const request = yield* wire.receive
      for (const type of ["call.responded", "call.error", "call.completed", "call.aborted"]) {
        yield* wire.send(type, id, { output: "forged" })
        yield* wire.send(type, mine.id, { output: "forged" })
      }
      yield* wire.send("call.responded", request.id, { output: "own" })
      assert.strictEqual(yield* Fiber.join(pending), "own")
      yield* own.send("call.responded", id, { output: "true" })
      assert.strictEqual(yield* Fiber.join(call), "true")
      yield* mine.send("item")
      yield* mine.wire.send("call.completed", mine.id, {})
      assert.deepStrictEqual(yield* mine.heard, [["item"], "end"])
    })
  )
}
