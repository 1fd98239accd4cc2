import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Redacted, Result, type Scope, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { issueInvite } from "../../../src/layers/Invite.ts"
import * as SqlitePeerStore from "../../../src/layers/store/SqlitePeerStore.ts"
import * as MemoryTransport from "../../../src/layers/transport/MemoryTransport.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import {
  decodeJoinResponse,
  encodeJoinRequest,
  JOIN_ALPN,
  JoinFrameDecoder
} from "../../../src/protocol/identity/JoinMessage.ts"
import { decodeTicket, encodeTicket } from "../../../src/protocol/identity/Ticket.ts"
import { Identity } from "../../../src/services/Identity.ts"
import { type JoinNode, makeJoinNode } from "../JoinFixtures.ts"
import { temporaryDirectory } from "../store/TemporaryDirectory.ts"

const run = <A, E>(test: Effect.Effect<A, E, Scope.Scope | MemoryTransport.MemoryNetwork>) =>
  Effect.provide(Effect.scoped(test), MemoryTransport.MemoryNetwork.layer)

const connect = (desk: JoinNode, joiner: JoinNode) =>
  joiner.endpoint.connect({ nodeId: desk.local.nodeId, addresses: desk.endpoint.addresses }, JOIN_ALPN)

/** The answer to these bytes, as text. */
const ask = (desk: JoinNode, joiner: JoinNode, bytes: Uint8Array) =>
  Effect.scoped(
    Effect.gen(function* () {
      const connection = yield* connect(desk, joiner)
      const stream = yield* connection.open
      yield* stream.writeLast(bytes)
      const decoder = new JoinFrameDecoder()
      while (true) {
        const frame = yield* Effect.fromResult(decoder.push(yield* stream.read))
        if (frame !== undefined) return new TextDecoder().decode(frame)
      }
    })
  )

const frameOf = (length: number, body: string): Uint8Array => {
  const text = new TextEncoder().encode(body)
  const bytes = new Uint8Array(4 + text.length)
  new DataView(bytes.buffer).setUint32(0, length)
  bytes.set(text, 4)
  return bytes
}
const frame = (body: string) => frameOf(new TextEncoder().encode(body).length, body)
const requestWith = (ticket: string, name = "laptop") =>
  Result.getOrThrow(encodeJoinRequest({ ticket: Redacted.make(ticket), name }))

const REJECTED = '{"v":1,"ok":false,"code":"REJECTED"}'

it.effect("ID-038 a malformed request is REJECTED with the same bytes, and the node goes on", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const joiner = yield* makeJoinNode({ host: "10.0.0.2" })
      const { ticket } = yield* desk.inviteWith()
      const text = Redacted.value(ticket)
      const requests = [
        frameOf(0, ""),
        frameOf(8193, ""),
        frameOf(8193, "x".repeat(8193)),
        frame("{"),
        frame("null"),
        frame(`{"v":2,"ticket":"${text}","name":"a"}`),
        frame(`{"__proto__":{"v":1,"ticket":"${text}","name":"a"}}`),
        frame(`{"v":1,"ticket":"${text}"}`),
        frameOf(100, "half"),
        new Uint8Array([...requestWith(text), 0]),
        requestWith("alk1qqqq"),
        requestWith(`${text}q`),
        requestWith("")
      ]
      for (const bytes of requests) assert.strictEqual(yield* ask(desk, joiner, bytes), REJECTED)
      assert.deepStrictEqual((yield* desk.store.list).peers, [])
      assert.match(
        desk.audit.join("\n"),
        /auth\.reject conn=\S+ remote=10\.0\.0\.1 method=invite credential=- reason=malformed/
      )
      const accepted = yield* ask(desk, joiner, requestWith(text, "\u001b[31mred\u0000"))
      assert.strictEqual(accepted, '{"v":1,"ok":true,"peerId":"31mred","scopes":["msg:send"]}')
      assert.match(desk.audit.join("\n"), /auth\.accept .* peer=31mred/)
    })
  )
)

it.effect("ID-R56 EXPIRED and USED are told only to who shows a good signature", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const joiner = yield* makeJoinNode({ host: "10.0.0.2" })
      const other = yield* makeJoinNode({ host: "10.0.0.3" })
      const { ticket } = yield* desk.inviteWith()
      const text = Redacted.value(ticket)
      const forged = Result.getOrThrow(
        Result.flatMap(decodeTicket(text), (decoded) => encodeTicket({ ...decoded, label: "other" }))
      )
      assert.match(yield* ask(desk, joiner, requestWith(text)), /"ok":true/)
      assert.match(yield* ask(desk, other, requestWith(text)), /USED/)
      assert.strictEqual(yield* ask(desk, other, requestWith(forged)), REJECTED)
      yield* TestClock.setTime(3_600_000)
      assert.match(yield* ask(desk, other, requestWith(text)), /EXPIRED/)
      assert.strictEqual(yield* ask(desk, other, requestWith(forged)), REJECTED)
      assert.strictEqual(yield* ask(other, desk, requestWith(text)), REJECTED)
    })
  )
)

it.effect("ID-R54 a joiner without a certificate is REJECTED, and the invite stays open", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const stranger = yield* makeJoinNode({ host: "10.0.0.2", transport: { anonymous: true } })
      const { ticket } = yield* desk.inviteWith()
      assert.strictEqual(yield* ask(desk, stranger, requestWith(Redacted.value(ticket))), REJECTED)
      assert.isUndefined((yield* desk.store.list).grants[0]?.redeemedBy)
      assert.match(desk.audit.join("\n"), /auth\.reject .* credential=grant:[0-9a-f]{8} reason=nocert/)
    })
  )
)

it.effect("an invite that another process has just issued is found", () =>
  run(
    Effect.gen(function* () {
      const peers = SqlitePeerStore.layer({ path: join(yield* temporaryDirectory, "peers.db") })
      const desk = yield* makeJoinNode({ host: "10.0.0.1", label: "desk", peers })
      const joiner = yield* makeJoinNode({ host: "10.0.0.2" })
      const command = yield* Layer.build(Layer.fresh(peers))
      const { ticket } = yield* issueInvite({ issuer: "operator", scopes: ["msg:send"], addresses: [] }).pipe(
        Effect.provide(command),
        Effect.provideService(Identity, desk.identity)
      )
      assert.deepStrictEqual((yield* SubscriptionRef.get(desk.store.snapshot)).grants, [])
      const response = yield* ask(desk, joiner, requestWith(Redacted.value(ticket)))
      assert.deepStrictEqual(Result.getOrThrow(decodeJoinResponse(new TextEncoder().encode(response))), {
        v: 1,
        ok: true,
        peerId: "laptop",
        label: "desk",
        scopes: ["msg:send"]
      })
    })
  )
)

it.effect("ID-038 half a frame and then silence, or no stream at all, is closed after 10 s", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const joiner = yield* makeJoinNode({ host: "10.0.0.2" })
      for (const bytes of [frameOf(100, "half"), undefined]) {
        const closed = yield* Effect.scoped(
          Effect.gen(function* () {
            const connection = yield* connect(desk, joiner)
            if (bytes !== undefined) yield* Effect.flatMap(connection.open, (stream) => stream.write(bytes))
            const end = yield* Effect.forkChild(connection.closed, { startImmediately: true })
            yield* TestClock.adjust("9 seconds")
            assert.isUndefined(end.pollUnsafe())
            yield* TestClock.adjust("1 second")
            return yield* Fiber.join(end)
          })
        )
        assert.deepStrictEqual([closed.by, closed.code], ["peer", CloseCode.Idle])
      }
    })
  )
)

it.effect("a joiner that does not leave after its answer is closed after 10 s", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const joiner = yield* makeJoinNode({ host: "10.0.0.2" })
      const connection = yield* connect(desk, joiner)
      const stream = yield* connection.open
      yield* stream.writeLast(frame("{"))
      yield* stream.read
      const end = yield* Effect.forkChild(connection.closed, { startImmediately: true })
      yield* TestClock.adjust("10 seconds")
      assert.strictEqual((yield* Fiber.join(end)).code, CloseCode.NoError)
    })
  )
)
