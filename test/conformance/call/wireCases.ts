/**
 * Conformance of what stands on the wire and nothing else: other arrangements of streams than ours, half-written requests,
 * and silence where nobody asked (call.md sections 2, 5 and 6).
 */
import { assert } from "@effect/vitest"
import { Effect, Fiber, Queue } from "effect"
import { encodeFrame } from "../../../src/protocol/call/Frame.ts"
import { readExactly, type TransportProvider, turns } from "../transport/provider.ts"
import { acceptWire, begin, calling, casesOver, errorOf, openWire, outputOf, serving, wired, wireOf } from "./kit.ts"
import { messageOf, operations, until } from "./operations.ts"

const requestText = (id: string, operationId: string, input: unknown) =>
  JSON.stringify({ type: "call.requested", id, payload: { operationId, input } })

export const wireCases = (provider: TransportProvider): void => {
  const { check, many } = casesOver(provider)

  check(
    "CALL-133 a connection is silent until somebody calls, and then the first frame is the request",
    Effect.gen(function* () {
      const server = yield* serving(provider, { groups: [operations().group] })
      const opened = yield* begin(provider.multiStream ? server.dialed.accept : Effect.never)
      const client = yield* calling(provider)
      const sent = yield* begin(Effect.flatMap(client.accepted.accept, (stream) => stream.read))
      const wire = yield* openWire(server.dialed)
      yield* wire.request("1", "t/echo", 1)
      // Whatever the node had to say first would have come before its answer.
      assert.strictEqual((yield* wire.receive).id, "1")
      assert.isUndefined(opened.pollUnsafe(), "the serving node opened a stream of its own")
      yield* Fiber.interrupt(opened)
      assert.isUndefined(sent.pollUnsafe(), "the calling node spoke before it called")
      yield* begin(Effect.ignore(client.connection.call("x/y", 7)))
      const first = yield* Fiber.join(sent)
      assert.match(Buffer.from(first).toString("latin1", 4), /^\{"type":"call\.requested","id":"[0-9a-f-]{36}",/)
    })
  )

  many(
    "CALL-134 a peer that opens a stream for each request and each abort is served",
    Effect.gen(function* () {
      const { group, interrupted, open, started } = operations()
      const { connection, dialed } = yield* serving(provider, { groups: [group] })
      const alone = (text: string) =>
        Effect.gen(function* () {
          const stream = yield* dialed.open
          yield* stream.writeLast(encodeFrame(text))
          return wireOf(stream)
        })
      const echo = yield* alone(requestText("1", "t/echo", { no: "slash" }))
      assert.deepStrictEqual(outputOf(yield* echo.receive), { no: "slash" })
      assert.strictEqual(yield* echo.ended, "EndOfStream")
      const slow = yield* alone(requestText("2", "t/slow", "aborted"))
      const kept = yield* alone(requestText("3", "t/slow", "kept"))
      yield* Queue.takeN(started, 2)
      const abort = yield* alone(JSON.stringify({ type: "call.aborted", id: "2", payload: {} }))
      assert.strictEqual(yield* Queue.take(interrupted), "aborted")
      assert.strictEqual(yield* abort.ended, "EndOfStream")
      // Its stream ends without a frame: nothing follows an abort.
      assert.strictEqual(yield* slow.ended, "EndOfStream")
      yield* open
      assert.strictEqual(outputOf(yield* kept.receive), "kept")
      yield* until(connection, { inbound: 0 })
    })
  )

  check(
    "CALL-134 names without a slash, input left out, members in another order and unknown ones are served",
    Effect.gen(function* () {
      const { wire } = yield* wired(provider, { groups: [operations().group] })
      yield* wire.sendText(
        '{"payload":{"input":5,"operationId":"t/echo","deadline":1},"id":"","type":"call.requested"}'
      )
      assert.deepInclude(yield* wire.receive, { type: "call.responded", id: "", payload: { output: 5 } })
      yield* wire.sendText('{"id":"2","payload":{"operationId":"t/echo"},"type":"call.requested","version":2}')
      assert.deepInclude(yield* wire.receive, { id: "2", payload: { output: null } })
      yield* wire.sendText(
        '{"id":"3","payload":{"operationId":"t/none","operationId":"t/echo"},"type":"call.requested"}'
      )
      assert.strictEqual((yield* wire.receive).type, "call.responded")
    })
  )

  many(
    "CALL-053 an answer is accepted on another stream that this side opened",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const small = yield* begin(connection.call("x/y", 1))
      const shared = yield* acceptWire(accepted)
      const { id } = yield* shared.receive
      const other = yield* begin(connection.call("x/y", 2, { stream: "dedicated" }))
      const dedicated = yield* acceptWire(accepted)
      const request = yield* dedicated.receive
      yield* dedicated.send("call.responded", id, { output: "crossed" })
      assert.strictEqual(yield* Fiber.join(small), "crossed")
      yield* dedicated.send("call.responded", request.id, { output: "own" })
      assert.strictEqual(yield* Fiber.join(other), "own")
    })
  )

  many(
    "CALL-115 CALL-014 a half-written large request that is interrupted is reset, and never reaches a handler",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = yield* begin(connection.call("x/y", "x".repeat(32 * 1_048_576)))
      const stream = yield* accepted.accept
      yield* readExactly(stream, 1000)
      // In memory the first bytes are read while they are being handed over, which counts as written.
      yield* turns(1)
      yield* Fiber.interrupt(call)
      const readOn: Effect.Effect<string> = Effect.matchEffect(stream.read, {
        onFailure: (end) => Effect.succeed(end._tag === "StreamReset" ? `${end._tag} ${end.code}` : end._tag),
        onSuccess: () => Effect.suspend(() => readOn)
      })
      assert.strictEqual(yield* readOn, "StreamReset 16")
      assert.deepInclude(yield* connection.stats, { pending: 0 })

      const { group, started } = operations()
      const server = yield* serving(provider, { groups: [group] })
      const wire = yield* openWire(server.dialed)
      const frame = encodeFrame(requestText("1", "t/slow", "y".repeat(100_000)))
      yield* wire.sendBytes(frame.subarray(0, 60_000))
      yield* wire.stream.reset(0x10)
      const after = yield* openWire(server.dialed)
      yield* after.request("2", "t/echo", "next")
      assert.strictEqual(outputOf(yield* after.receive), "next")
      yield* turns(5)
      assert.strictEqual(yield* Queue.size(started), 0)
      assert.deepInclude(yield* server.connection.stats, { inbound: 0 })
    })
  )

  check(
    "CALL-068 an error frame and an answer for nobody, twice over, settle nothing and nobody twice",
    Effect.gen(function* () {
      const { accepted, connection } = yield* calling(provider)
      const call = yield* begin(messageOf(connection.call("x/y", 1)))
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      yield* wire.send("call.error", id, { code: "ODD", message: "first", retryable: false })
      yield* wire.send("call.error", id, { code: "ODD", message: "second", retryable: false })
      yield* wire.send("call.completed", id, {})
      yield* wire.send("call.aborted", id, {})
      assert.strictEqual(yield* Fiber.join(call), "ODD first")
      const next = yield* begin(connection.call("x/y", 2))
      const request = yield* wire.receive
      assert.strictEqual(request.type, "call.requested", "no abort is sent for what was answered")
      yield* wire.send("call.responded", request.id, { output: 2 })
      assert.strictEqual(yield* Fiber.join(next), 2)
      assert.deepInclude(yield* connection.stats, { pending: 0, waiting: 0 })
    })
  )

  check(
    "CALL-111 the same id in both tables: an abort means the request of the other side, not ours",
    Effect.gen(function* () {
      const { group, interrupted, started } = operations()
      const { accepted, connection } = yield* calling(provider, { groups: [group] })
      const call = yield* begin(connection.call("x/y", 1))
      const wire = yield* acceptWire(accepted)
      const { id } = yield* wire.receive
      yield* wire.request(id, "t/slow", "theirs")
      assert.strictEqual(yield* Queue.take(started), "theirs")
      yield* wire.send("call.aborted", id, {})
      assert.strictEqual(yield* Queue.take(interrupted), "theirs")
      assert.deepInclude(yield* connection.stats, { pending: 1 })
      yield* wire.send("call.responded", id, { output: "ours" })
      assert.strictEqual(yield* Fiber.join(call), "ours")
    })
  )

  check(
    "CALL-056 an id that is used again and again, of whatever length, does not fill the log",
    Effect.gen(function* () {
      const { group, started } = operations()
      const { server, wire } = yield* wired(provider, { groups: [group] })
      const id = "long".repeat(10_000)
      yield* wire.request(id, "t/slow", "once")
      assert.strictEqual(yield* Queue.take(started), "once")
      for (let count = 0; count < 100; count++) yield* wire.request(id, "t/slow", "again")
      yield* wire.request("after", "t/echo", 1)
      assert.strictEqual((yield* wire.receive).id, "after")
      const lines = server.logs.filter((line) => line.includes("request ignored"))
      assert.strictEqual(lines.length, 16)
      assert.isBelow(Math.max(...lines.map((line) => line.length)), 200)
      assert.strictEqual(yield* Queue.size(started), 0)
    })
  )

  check(
    "CALL-010 CALL-011 deep nesting that is allowed and members called __proto__ are data, in and out",
    Effect.gen(function* () {
      const { wire } = yield* wired(provider, { groups: [operations().group] })
      const deep = `${"[".repeat(126)}${"]".repeat(126)}`
      yield* wire.sendText(`{"type":"call.requested","id":"1","payload":{"operationId":"t/echo","input":${deep}}}`)
      assert.strictEqual(JSON.stringify(outputOf(yield* wire.receive)), deep)
      const odd = '{"__proto__":{"scopes":["*"]},"constructor":{"prototype":{"polluted":1}}}'
      yield* wire.sendText(`{"type":"call.requested","id":"2","payload":{"operationId":"t/echo","input":${odd}}}`)
      assert.include(yield* wire.receiveText, odd)
      yield* wire.sendText('{"type":"call.requested","id":"3","payload":{"__proto__":{"operationId":"t/echo"}}}')
      assert.strictEqual(errorOf(yield* wire.receive).message, "operation not found: ")
      assert.notProperty({}, "polluted")
      assert.notProperty({}, "scopes")
    })
  )
}
