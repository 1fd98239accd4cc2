/** Conformance of streams, limits, callers, aborts, timeouts and close (call.md sections 5, 6 and 14). */
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schema, type Scope } from "effect"
import { TestClock } from "effect/testing"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { encodeFrame } from "../../../src/protocol/call/Frame.ts"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { leavesNothing, type TransportProvider, turns } from "../transport/provider.ts"
import {
  acceptWire,
  both,
  calling,
  errorOf,
  openWire,
  outputOf,
  people,
  principal,
  serving,
  spy,
  wireOf
} from "./kit.ts"

const external = { visibility: "external", access: AccessControl.open } as const
const Echo = Operation.query("t/echo", { input: Schema.Json, output: Schema.Json, ...external })
const Slow = Operation.query("t/slow", { input: Schema.Json, output: Schema.Json, ...external })
const Back = Operation.query("t/back", { input: Schema.Json, output: Schema.Json, ...external })

/** An operation that echoes, one that waits for a gate, one that calls back. */
const operations = () => {
  const started = Effect.runSync(Queue.unbounded<Schema.Json>())
  const interrupted = Effect.runSync(Queue.unbounded<Schema.Json>())
  const gate = Deferred.makeUnsafe<void>()
  const group = OperationGroup.make(
    Operation.implement(Echo, (input) => Effect.succeed(input)),
    Operation.implement(Slow, (input) =>
      Queue.offer(started, input).pipe(
        Effect.andThen(Deferred.await(gate)),
        Effect.as(input),
        Effect.onInterrupt(() => Queue.offer(interrupted, input))
      )
    ),
    Operation.implement(Back, (input) =>
      Effect.flatMap(OperationContext, ({ connection }) => Effect.orDie(connection!.call(Echo, input)))
    )
  )
  return { started, interrupted, open: Deferred.succeed(gate, undefined), group }
}

const messageOf = <A, E extends { readonly code: string; readonly message: string }>(call: Effect.Effect<A, E>) =>
  Effect.map(Effect.flip(call), (error) => `${error.code} ${error.message}`)

/** Waits until a connection shows this; every turn something may have changed. */
const until = (
  connection: CallConnection["Service"],
  want: Partial<Record<"pending" | "inbound" | "waiting", number>>
) =>
  Effect.gen(function* () {
    for (let turn = 0; turn < 10_000; turn++) {
      const stats = yield* connection.stats
      if (Object.entries(want).every(([key, value]) => stats[key as keyof typeof stats] === value)) return
      yield* turns(1)
    }
    assert.deepInclude(yield* connection.stats, want)
  })

export const flowCases = (provider: TransportProvider): void => {
  const check = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => it.live(name, () => leavesNothing(body))
  /** Cases about time: on carriers without I/O, under the test clock. */
  const timed = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => {
    if (provider.virtual) it.effect(name, () => leavesNothing(body))
  }
  /** Cases about several streams. */
  const many = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => {
    if (provider.multiStream) check(name, body)
  }

  check(
    "CALL-051 200 requests in a row on one stream are all answered by id, and a slow first one delays nobody",
    Effect.gen(function* () {
      const { group, open } = operations()
      const { dialed } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
      yield* wire.request("slow", "t/slow", "last")
      const ids = Array.from({ length: 200 }, (_, index) => `id-${index}`)
      const frames = ids.map((id) =>
        encodeFrame(JSON.stringify({ type: "call.requested", id, payload: { operationId: "t/echo", input: id } }))
      )
      yield* wire.sendBytes(Buffer.concat(frames))
      const answers = yield* Effect.forEach(ids, () => wire.receive)
      for (const answer of answers) assert.strictEqual(outputOf(answer), answer.id)
      assert.sameMembers(
        answers.map(({ id }) => id),
        ids
      )
      yield* open
      assert.strictEqual((yield* wire.receive).id, "slow")
    })
  )

  check(
    "CALL-131 calls in both directions at once, and handlers that call back",
    Effect.gen(function* () {
      const { connection, serverSide } = yield* both(provider, {
        server: { groups: [operations().group] },
        client: { groups: [operations().group] }
      })
      const numbers = Array.from({ length: 50 }, (_, index) => index)
      const calls = (from: CallConnection["Service"], operation: typeof Echo) =>
        Effect.forEach(numbers, (n) => from.call(operation, n), { concurrency: "unbounded" })
      const results = yield* Effect.all(
        [calls(connection, Echo), calls(serverSide, Echo), calls(connection, Back), calls(serverSide, Back)],
        { concurrency: "unbounded" }
      )
      for (const result of results) assert.deepStrictEqual(result, numbers)
      yield* until(connection, { pending: 0, inbound: 0, waiting: 0 })
    })
  )

  check(
    "CALL-018 unknown events and unknown members are ignored, and the stream goes on",
    Effect.gen(function* () {
      const { dialed } = yield* serving(provider, { groups: [operations().group] })
      const wire = yield* openWire(dialed)
      yield* wire.send("call.greeting", "x", { hello: 1 })
      for (const type of ["call.responded", "call.error", "call.completed", "call.aborted"]) {
        yield* wire.send(type, "nobody", { any: "thing" })
      }
      yield* wire.request("1", "t/echo", 7, { priority: 3 })
      assert.strictEqual(outputOf(yield* wire.receive), 7)
    })
  )

  check(
    "CALL-056 a second request with a running id is not run; after the end the id works again",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const { connection, dialed } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
      yield* wire.request("twin", "t/slow", 1)
      yield* wire.request("twin", "t/slow", 2)
      yield* wire.request("after", "t/echo", 3)
      assert.strictEqual((yield* wire.receive).id, "after")
      assert.deepStrictEqual(yield* Queue.takeAll(started), [1])
      yield* open
      assert.strictEqual(outputOf(yield* wire.receive), 1)
      yield* until(connection, { inbound: 0 })
      yield* wire.request("twin", "t/echo", 4)
      assert.strictEqual(outputOf(yield* wire.receive), 4)
    })
  )

  check(
    "CALL-110 CALL-111 an abort interrupts its request and nothing else, and no frame for it follows",
    Effect.gen(function* () {
      const { group, interrupted, open, started } = operations()
      const { dialed } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
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
    "CALL-114 an interrupted caller sends call.aborted with the request's id, and its entry is gone",
    Effect.gen(function* () {
      const { group, interrupted, started } = operations()
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const fiber = yield* Effect.forkChild(connection.call(Slow, "me"), { startImmediately: true })
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
      const first = yield* Effect.forkChild(connection.call("x/y", 1, dedicated), { startImmediately: true })
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
      const second = yield* Effect.forkChild(connection.call("x/y", 2, dedicated), { startImmediately: true })
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
      const call = (input: Schema.Json, options = {}) =>
        Effect.forkChild(Effect.ignore(connection.call("x/y", input, options)), { startImmediately: true })
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
        yield* Effect.forkChild(Effect.ignore(perCall.connection.call("x/y", input)), { startImmediately: true })
        const wire = yield* acceptWire(perCall.accepted)
        assert.include(yield* wire.receiveText, `"input":${input}`)
      }
    })
  )

  many(
    "CALL-061 the shared stream is reset: its calls fail, the next call opens a new one",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = Effect.forkChild(messageOf(connection.call("x/y", 1)), { startImmediately: true })
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

  many(
    "CALL-053 an answer is accepted on a stream that the peer opened",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = yield* Effect.forkChild(connection.call("x/y", 1), { startImmediately: true })
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      const other = yield* openWire(accepted)
      yield* other.send("call.responded", id, { output: "elsewhere" })
      assert.strictEqual(yield* Fiber.join(call), "elsewhere")
    })
  )

  many(
    "CALL-052 CALL-134 one stream a request, finished at once, is served; the answer comes on it, then its end",
    Effect.gen(function* () {
      const { dialed } = yield* serving(provider, { groups: [operations().group] })
      const one = (n: number) =>
        Effect.gen(function* () {
          const stream = yield* dialed.open
          const body = { type: "call.requested", id: `r${n}`, payload: { operationId: "t/echo", input: n } }
          yield* stream.writeLast(encodeFrame(JSON.stringify(body)))
          const wire = wireOf(stream)
          const answer = yield* wire.receive
          return [outputOf(answer), yield* wire.ended]
        })
      const answers = yield* Effect.forEach(
        Array.from({ length: 300 }, (_, n) => n),
        one,
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(
        answers,
        Array.from({ length: 300 }, (_, n) => [n, "EndOfStream"])
      )
    })
  )

  check(
    "CALL-054 the peer finishes its direction after the request: it is still answered, then ours ends",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const { dialed } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
      yield* wire.request("1", "t/slow", "late")
      yield* wire.stream.finish
      yield* Queue.take(started)
      yield* turns(5)
      yield* open
      assert.strictEqual(outputOf(yield* wire.receive), "late")
      assert.strictEqual(yield* wire.ended, "EndOfStream")
    })
  )

  many(
    "CALL-055 the peer resets or stops a stream: the handlers of its requests are interrupted, others not",
    Effect.gen(function* () {
      const { group, interrupted, open, started } = operations()
      const { dialed } = yield* serving(provider, { groups: [group] })
      const keep = yield* openWire(dialed)
      yield* keep.request("keep", "t/slow", "keep")
      const reset = yield* openWire(dialed)
      yield* reset.request("reset", "t/slow", "reset")
      const stopped = yield* openWire(dialed)
      yield* stopped.request("stop", "t/slow", "stop")
      yield* Queue.takeN(started, 3)
      yield* reset.stream.reset(1)
      assert.strictEqual(yield* Queue.take(interrupted), "reset")
      yield* open
      yield* stopped.stream.stop(1)
      assert.strictEqual((yield* keep.receive).id, "keep")
    })
  )

  check(
    "CALL-007 CALL-008 CALL-128 a frame that is none ends its stream without an error frame, a single-stream carrier with 0x06",
    Effect.gen(function* () {
      for (const bad of ["[1]", '{"type":"t"}', "nonsense", '{"type":"t","id":7,"payload":{}}', ""]) {
        const { connection, dialed, server } = yield* serving(provider, { groups: [operations().group] })
        const wire = yield* openWire(dialed)
        yield* wire.sendText(bad)
        if (provider.multiStream) {
          assert.strictEqual(yield* wire.ended, "StreamReset", bad)
          const other = yield* openWire(dialed)
          yield* other.request("1", "t/echo", "alive")
          assert.strictEqual(outputOf(yield* other.receive), "alive")
        } else {
          assert.deepInclude(yield* connection.closed, { by: "local", code: 6 })
        }
        assert.strictEqual(server.logs.filter((line) => line.includes("call stream refused")).length, 1)
      }
    })
  )

  check(
    "CALL-016 a stranger's frame above 1 MiB is refused from its header, a token lifts the limit, a bad one does not",
    Effect.gen(function* () {
      const attempt = (token: string | undefined, length: number) =>
        Effect.gen(function* () {
          const known = people()
          known.byToken.set("good", principal("t"))
          const { dialed } = yield* serving(provider, { groups: [operations().group], people: known })
          const wire = yield* openWire(dialed)
          const id = "1"
          if (token !== undefined) {
            const Scoped = { operationId: "services/list" }
            yield* wire.send("call.requested", "0", { ...Scoped, auth_token: token })
            yield* wire.receive
          }
          const head = `{"type":"call.requested","id":"${id}","payload":{"operationId":"t/echo","input":"`
          const tail = '"}}'
          yield* Effect.forkChild(
            Effect.exit(wire.stream.write(encodeFrame(head + "x".repeat(length - head.length - tail.length) + tail)))
          )
          return yield* Effect.exit(wire.receive)
        })
      const MIB = 1024 * 1024
      assert.strictEqual((yield* attempt(undefined, MIB))._tag, "Success")
      assert.strictEqual((yield* attempt(undefined, MIB + 1))._tag, "Failure")
      assert.strictEqual((yield* attempt("good", 2 * MIB))._tag, "Success")
      assert.strictEqual((yield* attempt("bad", 2 * MIB))._tag, "Failure")
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
      const calls = yield* Effect.forEach([1, 2, 3, 4, 5, 6], (n) =>
        Effect.forkChild(Effect.result(connection.call("x/y", n)), { startImmediately: true })
      )
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
      const call = yield* Effect.forkChild(connection.call("x/watch", 1), { startImmediately: true })
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      for (const output of [1, 2, 3]) yield* wire.send("call.responded", id, { output })
      assert.strictEqual(yield* Fiber.join(call), 1)
      assert.deepInclude(yield* wire.receive, { type: "call.aborted", id })
      const next = yield* Effect.forkChild(connection.call("x/y", 2), { startImmediately: true })
      const request = yield* wire.receive
      assert.strictEqual(request.type, "call.requested")
      yield* wire.send("call.responded", request.id, { output: "fine" })
      assert.strictEqual(yield* Fiber.join(next), "fine")
    })
  )

  check(
    "CALL-057 above the limit a request waits without an error, can be aborted, and runs when another ends",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const { connection, dialed } = yield* serving(provider, { groups: [group], limits: { maxInFlight: 2 } })
      const wire = yield* openWire(dialed)
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
      const back = yield* Effect.forkChild(connection.call("x/y", 1), { startImmediately: true })
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
      const calls = yield* Effect.forEach([1, 2], (n) =>
        Effect.forkChild(connection.call("x/y", n), { startImmediately: true })
      )
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
        Effect.forkChild(messageOf(connection.call(Slow, n)), { startImmediately: true })
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
      const call = yield* Effect.forkChild(messageOf(connection.call("x/y", 1)), { startImmediately: true })
      const wire = yield* acceptWire(accepted)
      yield* wire.receive
      yield* accepted.close(0, "")
      // A single-stream carrier may show the end of the stream first.
      assert.match(yield* Fiber.join(call), /^INTERNAL (connection closed|stream ended without a response)$/)
      yield* connection.closed
      assert.strictEqual(yield* messageOf(connection.call("x/y", 2)), "INTERNAL connection closed")
    })
  )

  check(
    "CALL-021 CALL-078 ids are fresh UUIDs, requests hold nothing beside name and input, answers nothing after the first",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const calls = yield* Effect.forEach(Array.from({ length: 1000 }), () =>
        Effect.forkChild(connection.call("x/y", { a: 1 }), { startImmediately: true })
      )
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

  timed(
    "CALL-116 CALL-064 a call times out at its time, retryable, sends an abort, and ignores a late answer",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider, { limits: { maxInFlight: 1 } })
      const ran = spy()
      const call = (input: number, options = {}) =>
        Effect.forkChild(
          Effect.tapError(connection.call("x/y", input, options), () => ran.touch()),
          {
            startImmediately: true
          }
        )
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
      const { dialed } = yield* serving(provider, {
        groups: [group, operations().group],
        limits: { maxInFlight: 1 }
      })
      const wire = yield* openWire(dialed)
      yield* wire.request("1", "t/stubborn")
      yield* turns(5)
      const answer = yield* Effect.forkChild(wire.receive, { startImmediately: true })
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude(errorOf(yield* Fiber.join(answer)), { code: "TIMEOUT", retryable: true })
      assert.strictEqual(cleaned.state.count, 0)
      yield* wire.request("2", "t/echo", "waited for the permit")
      const second = yield* Effect.forkChild(wire.receive, { startImmediately: true })
      yield* turns(5)
      assert.isUndefined(second.pollUnsafe())
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual(outputOf(yield* Fiber.join(second)), "waited for the permit")
      assert.strictEqual(cleaned.state.count, 1)
    })
  )

  timed(
    "CALL-015 a frame that stops for 30 s ends its stream with Stalled; a complete one does not",
    Effect.gen(function* () {
      const { connection, dialed } = yield* serving(provider, { groups: [operations().group] })
      const wire = yield* openWire(dialed)
      yield* wire.request("1", "t/echo", 1)
      yield* wire.receive
      yield* TestClock.adjust("20 seconds")
      yield* wire.sendBytes(new Uint8Array([0, 0, 0, 9, 123]))
      yield* turns(5)
      yield* TestClock.adjust("29 seconds")
      assert.deepInclude(yield* connection.stats, { inbound: 0 })
      const end = yield* Effect.forkChild(wire.ended, { startImmediately: true })
      yield* TestClock.adjust("1 seconds")
      assert.match(yield* Fiber.join(end), /StreamReset|ConnectionClosed/)
    })
  )

  if (provider.multiStream) {
    timed(
      "CALL-062 a peer that serves a stream in sequence: after 50 ms new calls take their own, an overtaking answer ends that",
      Effect.gen(function* () {
        const { accepted, connection } = yield* calling(provider)
        const call = (n: number) => Effect.forkChild(connection.call("x/y", n), { startImmediately: true })
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

  timed(
    "CALL-118 the network is gone: every pending call ends with `connection closed` within the idle time",
    Effect.gen(function* () {
      const { group, started } = operations()
      const { connection, cut, serverIdentity } = yield* both(provider, {
        server: { groups: [group] },
        client: { limits: { callTimeout: "5 minutes" } }
      })
      const calls = yield* Effect.forEach(Array.from({ length: 64 }), (_, n) =>
        Effect.forkChild(messageOf(connection.call(Slow, n)), { startImmediately: true })
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
      const { connection, dialed } = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(dialed)
      yield* wire.request("1", "t/deaf")
      yield* entered.next
      const closing = yield* Effect.forkChild(connection.close, { startImmediately: true })
      yield* turns(5)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      yield* TestClock.adjust("1 hour")
    })
  )
}
