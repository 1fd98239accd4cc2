/** Conformance of aborts that go down a call tree, and of children that survive them (call.md section 14). */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, type Schema } from "effect"
import { TestClock } from "effect/testing"
import { importFrom } from "../../../src/layers/ImportFrom.ts"
import { type ImplementOptions, Operation } from "../../../src/services/Operation.ts"
import type { OperationContext } from "../../../src/services/OperationContext.ts"
import type { AbortPolicy } from "../../../src/services/OperationEnv.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { type TransportProvider, turns } from "../transport/provider.ts"
import { compose, composing, everything, open, told } from "./composing.ts"
import { document, handPeer, listOf, requestedOf } from "./handPeer.ts"
import { begin, both, casesOver, serving, wired } from "./kit.ts"
import { external, until } from "./operations.ts"

const named = (name: string) => Operation.query(name, { ...open, ...external })

/** Says when it starts and how it ends, and runs this in between. */
const witness = () => {
  const seen = Effect.runSync(Queue.unbounded<string>())
  const around = <E, R>(name: string, body: Effect.Effect<Schema.Json, E, R>) =>
    Queue.offer(seen, `${name} starts`).pipe(
      Effect.andThen(body),
      Effect.onExit((exit) =>
        Queue.offer(
          seen,
          `${name} ${exit._tag === "Success" ? `ends ${JSON.stringify(exit.value)}` : "is interrupted"}`
        )
      )
    )
  const implement = (
    name: string,
    body: (input: Schema.Json) => Effect.Effect<Schema.Json, never, OperationContext>,
    options: ImplementOptions = {}
  ) => Operation.implement(named(name), (input) => around(name, body(input)), options)
  return { implement, take: Queue.take(seen) }
}

export const cascadeCases = (provider: TransportProvider): void => {
  const { check, timed } = casesOver(provider)

  check(
    "CALL-110 an abort ends the handler and its composed children, three deep, and nothing else; no frame follows",
    Effect.gen(function* () {
      const { implement, take } = witness()
      const gate = Deferred.makeUnsafe<void>()
      const scope = (name: string) => ({ scopedEnv: [name], authority: everything })
      const group = OperationGroup.make(
        implement("t/one", (input) => told(compose("t/two", input)), scope("t/two")),
        implement("t/two", (input) => told(compose("t/three", input)), scope("t/three")),
        implement("t/three", (input) => Effect.as(Deferred.await(gate), input))
      )
      const { server, wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("a", "t/one", "a")
      for (const name of ["one", "two", "three"]) assert.strictEqual(yield* take, `t/${name} starts`)
      yield* wire.request("b", "t/one", "b")
      for (const name of ["one", "two", "three"]) assert.strictEqual(yield* take, `t/${name} starts`)
      yield* wire.send("call.aborted", "a", {})
      for (const name of ["three", "two", "one"]) assert.strictEqual(yield* take, `t/${name} is interrupted`)
      yield* Deferred.succeed(gate, undefined)
      assert.deepInclude(yield* wire.receive, { id: "b", type: "call.responded" })
      // An abort is no incident.
      assert.deepStrictEqual(
        server.logs.filter((line) => line.includes("interrupted")),
        []
      )
    })
  )

  check(
    "CALL-112 aborting a forwarding parent sends call.aborted with the child's own id, and nothing for local children",
    Effect.gen(function* () {
      const { implement, take } = witness()
      const group = OperationGroup.make(
        implement(
          "t/both",
          () =>
            Effect.as(
              Effect.all([told(compose("w/slow", {})), told(compose("t/local", {}))], { concurrency: 2 }),
              "never"
            ),
          { scopedEnv: ["w/slow", "t/local"], authority: everything }
        ),
        implement("t/local", () => Effect.never)
      )
      const { connection, dialed } = yield* serving(provider, { groups: [group] })
      const peer = yield* handPeer(dialed, provider.multiStream)
      peer.says.list = listOf("w/slow")
      yield* importFrom(connection)
      yield* peer.own.request("mine", "t/both")
      const asked = yield* peer.next
      assert.strictEqual(requestedOf(asked).operationId, "/w/slow")
      assert.sameMembers([yield* take, yield* take], ["t/both starts", "t/local starts"])
      yield* peer.own.send("call.aborted", "mine", {})
      const { envelope } = yield* peer.next
      assert.deepStrictEqual([envelope.type, envelope.id], ["call.aborted", asked.envelope.id])
      assert.sameMembers([yield* take, yield* take], ["t/both is interrupted", "t/local is interrupted"])
      yield* until(connection, { pending: 0, inbound: 0 })
      // The next thing that comes is the answer to the next request: nothing else was said.
      yield* peer.own.request("next", "services/list")
      assert.strictEqual((yield* peer.next).envelope.id, "next")
    })
  )

  /** A tree of one parent and one child that goes on, which composes once more when it is let. */
  const continuing = (policy: { readonly child?: AbortPolicy; readonly grandchild?: AbortPolicy } = {}) => {
    const { implement, take } = witness()
    const gate = Deferred.makeUnsafe<void>()
    const scope = (...names: ReadonlyArray<string>) => ({ scopedEnv: names, authority: everything })
    const child = policy.child ?? "ContinueRunning"
    const inner = policy.grandchild === undefined ? {} : { policy: policy.grandchild }
    const group = OperationGroup.make(
      implement("t/parent", () => told(compose("t/child", {}, { policy: child })), scope("t/child")),
      implement(
        "t/child",
        () =>
          Effect.gen(function* () {
            const first = yield* told(compose("t/grandchild", {}, inner))
            return [first, yield* told(compose("t/more", {}))]
          }),
        scope("t/grandchild", "t/more")
      ),
      implement("t/grandchild", () => Effect.as(Deferred.await(gate), "grandchild")),
      implement("t/more", () => Effect.succeed("more"))
    )
    return { take, group, open: Deferred.succeed(gate, undefined) }
  }

  check(
    "CALL-113 ContinueRunning: a started child finishes after the abort, with its children, and starts nothing new",
    Effect.gen(function* () {
      const { group, open: openGate, take } = continuing()
      const { connection, wire } = yield* wired(provider, { groups: [group], limits: { maxInFlight: 1 } })
      yield* wire.request("a", "t/parent")
      for (const name of ["parent", "child", "grandchild"]) assert.strictEqual(yield* take, `t/${name} starts`)
      yield* wire.send("call.aborted", "a", {})
      assert.strictEqual(yield* take, "t/parent is interrupted")
      yield* until(connection, { inbound: 0 })
      // What was left behind still holds the permit of its request: a peer cannot pile such children up.
      yield* wire.request("b", "t/more")
      yield* until(connection, { inbound: 1 })
      yield* openGate
      assert.strictEqual(yield* take, 't/grandchild ends "grandchild"')
      assert.strictEqual(yield* take, 't/child ends ["grandchild","INTERNAL request cancelled"]')
      // Its result is discarded: the only frame is the answer to the other request, which may run now.
      assert.deepInclude(yield* wire.receive, { id: "b", type: "call.responded" })
    })
  )

  check(
    "CALL-113 the policy is inherited, and a grandchild that overrides it ends with its own parent only",
    Effect.gen(function* () {
      const { group, open: openGate, take } = continuing({ grandchild: "AbortDependents" })
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("a", "t/parent")
      for (const name of ["parent", "child", "grandchild"]) assert.strictEqual(yield* take, `t/${name} starts`)
      yield* wire.send("call.aborted", "a", {})
      assert.strictEqual(yield* take, "t/parent is interrupted")
      yield* openGate
      assert.strictEqual(yield* take, 't/grandchild ends "grandchild"')
      assert.strictEqual(yield* take, 't/child ends ["grandchild","INTERNAL request cancelled"]')
    })
  )

  check(
    "CALL-113 without an abort a ContinueRunning child answers its parent like any other",
    Effect.gen(function* () {
      const { group, open: openGate } = continuing()
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      yield* openGate
      assert.deepStrictEqual(yield* connection.call("t/parent", {}), ["grandchild", "more"])
    })
  )

  check(
    "CALL-113 CALL-118 the close of the connection ends what continues",
    Effect.gen(function* () {
      const { group, take } = continuing()
      const { connection, wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("a", "t/parent")
      for (const name of ["parent", "child", "grandchild"]) assert.strictEqual(yield* take, `t/${name} starts`)
      yield* wire.send("call.aborted", "a", {})
      assert.strictEqual(yield* take, "t/parent is interrupted")
      yield* connection.close
      assert.sameMembers([yield* take, yield* take], ["t/child is interrupted", "t/grandchild is interrupted"])
    })
  )

  check(
    "CALL-113 an imported child that still waits for a permit is dropped when its parent is aborted",
    Effect.gen(function* () {
      const { implement, take } = witness()
      const group = OperationGroup.make(
        implement("t/parent", (input) => told(compose("w/slow", input, { policy: "ContinueRunning" })), {
          scopedEnv: ["w/slow"],
          authority: everything
        })
      )
      const { connection, dialed } = yield* serving(provider, { groups: [group], limits: { maxInFlight: 2 } })
      const peer = yield* handPeer(dialed, provider.multiStream)
      peer.says.list = listOf("w/slow")
      yield* importFrom(connection)
      // Both permits for requests of this node are taken.
      const busy = yield* Effect.forEach(["x", "y"], (input) => begin(connection.call("w/busy", input)))
      const calls = [yield* peer.next, yield* peer.next]
      yield* peer.own.request("waits", "t/parent", "waits")
      assert.strictEqual(yield* take, "t/parent starts")
      yield* until(connection, { waiting: 1 })
      yield* peer.own.send("call.aborted", "waits", {})
      assert.strictEqual(yield* take, "t/parent is interrupted")
      yield* until(connection, { waiting: 0, inbound: 0 })
      // One that has started goes on, and its answer is taken.
      yield* peer.answer(calls[0]!, "done")
      yield* until(connection, { pending: 1 })
      yield* peer.own.request("starts", "t/parent", "starts")
      assert.strictEqual(yield* take, "t/parent starts")
      const started = yield* peer.next
      assert.strictEqual(requestedOf(started).input, "starts")
      yield* peer.own.send("call.aborted", "starts", {})
      assert.strictEqual(yield* take, "t/parent is interrupted")
      yield* until(connection, { inbound: 0, pending: 2 })
      yield* peer.answer(started, "heard by nobody")
      yield* until(connection, { pending: 1 })
      yield* peer.answer(calls[1]!, "done")
      assert.deepStrictEqual(yield* Effect.forEach(busy, (fiber) => Fiber.join(fiber)), ["done", "done"])
    })
  )

  timed(
    "CALL-113 CALL-117 the deadline ends what continues after an abort",
    Effect.gen(function* () {
      const { group, take } = continuing()
      const { wire } = yield* wired(provider, { groups: [group] })
      yield* wire.request("a", "t/parent")
      for (const name of ["parent", "child", "grandchild"]) assert.strictEqual(yield* take, `t/${name} starts`)
      yield* TestClock.adjust("10 seconds")
      yield* wire.send("call.aborted", "a", {})
      assert.strictEqual(yield* take, "t/parent is interrupted")
      const rest = yield* begin(Effect.all([take, take]))
      yield* turns(5)
      yield* TestClock.adjust("19999 millis")
      assert.isUndefined(rest.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.sameMembers(yield* Fiber.join(rest), ["t/child is interrupted", "t/grandchild is interrupted"])
    })
  )

  timed(
    "CALL-103 CALL-117 a forwarded call ends with the deadline of the request that it serves, and says so downstream",
    Effect.gen(function* () {
      const groups = [composing({ scopedEnv: ["w/slow"], authority: everything })]
      const limits = { dispatchDeadline: "5 seconds" } as const
      const { connection, dialed } = yield* serving(provider, { groups, limits })
      const peer = yield* handPeer(dialed, provider.multiStream)
      peer.says.list = listOf("w/slow")
      peer.says.schema = (name) => document(name)
      yield* importFrom(connection)
      yield* peer.own.request("a", "c/compose", { name: "w/slow" })
      const asked = yield* peer.next
      const answers = yield* begin(Effect.all([peer.next, peer.next]))
      yield* TestClock.adjust("5 seconds")
      const frames = (yield* Fiber.join(answers)).map(({ envelope }) => `${envelope.type} ${envelope.id}`)
      assert.sameMembers(frames, ["call.error a", `call.aborted ${asked.envelope.id}`])
    })
  )
}
