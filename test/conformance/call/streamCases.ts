/** Conformance of streams and frames: who is answered where, what ends a stream (call.md sections 2 and 5). */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Queue } from "effect"
import { TestClock } from "effect/testing"
import { encodeFrame } from "../../../src/protocol/call/Frame.ts"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import {
  acceptWire,
  begin,
  both,
  calling,
  casesOver,
  openWire,
  outputOf,
  people,
  principal,
  serving,
  wired,
  wireOf
} from "./kit.ts"
import { Back, Echo, operations, until } from "./operations.ts"

export const streamCases = (provider: TransportProvider): void => {
  const { check, halves, many, timed } = casesOver(provider)

  check(
    "CALL-051 200 requests in a row on one stream are all answered by id, and a slow first one delays nobody",
    Effect.gen(function* () {
      const { group, open } = operations()
      const { wire } = yield* wired(provider, { groups: [group] })
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
      const { wire } = yield* wired(provider, { groups: [operations().group] })
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
      const { connection, wire } = yield* wired(provider, { groups: [group] })
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

  many(
    "CALL-053 an answer is accepted on a stream that the peer opened",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = yield* begin(connection.call("x/y", 1))
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

  halves(
    "CALL-054 the peer finishes its direction after the request: it is still answered, then ours ends",
    Effect.gen(function* () {
      const { group, open, started } = operations()
      const { wire } = yield* wired(provider, { groups: [group] })
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
        const { connection, dialed, server, wire } = yield* wired(provider, { groups: [operations().group] })
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
          const { wire } = yield* wired(provider, { groups: [operations().group], people: known })
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

  timed(
    "CALL-015 a frame that stops for 30 s ends its stream with Stalled; a complete one does not",
    Effect.gen(function* () {
      const { connection, wire } = yield* wired(provider, { groups: [operations().group] })
      yield* wire.request("1", "t/echo", 1)
      yield* wire.receive
      yield* TestClock.adjust("20 seconds")
      yield* wire.sendBytes(new Uint8Array([0, 0, 0, 9, 123]))
      yield* turns(5)
      yield* TestClock.adjust("29 seconds")
      assert.deepInclude(yield* connection.stats, { inbound: 0 })
      const end = yield* begin(wire.ended)
      yield* TestClock.adjust("1 seconds")
      assert.match(yield* Fiber.join(end), /StreamReset|ConnectionClosed/)
    })
  )
}
