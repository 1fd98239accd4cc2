/**
 * The gates as a whole, over a real session: what handlers did is told by spies, what should have happened by a second
 * reading of call.md (RandomRegistries.ts).
 */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import fc from "fast-check"
import { openWire, outputOf, people, serving, type Wire } from "../../conformance/call/kit.ts"
import { until } from "../../conformance/call/operations.ts"
import { provider } from "../../conformance/transport/registry.ts"
import {
  admitted,
  bodyOf,
  build,
  expected,
  filterOf,
  isEnvelope,
  nameOf,
  type Request,
  request,
  TOKENS,
  type World,
  withId,
  world
} from "./RandomRegistries.ts"

/** A node with the registry of a world, and everybody whom it knows. */
const serve = Effect.fnUntraced(function* (of: World, ran: Array<number>) {
  const known = people()
  for (const [index, token] of TOKENS.entries()) known.byToken.set(token, withId(token, of.holders[index]!))
  const served = yield* serving(
    provider("memory"),
    { groups: [build(of.sorts, ran)], people: known },
    { filter: filterOf(of.filter) }
  )
  if (of.caller !== undefined) known.byKey.set(served.client.nodeId, withId("caller", of.caller))
  return served
})

/** The answer to a request: its code and message, or `ok`, or `item` where items and the completion came. */
const answerTo = (wire: Wire, id: string) =>
  Effect.gen(function* () {
    const first = yield* wire.receive
    assert.strictEqual(first.id, id)
    if (first.type === "call.error") {
      const { code, message } = first.payload as { code: string; message: string }
      return code === "INVALID_INPUT" ? code : `${code} ${message}`
    }
    assert.strictEqual(first.type, "call.responded")
    return "ok"
  })

/** Nothing came before the answer to another request, and nobody ran. */
const nothingCame = (wire: Wire) =>
  Effect.gen(function* () {
    yield* wire.request("barrier", "services/none")
    assert.strictEqual((yield* wire.receive).id, "barrier")
  })

const listOf = (wire: Wire, token: string | undefined) =>
  Effect.gen(function* () {
    yield* wire.request("list", "services/list", {}, token === undefined ? {} : { auth_token: token })
    const output = outputOf(yield* wire.receive) as { operations: ReadonlyArray<{ name: string }> }
    return output.operations.map(({ name }) => name)
  })

const nameIn = (payload: unknown): string => {
  if (typeof payload !== "object" || payload === null || Array.isArray(payload)) return ""
  const name: unknown = Object.hasOwn(payload, "operationId") && Reflect.get(payload, "operationId")
  return typeof name === "string" ? name.replace(/^\//, "") : ""
}

const play = (of: World, requests: ReadonlyArray<Request>) =>
  Effect.gen(function* () {
    const ran: Array<number> = []
    const { connection, dialed } = yield* serve(of, ran)
    for (const [turn, one] of requests.entries()) {
      const id = `id-${turn}`
      ran.length = 0
      const wire = yield* openWire(dialed)
      yield* wire.sendText(bodyOf(id, one))
      if (one.shape === "text") {
        if (!isEnvelope(one.text)) assert.strictEqual(yield* wire.ended, "StreamReset", one.text)
      } else if (one.shape === "event") {
        yield* nothingCame(wire)
      } else if (one.shape === "payload") {
        assert.strictEqual(yield* answerTo(wire, id), `NOT_FOUND operation not found: ${nameIn(one.payload)}`)
      } else {
        const should = expected(of, one)
        const answer = yield* answerTo(wire, id)
        if (should.answer === "item") {
          assert.strictEqual(answer, "ok")
          assert.deepInclude(yield* wire.receive, { type: "call.completed", id })
        } else {
          assert.strictEqual(answer, should.answer)
        }
        assert.deepStrictEqual(ran, should.runs, `who ran for ${nameOf(one.index)}`)
        yield* nothingCame(wire)
        continue
      }
      assert.deepStrictEqual(ran, [], "nobody runs for what is no request")
    }
    const wire = yield* openWire(dialed)
    for (const token of [undefined, ...TOKENS]) {
      assert.deepStrictEqual(yield* listOf(wire, token), admitted(of, token))
    }
    for (const [index] of of.sorts.entries()) {
      yield* wire.request("schema", "services/schema", { name: nameOf(index) })
      const isAdmitted = admitted(of, undefined).includes(nameOf(index))
      const refused = `NOT_FOUND operation not found: ${nameOf(index)}`
      assert.strictEqual(yield* answerTo(wire, "schema"), isAdmitted ? "ok" : refused)
    }
    yield* until(connection, { inbound: 0, pending: 0 })
  })

describe("the gates", () => {
  it("CALL-095 CALL-047 property: no handler runs that a gate should have stopped, what is listed is what is not refused", () =>
    fc.assert(
      fc.asyncProperty(world, fc.array(request, { minLength: 1, maxLength: 12 }), (of, requests) =>
        Effect.runPromise(Effect.scoped(play(of, requests)))
      ),
      { numRuns: 150 }
    ))
})
