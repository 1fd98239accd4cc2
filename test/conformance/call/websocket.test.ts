/** What only a WebSocket shows (call.md section 16.2), with the WebSocket client of the platform at the other end. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Queue, Schema, Stream } from "effect"
import * as WebSocketClient from "../../../src/layers/call/WebSocketClient.ts"
import { CALL_SUBPROTOCOL, offeredSubprotocols } from "../../../src/protocol/call/Upgrade.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { leavesNothing, turns } from "../transport/provider.ts"
import { errorOf, outputOf, principal } from "./kit.ts"
import { Back, Echo, external, operations } from "./operations.ts"
import { browser, websocketNode } from "./websocketServer.ts"

const TOKEN = "alk_0123456789ABCDEFGHIJKLMNOP"
const ID = "7f3c1d52-9a0e-4b6c-8d21-5e0f6a7b8c9d"

const request = (operationId: string, input: unknown) => ({ operationId, input })

describe("WebSocket", () => {
  it.live("CALL-129 an envelope is one binary message, the JSON and nothing before it, both ways", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { url } = yield* websocketNode({ groups: [operations().group] })
        const { socket } = yield* browser(url, [CALL_SUBPROTOCOL])
        const answer = Effect.callback<unknown>((resume) => {
          socket.addEventListener("message", ({ data }) => resume(Effect.succeed(data)), { once: true })
        })
        const waiting = yield* Effect.forkChild(answer, { startImmediately: true })
        socket.send(
          Buffer.from(`{"type":"call.requested","id":"${ID}","payload":{"operationId":"/t/echo","input":"é"}}`)
        )
        const data = yield* Fiber.join(waiting)
        assert.instanceOf(data, ArrayBuffer)
        const text = new TextDecoder().decode(data as ArrayBuffer)
        assert.strictEqual(text, `{"type":"call.responded","id":"${ID}","payload":{"output":"é"}}`)
      })
    )
  )

  const refusals = [
    ["a text message", '{"type":"call.requested","id":"1","payload":{}}', "1002 text messages not supported"],
    ["an empty message", Buffer.alloc(0), "1002 invalid EventEnvelope"],
    ["a frame with its length prefix", Buffer.from("\0\0\0\x02{}"), "1002 invalid EventEnvelope"],
    ["JSON that is no envelope", Buffer.from("[1]"), "1002 invalid EventEnvelope"],
    ["an envelope without an id", Buffer.from('{"type":"t","payload":{}}'), "1002 invalid EventEnvelope"],
    ["bytes that are no text", Buffer.from([0xff, 0xfe]), "1002 invalid EventEnvelope"],
    ["a stranger's message of 1 MiB and a byte", Buffer.alloc(1_048_577, " "), "1009 message too large"]
  ] as const

  for (const [what, message, expected] of refusals) {
    it.live(`CALL-129 ${what} closes with ${expected}`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const { logs, url } = yield* websocketNode({ groups: [operations().group] })
          const { closed, socket } = yield* browser(url, [CALL_SUBPROTOCOL])
          socket.send(message)
          assert.strictEqual(yield* closed, expected)
          assert.strictEqual(logs.filter((line) => line.includes("call stream refused")).length, 1, logs.join("\n"))
        })
      )
    )
  }

  it.live("CALL-130 a slow request blocks nobody, an abort overtakes its answer, and the rest goes on", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { group, interrupted, open, started } = operations()
        const { url } = yield* websocketNode({ groups: [group] })
        const { receive, send } = yield* browser(url, [CALL_SUBPROTOCOL])
        send("call.requested", "slow", request("t/slow", 1))
        send("call.requested", "kept", request("t/slow", 2))
        yield* Queue.takeN(started, 2)
        send("call.requested", "quick", request("t/echo", 3))
        assert.strictEqual((yield* receive).id, "quick")
        send("call.aborted", "slow", {})
        assert.strictEqual(yield* Queue.take(interrupted), 1)
        yield* open
        assert.strictEqual((yield* receive).id, "kept")
        send("call.requested", "last", request("t/echo", 4))
        assert.strictEqual((yield* receive).id, "last")
      })
    )
  )

  it.live("CALL-130 a subscription streams: items, its end, and an abort that stops it while a call goes on", () =>
    leavesNothing(
      Effect.gen(function* () {
        const stopped = yield* Queue.unbounded<string>()
        const Count = Operation.subscription("t/count", { input: Schema.Int, output: Schema.Int, ...external })
        const Tick = Operation.subscription("t/tick", { output: Schema.String, ...external })
        const group = OperationGroup.make(
          Operation.implement(Count, (n) => Stream.range(1, n)),
          Operation.implement(Tick, Stream.ensuring(Stream.forever(Stream.make("tick")), Queue.offer(stopped, "tick")))
        )
        const { url } = yield* websocketNode({ groups: [group, operations().group] })
        const { receive, send } = yield* browser(url, [CALL_SUBPROTOCOL])
        send("call.requested", "1", request("t/count", 3))
        const events = yield* Effect.forEach([1, 2, 3, 4], () => receive)
        assert.deepStrictEqual(
          events.map(({ payload, type }) => [type, payload]),
          [...[1, 2, 3].map((output) => ["call.responded", { output }]), ["call.completed", {}]]
        )
        send("call.requested", "2", request("t/tick", null))
        yield* receive
        send("call.aborted", "2", {})
        assert.strictEqual(yield* Queue.take(stopped), "tick")
        send("call.requested", "3", request("t/echo", "after"))
        const answer = Effect.repeat(receive, { while: ({ id }) => id === "2" })
        assert.deepStrictEqual((yield* answer).payload, { output: "after" })
      })
    )
  )

  it.live("CALL-130 a page that reads nothing holds the handler of its subscription back", () =>
    leavesNothing(
      Effect.gen(function* () {
        const given = { count: 0 }
        const Flood = Operation.subscription("t/flood", { output: Schema.String, ...external })
        const item = "x".repeat(64 * 1024)
        const group = OperationGroup.make(
          Operation.implement(
            Flood,
            Stream.range(1, 1000).pipe(
              Stream.mapEffect(() => {
                given.count++
                return Effect.succeed(item)
              })
            )
          )
        )
        const { url } = yield* websocketNode({ groups: [group] })
        const page = yield* WebSocketClient.dial(url)
        const body = { type: "call.requested", id: "1", payload: { operationId: "/t/flood" } }
        yield* page.send(Buffer.from(JSON.stringify(body)))
        yield* page.receive
        yield* turns(50)
        for (let index = 1; index < 1000; index++) {
          yield* page.receive
          // What both sides hold and the buffers of two loopback sockets: 16 MiB.
          assert.isBelow(given.count - index, 256)
        }
        assert.include(String(yield* page.receive), '"call.completed"')
      })
    )
  )

  it.live("CALL-130 the server calls the page, which answers, over the same WebSocket", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { url } = yield* websocketNode({ groups: [operations().group] })
        const { receive, send } = yield* browser(url, [CALL_SUBPROTOCOL])
        send("call.requested", "1", { operationId: `/${Back.name}`, input: "there and back" })
        const back = yield* receive
        assert.deepInclude(back, { type: "call.requested", payload: request(`/${Echo.name}`, "there and back") })
        send("call.responded", back.id, { output: "from the page" })
        assert.deepStrictEqual(yield* receive, {
          type: "call.responded",
          id: "1",
          payload: { output: "from the page" }
        })
      })
    )
  )

  it.live("CALL-130 the identity of the upgrade is the connection's, looked up anew for each request", () =>
    leavesNothing(
      Effect.gen(function* () {
        const Who = Operation.query("t/who", { output: Schema.NullOr(Schema.String), ...external })
        const group = OperationGroup.make(
          Operation.implement(
            Who,
            Effect.map(OperationContext, ({ identity }) => identity?.id ?? null)
          )
        )
        const { people, url } = yield* websocketNode({ groups: [group] })
        people.byToken.set(TOKEN, principal("page"))
        const page = yield* browser(url, [...offeredSubprotocols(TOKEN)])
        assert.strictEqual(page.socket.protocol, CALL_SUBPROTOCOL, "the answer names no token")
        const who = Effect.suspend(() => {
          page.send("call.requested", "1", request("t/who", null))
          return Effect.map(page.receive, (envelope) => outputOf(envelope as Parameters<typeof outputOf>[0]))
        })
        assert.strictEqual(yield* who, "page")
        people.byToken.delete(TOKEN)
        assert.isNull(yield* who)
        page.send("call.requested", "2", request("services/schema", { name: "t/none" }))
        assert.strictEqual(errorOf((yield* page.receive) as Parameters<typeof errorOf>[0]).code, "NOT_FOUND")
      })
    )
  )
})
