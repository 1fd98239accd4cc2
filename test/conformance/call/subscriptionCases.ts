/** Conformance of serving subscriptions: frames, errors, order, fairness, ends (call.md sections 3, 5 and 15). */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { answerOf, feeds, Gone } from "./feeds.ts"
import { begin, casesOver, type errorOf, openWire, outputOf, spy, trusted, wired } from "./kit.ts"
import { external, operations, until } from "./operations.ts"

const item = (output: Schema.Json) => ["call.responded", { output }] as const
const completed = ["call.completed", {}] as const

export const subscriptionCases = (provider: TransportProvider): void => {
  const { check, many, timed } = casesOver(provider)

  check(
    "CALL-121 items come in order, then the completion; an empty subscription is its completion; nothing follows",
    Effect.gen(function* () {
      const { wire } = yield* wired(provider, { groups: [feeds().group, operations().group] })
      yield* wire.request("1", "t/count", 3)
      assert.deepStrictEqual(yield* answerOf(wire), [item(1), item(2), item(3), completed])
      yield* wire.request("2", "t/count", 0)
      assert.deepStrictEqual(yield* answerOf(wire), [completed])
      yield* wire.request("3", "t/echo", "next")
      assert.deepInclude(yield* wire.receive, { id: "3" })
    })
  )

  check(
    "CALL-121 CALL-022 a failing subscription: its items, one error, nothing after; the error is the declared one",
    Effect.gen(function* () {
      const { wire } = yield* wired(provider, { groups: [feeds().group, operations().group] })
      yield* wire.request("1", "t/fails", 2)
      const message = new Gone({ after: 2 }).message
      const error = { code: "GONE", message, retryable: false, details: { after: 2 } }
      assert.deepStrictEqual(yield* answerOf(wire), [item(1), item(2), ["call.error", error]])
      yield* wire.request("2", "t/echo", "next")
      assert.deepInclude(yield* wire.receive, { id: "2" })
    })
  )

  check(
    "CALL-121 a refused or unknown subscription and bad input are one error each, and no handler runs",
    Effect.gen(function* () {
      const ran = spy()
      const stream = () => Stream.unwrap(Effect.as(ran.touch(), Stream.make(1)))
      const output = Schema.Finite
      const group = OperationGroup.make(
        Operation.implement(Operation.subscription("s/scoped", { output, visibility: "external" }), stream()),
        Operation.implement(Operation.subscription("s/inside", { output, access: AccessControl.open }), stream()),
        Operation.implement(
          Operation.subscription("s/typed", { input: Schema.Struct({ n: Schema.Finite }), output, ...external }),
          stream
        )
      )
      const { server, wire } = yield* wired(provider, { groups: [group] })
      server.people.byKey.clear()
      const codes: Array<string> = []
      for (const name of ["s/unknown", "s/inside", "s/scoped", "s/typed"]) {
        yield* wire.request(name, name, { n: "no number" })
        const [first] = yield* answerOf(wire)
        assert.strictEqual(first![0], "call.error")
        codes.push((first![1] as { readonly code: string }).code)
      }
      assert.deepStrictEqual(codes, ["NOT_FOUND", "NOT_FOUND", "FORBIDDEN", "INVALID_INPUT"])
      assert.strictEqual(ran.state.count, 0)
    })
  )

  check(
    "CALL-023 CALL-024 CALL-027 CALL-017 what breaks inside a subscription is INTERNAL after the items before it",
    Effect.gen(function* () {
      const secret = "the secret of the house"
      const broken = (name: string, stream: () => Stream.Stream<string, Gone>) =>
        Operation.implement(Operation.subscription(`b/${name}`, { output: Schema.String, ...external }), stream)
      const group = OperationGroup.make(
        broken("undeclared", () => Stream.concat(Stream.make("1"), Stream.fail(new Gone({ after: 1 })))),
        broken("defect", () => Stream.concat(Stream.make("1"), Stream.die(new Error(secret)))),
        broken("throws", () => {
          throw new Error(secret)
        }),
        // One chunk: the item before the bad one must not be lost.
        broken("unfit", () => Stream.fromIterable(["1", 2 as never, "3"])),
        broken("large", () => Stream.fromIterable(["1", "x".repeat(5000), "3"])),
        broken("surrogate", () => Stream.fromIterable(["1", "\ud800", "3"]))
      )
      const { server, wire } = yield* wired(provider, { groups: [group], limits: { maxFrame: 4000 } })
      const ask = (name: string) =>
        Effect.gen(function* () {
          yield* wire.request(name, `b/${name}`)
          const answer = yield* answerOf(wire)
          const { code, details, message } = answer.at(-1)![1] as ReturnType<typeof errorOf>
          assert.notInclude(JSON.stringify(answer), secret)
          const keys = details === undefined ? "" : Object.keys(details as object).join()
          return [answer.slice(0, -1), code, message, keys]
        })
      const one = [item("1")]
      assert.deepStrictEqual(yield* ask("undeclared"), [one, "INTERNAL", "internal error", "code,incident"])
      assert.deepStrictEqual(yield* ask("defect"), [one, "INTERNAL", "internal error", "incident"])
      assert.deepStrictEqual(yield* ask("throws"), [[], "INTERNAL", "internal error", "incident"])
      assert.deepStrictEqual(yield* ask("unfit"), [one, "INTERNAL", "internal error", "incident"])
      assert.deepStrictEqual(yield* ask("large"), [one, "INTERNAL", "response too large", ""])
      assert.deepStrictEqual(yield* ask("surrogate"), [one, "INTERNAL", "internal error", ""])
      assert.isTrue(server.logs.some((line) => line.includes(secret)))
    })
  )

  check(
    "CALL-013 a subscription that floods its stream does not starve a call on it, nor other subscriptions",
    Effect.gen(function* () {
      const { group, made } = feeds()
      const { wire } = yield* wired(provider, { groups: [group, operations().group] })
      yield* wire.request("flood", "t/flood", 1000)
      yield* wire.receive
      yield* wire.request("call", "t/echo", 1)
      yield* wire.request("other", "t/count", 3)
      const before = made.count
      const others: Array<string> = []
      let floodedAfter = 0
      while (others.length < 5) {
        const { id, type } = yield* wire.receive
        if (id !== "flood") others.push(`${id} ${type}`)
        else if (others.length === 0) floodedAfter++
      }
      assert.include(others, "call call.responded")
      assert.strictEqual(others.filter((one) => one === "other call.responded").length, 3)
      // What stood in buffers when the call came in, and a little of what was made meanwhile.
      assert.isBelow(floodedAfter, provider.bufferedMax / 1000 + 200, `made before: ${before}`)
    })
  )

  check(
    "CALL-013 64 subscriptions that write large items on one stream never mix their frames",
    Effect.gen(function* () {
      const Letters = Operation.subscription("t/letters", { input: Schema.Finite, output: Schema.String, ...external })
      const group = OperationGroup.make(
        Operation.implement(Letters, (n) =>
          Stream.map(Stream.range(1, 20), (at) => String.fromCharCode(65 + (n % 26)).repeat(at * 500))
        )
      )
      const { wire } = yield* wired(provider, { groups: [group] })
      const ids = Array.from({ length: 64 }, (_, n) => `${n}`)
      for (const id of ids) yield* wire.request(id, "t/letters", Number(id))
      const lengths = new Map<string, Array<number>>(ids.map((id) => [id, []]))
      let open = ids.length
      while (open > 0) {
        const envelope = yield* wire.receive
        if (envelope.type === "call.completed") {
          open--
          continue
        }
        const text = outputOf(envelope) as string
        assert.match(text, new RegExp(`^${String.fromCharCode(65 + (Number(envelope.id) % 26))}+$`))
        lengths.get(envelope.id)!.push(text.length)
      }
      for (const seen of lengths.values()) {
        assert.deepStrictEqual(
          seen,
          Array.from({ length: 20 }, (_, at) => (at + 1) * 500)
        )
      }
    })
  )

  check(
    "CALL-125 CALL-110 an abort ends the handler with its finalizer, and no frame for the id follows",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection, wire } = yield* wired(provider, { groups: [group, operations().group] })
      yield* wire.request("1", "t/hangs", 7)
      assert.strictEqual(outputOf(yield* wire.receive), 7)
      yield* wire.send("call.aborted", "1", {})
      assert.strictEqual(yield* ended, "hangs")
      yield* until(connection, { inbound: 0 })
      yield* wire.request("2", "t/echo", "next")
      assert.deepInclude(yield* wire.receive, { id: "2" })
    })
  )

  many(
    "CALL-055 a peer that resets or stops the stream of a subscription ends its handler",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection, dialed } = yield* wired(provider, { groups: [group] })
      for (const cut of ["reset", "stop", "stop of a peer that has nothing more to say"] as const) {
        const wire = yield* openWire(dialed)
        yield* wire.request(cut, "t/flood", 1000)
        yield* wire.receive
        if (cut === "reset") yield* wire.stream.reset(9)
        else if (cut === "stop") yield* wire.stream.stop(9)
        else yield* Effect.andThen(wire.stream.finish, wire.stream.stop(9))
        assert.strictEqual(yield* ended, "flood", cut)
      }
      yield* until(connection, { inbound: 0 })
    })
  )

  check(
    "CALL-122 a peer that reads slowly holds the handler: it is never more than the window ahead",
    Effect.gen(function* () {
      const { group, made } = feeds()
      const { wire } = yield* wired(provider, { groups: [group] })
      const size = 16_384
      const ahead = provider.bufferedMax / size + 8
      yield* wire.request("1", "t/flood", size)
      for (let read = 1; read < 3 * ahead; read++) {
        yield* wire.receive
        yield* turns(1)
        assert.isBelow(made.count, read + ahead)
      }
    })
  )

  check(
    "CALL-057 a subscription holds its permit to its end; what waits behind it runs then",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection, dialed, wire } = yield* wired(provider, {
        groups: [group, operations().group],
        limits: { maxInFlight: 1 }
      })
      yield* wire.request("1", "t/hangs", 1)
      yield* wire.receive
      // On one stream the reader waits with the second request, and nothing behind it is seen.
      if (!provider.multiStream) return
      yield* wire.request("2", "t/echo", 2)
      yield* until(connection, { inbound: 2 })
      const other = yield* openWire(dialed)
      yield* other.send("call.aborted", "1", {})
      yield* ended
      assert.deepInclude(yield* wire.receive, { id: "2" })
    })
  )

  check(
    "CALL-056 the id of a subscription is in use to its end, and free afterwards",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { connection, wire } = yield* wired(provider, { groups: [group, operations().group] })
      yield* wire.request("twin", "t/hangs", 1)
      yield* wire.receive
      yield* wire.request("twin", "t/echo", "ignored")
      yield* wire.request("after", "t/echo", 2)
      assert.deepInclude(yield* wire.receive, { id: "after" })
      yield* wire.send("call.aborted", "twin", {})
      yield* ended
      yield* until(connection, { inbound: 0 })
      yield* wire.request("twin", "t/count", 1)
      assert.deepStrictEqual(yield* answerOf(wire), [item(1), completed])
    })
  )

  check(
    "CALL-048 CALL-047 gateways: the outcome of a wire request; the wrong kind is INVALID_OPERATION_TYPE, on a wire never",
    Effect.gen(function* () {
      const { ended, group } = feeds()
      const { server, wire } = yield* wired(provider, { groups: [group, operations().group] })
      const info = { id: "g", side: "accepted", carrier: "local", remoteAddress: undefined } as const
      const view = {
        filter: trusted,
        peer: { key: undefined, identity: undefined },
        connection: info,
        caller: Effect.succeed(undefined)
      }
      const { invoke, stream } = server.dispatcher
      assert.deepStrictEqual(yield* Stream.runCollect(stream(view, "/t/count", 3)), [1, 2, 3])
      const codeOf = (name: string, input: Schema.Json) =>
        Effect.map(Effect.flip(Stream.runCollect(stream(view, name, input))), ({ code, message }) => [code, message])
      assert.deepStrictEqual((yield* codeOf("t/echo", 1))[0], "INVALID_OPERATION_TYPE")
      assert.deepStrictEqual((yield* Effect.flip(invoke(view, "t/count", 1))).code, "INVALID_OPERATION_TYPE")
      for (const [name, input] of [
        ["t/none", 1],
        ["t/count", "no number"],
        ["t/fails", 1]
      ] as const) {
        yield* wire.request(name, name, input)
        const { code, message } = (yield* answerOf(wire)).at(-1)![1] as ReturnType<typeof errorOf>
        assert.deepStrictEqual(yield* codeOf(name, input), [code, message], name)
      }
      yield* wire.request("query", "t/echo", 1)
      assert.deepStrictEqual((yield* wire.receive).type, "call.responded")
      // The handler ends with the gateway's consumer.
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(stream(view, "t/hangs", 5), 1)), [5])
      assert.strictEqual(yield* ended, "hangs")
    })
  )

  timed(
    "CALL-084 CALL-117 a subscription has no deadline, once its handler has started",
    Effect.gen(function* () {
      const go = Deferred.makeUnsafe<void>()
      const deadlines: Array<number | undefined> = []
      const Late = Operation.subscription("t/late", { output: Schema.String, ...external })
      const group = OperationGroup.make(
        Operation.implement(
          Late,
          Stream.unwrap(
            Effect.gen(function* () {
              deadlines.push((yield* OperationContext).deadline)
              return Stream.concat(Stream.make("early"), Stream.fromEffect(Effect.as(Deferred.await(go), "late")))
            })
          )
        )
      )
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("1", "t/late")
      assert.strictEqual(outputOf(yield* wire.receive), "early")
      yield* TestClock.adjust("10 minutes")
      yield* turns(5)
      yield* Deferred.succeed(go, undefined)
      assert.deepStrictEqual(yield* answerOf(wire), [item("late"), completed])
      assert.deepStrictEqual(deadlines, [undefined])
    })
  )

  check(
    "CALL-013 items that a handler makes in one go and one by one arrive alike",
    Effect.gen(function* () {
      const All = Operation.subscription("t/all", { input: Schema.Boolean, output: Schema.Finite, ...external })
      const inTurn = yield* Queue.unbounded<number>()
      yield* Queue.offerAll(
        inTurn,
        Array.from({ length: 300 }, (_, n) => n)
      )
      const group = OperationGroup.make(
        Operation.implement(All, (isChunked) =>
          isChunked ? Stream.range(0, 299) : Stream.take(Stream.fromEffectRepeat(Queue.take(inTurn)), 300)
        )
      )
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("1", "t/all", true)
      const chunked = yield* answerOf(wire)
      yield* wire.request("2", "t/all", false)
      const single = yield* begin(answerOf(wire))
      assert.deepStrictEqual(yield* Fiber.join(single), chunked)
      assert.deepStrictEqual(chunked, [...Array.from({ length: 300 }, (_, n) => item(n)), completed])
    })
  )
}
