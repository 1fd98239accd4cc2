/** Conformance of composition inside one node: contexts of children, gates, capabilities, routing (call.md section 11). */
import { assert } from "@effect/vitest"
import { Context, Effect, Layer, Queue, Redacted, Schema, Stream } from "effect"
import { TestClock } from "effect/testing"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import { Capabilities } from "../../../src/services/Capabilities.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { Compose, compose, composing, everything, saying, sessionLayer, told } from "./composing.ts"
import { both, casesOver, principal, spy, wired } from "./kit.ts"
import { external } from "./operations.ts"

class Gone extends Schema.TaggedError<Gone>()("Gone", { path: Schema.String }) {
  static readonly code = "GONE"
}

export const compositionCases = (provider: TransportProvider): void => {
  const { check, timed } = casesOver(provider)

  check(
    "CALL-025 an unhandled failure of a composed child is INTERNAL with its code in details, and its message stays here",
    Effect.gen(function* () {
      const Child = Operation.query("c/child", { output: Schema.Void, errors: [Gone], access: AccessControl.open })
      const Parent = Operation.query("c/parent", { output: Schema.Json, ...external })
      const Typed = Operation.query("c/typed", { output: Schema.String, ...external })
      const group = OperationGroup.make(
        Operation.implement(Child, Effect.fail(new Gone({ path: "/secret" }))),
        Operation.implement(Parent, compose("c/child", {}), { scopedEnv: ["c/child"] }),
        Operation.implement(
          Typed,
          Effect.flatMap(OperationContext, ({ env }) =>
            env.invoke(Child, undefined).pipe(
              Effect.as("answered"),
              Effect.catchTag("Gone", (gone) => Effect.succeed(`handled ${gone.path}`))
            )
          ),
          { scopedEnv: ["c/child"] }
        )
      )
      const { connection, server } = yield* both(provider, { server: { groups: [group] } })
      const error = yield* Effect.flip(connection.call("c/parent", {}))
      assert.deepInclude(error, { code: "INTERNAL", message: "internal error" })
      const { code, incident } = error.details as { code: string; incident: string }
      assert.strictEqual(code, "GONE")
      assert.isTrue(server.logs.some((line) => line.includes(incident)))
      assert.notInclude(JSON.stringify(error), "secret")
      assert.strictEqual(yield* connection.call(Typed, undefined), "handled /secret")
    })
  )

  check(
    "CALL-084 a composed child: every field of its context as the table says",
    Effect.gen(function* () {
      const seen: Array<OperationContext["Service"]> = []
      const look = Effect.flatMap(OperationContext, (context) => Effect.sync(() => void seen.push(context)))
      const power = { id: "parent-power", scopes: ["c:child"], resources: { r: ["x"] } }
      const own = { id: "child-power", scopes: [], resources: {} }
      const childScope = { allowed: ["c/grandchild"], pinned: ["a/b"] }
      const Grandchild = Operation.query("c/grandchild", { output: Schema.Void, access: AccessControl.open })
      const Child = Operation.query("c/child", { output: Schema.Void, access: AccessControl.scopes("c:child") })
      const Parent = Operation.query("c/parent", { output: Schema.Void, ...external })
      const Watch = Operation.subscription("c/watch", { output: Schema.Void, ...external })
      const invokeChild = Effect.andThen(look, Effect.asVoid(Effect.orDie(compose("c/child", {}))))
      const options = { authority: power, scopedEnv: ["c/child"] }
      const group = OperationGroup.make(
        Operation.implement(Child, Effect.andThen(look, Effect.asVoid(Effect.orDie(compose("c/grandchild", {})))), {
          authority: own,
          scopedEnv: childScope
        }),
        Operation.implement(Grandchild, look),
        Operation.implement(Parent, invokeChild, options),
        Operation.implement(Watch, Stream.fromEffect(invokeChild), options)
      )
      const { client, connection, server, wire } = yield* wired(provider, { groups: [group] })
      const caller = principal("caller", "x:y")
      server.people.byKey.set(client.nodeId, caller)
      yield* wire.request("root", "c/parent", {}, { forwarded_for: { id: "origin", scopes: [], resources: {} } })
      assert.strictEqual((yield* wire.receive).type, "call.responded")
      const [parent, child, grandchild] = seen
      assert.deepInclude(child, {
        parentRequestId: "root",
        identity: power,
        authority: own,
        originator: caller,
        forwardedFor: undefined,
        metadata: {},
        scopedEnv: childScope,
        abortPolicy: "AbortDependents",
        internal: true,
        connection
      })
      assert.match(child!.requestId, /^[0-9a-f]{8}-[0-9a-f]{4}-4/)
      assert.strictEqual(child!.env, parent!.env, "CALL-089 one env for a call tree")
      assert.strictEqual(child!.deadline, parent!.deadline)
      assert.isNumber(child!.deadline)
      assert.deepStrictEqual(child!.capabilities.names, [])
      assert.deepInclude(grandchild, {
        parentRequestId: child!.requestId,
        identity: own,
        authority: undefined,
        originator: caller,
        env: parent!.env,
        deadline: parent!.deadline
      })

      yield* wire.request("stream", "c/watch", {})
      assert.strictEqual((yield* wire.receive).type, "call.responded")
      assert.deepStrictEqual([seen[3]!.deadline, seen[4]!.deadline], [undefined, undefined])
      assert.notStrictEqual(seen[3]!.env, parent!.env)
    })
  )

  check(
    "CALL-084 a context that a handler changed has no power",
    Effect.gen(function* () {
      const ran = spy()
      const Inner = Operation.query("c/inner", { output: Schema.Void, access: AccessControl.scopes("admin") })
      const Parent = Operation.query("c/parent", { output: Schema.Json, ...external })
      const group = OperationGroup.make(
        Operation.implement(Inner, ran.touch()),
        Operation.implement(
          Parent,
          Effect.flatMap(OperationContext, (context) =>
            Effect.provideService(told(compose("c/inner", {})), OperationContext, { ...context, authority: everything })
          ),
          { scopedEnv: ["c/inner"] }
        )
      )
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      assert.strictEqual((yield* Effect.flip(connection.call("c/parent", {}))).code, "INTERNAL")
      assert.strictEqual(ran.state.count, 0)
    })
  )

  check(
    "CALL-085 a child sees its own capabilities only; grant passes the named ones",
    Effect.gen(function* () {
      const bag = (secrets: Record<string, string>) => {
        const entries = Object.entries(secrets).map(([name, text]) => [name, Redacted.make(Buffer.from(text))] as const)
        return Effect.map(Layer.build(Capabilities.layer(new Map(entries))), (built) =>
          Context.get(built, Capabilities)
        )
      }
      const Child = Operation.query("c/child", { output: Schema.Json, access: AccessControl.open })
      const Parent = Operation.query("c/parent", { input: Schema.Json, output: Schema.Json, ...external })
      const read = Effect.flatMap(OperationContext, ({ capabilities }) =>
        Effect.all(
          capabilities.names.map((name) =>
            Effect.orDie(
              capabilities.use(name, (value) =>
                Effect.succeed(`${name}=${Buffer.from(Redacted.value(value)).toString()}`)
              )
            )
          )
        )
      )
      const group = OperationGroup.make(
        Operation.implement(Child, read, { capabilities: yield* bag({ mine: "child's", both: "child's" }) }),
        Operation.implement(
          Parent,
          (grant) =>
            told(
              compose(
                "c/child",
                {},
                grant === null ? {} : { grant: grant === "all" ? "all" : (grant as Array<string>) }
              )
            ),
          { scopedEnv: ["c/child"], capabilities: yield* bag({ a: "parent's a", b: "parent's b", both: "parent's" }) }
        )
      )
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      const own = ["mine=child's", "both=child's"]
      assert.deepStrictEqual(yield* connection.call(Parent, null), own)
      assert.deepStrictEqual(yield* connection.call(Parent, ["a"]), [...own, "a=parent's a"])
      assert.deepStrictEqual(yield* connection.call(Parent, "all"), [...own, "a=parent's a", "b=parent's b"])
      assert.match(String(yield* connection.call(Parent, ["unknown"])), /^INTERNAL nothing to grant/)
    })
  )

  check(
    "CALL-086 a name in the scoped env runs, others are NOT_FOUND, and the check comes before routing",
    Effect.gen(function* () {
      const { asked, below } = yield* sessionLayer(saying("s/in-session", "session"))
      const groups = [
        composing({ scopedEnv: ["c/named", "c/missing"] }),
        saying("c/named", "ran"),
        saying("c/other", "no")
      ]
      const { connection } = yield* both(provider, { server: { groups, below } })
      const call = (name: string) => connection.call(Compose, { name })
      assert.strictEqual(yield* call("c/named"), "ran")
      assert.strictEqual(yield* call("/c/named"), "ran")
      // In reach of no layer, out of the scoped env, and in a layer but out of the scoped env: all alike.
      assert.strictEqual(yield* call("c/missing"), "NOT_FOUND operation not found: c/missing")
      assert.strictEqual(yield* call("c/other"), "NOT_FOUND operation not found: c/other")
      assert.strictEqual(yield* call("s/in-session"), "NOT_FOUND operation not found: s/in-session")
      assert.lengthOf(asked, 5)
      const empty = yield* both(provider, { server: { groups: [composing(), saying("c/named", "ran")] } })
      assert.strictEqual(
        yield* empty.connection.call(Compose, { name: "c/named" }),
        "NOT_FOUND operation not found: c/named"
      )
    })
  )

  check(
    "CALL-087 the parent's authority opens a child, the caller's scope does not; alike for session and curated children",
    Effect.gen(function* () {
      const needs = AccessControl.scopes("deep:work")
      const scopedEnv = ["c/curated", "s/session"]
      const authority = { id: "worker", scopes: ["deep:*"], resources: {} }
      const outcomes = Effect.fnUntraced(function* (who: string, power: { authority?: typeof authority }) {
        const { below } = yield* sessionLayer(saying("s/session", "session ran", needs))
        const groups = [composing({ scopedEnv, ...power }), saying("c/curated", "curated ran", needs)]
        const { client, connection, server } = yield* both(provider, { server: { groups, below } })
        server.people.byKey.set(client.nodeId, principal("caller", who))
        return yield* Effect.forEach(scopedEnv, (name) => connection.call(Compose, { name }))
      })
      assert.deepStrictEqual(yield* outcomes("nothing:at-all", { authority }), ["curated ran", "session ran"])
      const anonymous = "FORBIDDEN authentication required"
      assert.deepStrictEqual(yield* outcomes("deep:work", {}), [anonymous, anonymous])
      const weak = "FORBIDDEN missing required scope: deep:work"
      const other = { authority: { ...authority, scopes: ["shallow:*"] } }
      assert.deepStrictEqual(yield* outcomes("deep:work", other), [weak, weak])
    })
  )

  check(
    "CALL-088 CALL-048 kinds are told apart after access control, and a child's bad input is INVALID_INPUT",
    Effect.gen(function* () {
      const decoded = spy()
      const Text = Schema.Struct({ text: Schema.String.check(Schema.makeFilter(() => ++decoded.state.count > 0)) })
      const Watch = Operation.subscription("c/watch", { output: Schema.Int, access: AccessControl.scopes("w") })
      const Query = Operation.query("c/query", {
        input: Text,
        output: Schema.String,
        access: AccessControl.scopes("q")
      })
      const Items = Operation.query("c/items", { input: Schema.String, output: Schema.Json, ...external })
      const items = (name: string) =>
        Effect.flatMap(OperationContext, ({ env }) =>
          told(Effect.map(Stream.runCollect(env.subscribe(name, { text: "x" })), (all) => [...all]))
        )
      const nodeWith = (...scopes: ReadonlyArray<string>) => {
        const options = { scopedEnv: ["c/watch", "c/query"], authority: { id: "a", scopes, resources: {} } }
        const group = OperationGroup.make(
          Operation.implement(Watch, Stream.make(1, 2)),
          Operation.implement(Query, ({ text }) => Effect.succeed(text)),
          Operation.implement(Items, items, options)
        )
        return both(provider, { server: { groups: [group, composing(options)] } })
      }
      const { connection } = yield* nodeWith("w", "q")
      const call = (name: string, input?: Schema.Json) =>
        connection.call(Compose, { name, ...(input === undefined ? {} : { input }) })
      assert.match(String(yield* call("c/watch")), /^INVALID_OPERATION_TYPE/)
      assert.deepStrictEqual(yield* connection.call(Items, "c/watch"), [1, 2])
      assert.match(String(yield* connection.call(Items, "c/query")), /^INVALID_OPERATION_TYPE/)
      assert.strictEqual(decoded.state.count, 0)
      assert.match(String(yield* call("c/query", { text: 5 })), /^INVALID_INPUT invalid input: text: /)
      assert.strictEqual(yield* call("c/query", { text: "fine" }), "fine")
      const denied = (yield* nodeWith("other")).connection
      assert.match(String(yield* denied.call(Compose, { name: "c/watch" })), /^FORBIDDEN missing required scope: w/)
      assert.match(String(yield* denied.call(Items, "c/query")), /^FORBIDDEN missing required scope: q/)
      assert.match(String(yield* denied.call(Compose, { name: "c/query", input: 5 })), /^FORBIDDEN/)
    })
  )

  check(
    "CALL-088 a typed child: its input is encoded, its output and its declared errors are decoded",
    Effect.gen(function* () {
      const Child = Operation.query("c/child", {
        input: Schema.Struct({ at: Schema.DateTimeUtcFromString, bytes: Schema.Uint8Array }),
        output: Schema.Uint8Array,
        errors: [Gone],
        access: AccessControl.open
      })
      const Count = Operation.subscription("c/count", {
        input: Schema.Int,
        output: Schema.Uint8Array,
        errors: [Gone],
        access: AccessControl.open
      })
      const Parent = Operation.query("c/parent", { input: Schema.Int, output: Schema.Json, ...external })
      const group = OperationGroup.make(
        Operation.implement(Child, ({ bytes }) =>
          bytes.length === 0 ? Effect.fail(new Gone({ path: "empty" })) : Effect.succeed(bytes.toReversed())
        ),
        Operation.implement(Count, (to) =>
          Stream.concat(
            Stream.map(Stream.range(1, to), (n) => new Uint8Array([n])),
            Stream.fail(new Gone({ path: "end" }))
          )
        ),
        Operation.implement(
          Parent,
          (length) =>
            Effect.gen(function* () {
              const { env } = yield* OperationContext
              const bytes = new Uint8Array(length).map((_, index) => index)
              const at = yield* Schema.decodeUnknownEffect(Schema.DateTimeUtcFromString)(
                "2026-01-01T00:00:00.000Z"
              ).pipe(Effect.orDie)
              const one = yield* Effect.match(env.invoke(Child, { at, bytes }), {
                onSuccess: (output) => [...output],
                onFailure: (error) => [error instanceof Gone ? error.path : `CallError ${error.code}`]
              })
              const seen: Array<number> = []
              const end = yield* env.subscribe(Count, length).pipe(
                Stream.runForEach((item) => Effect.sync(() => seen.push(item[0]!))),
                Effect.flip,
                Effect.orDie
              )
              return [one, seen, end instanceof Gone ? end.path : end.code]
            }),
          { scopedEnv: ["c/child", "c/count"] }
        )
      )
      const { connection } = yield* both(provider, { server: { groups: [group] } })
      assert.deepStrictEqual(yield* connection.call(Parent, 3), [[2, 1, 0], [1, 2, 3], "end"])
      assert.deepStrictEqual(yield* connection.call(Parent, 0), [["empty"], [], "end"])
    })
  )

  timed(
    "CALL-117 children share the deadline of their request: each of them ends at it",
    Effect.gen(function* () {
      const interrupted = Effect.runSync(Queue.unbounded<string>())
      const entered = spy()
      const Wait = Operation.query("c/wait", { output: Schema.Void, access: AccessControl.open })
      const group = OperationGroup.make(
        Operation.implement(
          Wait,
          Effect.andThen(entered.touch(), Effect.never).pipe(
            Effect.onInterrupt(() =>
              Effect.flatMap(OperationContext, (one) => Queue.offer(interrupted, one.abortPolicy))
            )
          )
        ),
        Operation.implement(
          Operation.query("c/parent", { output: Schema.Json, ...external }),
          Effect.andThen(
            Effect.sleep("10 seconds"),
            Effect.all([compose("c/wait", {}), compose("c/wait", {}, { policy: "ContinueRunning" })], {
              concurrency: 2
            })
          ).pipe(
            Effect.as(null),
            Effect.catchTag("CallError", (error: CallError) => Effect.fail(error))
          ),
          { scopedEnv: ["c/wait"] }
        )
      )
      const { connection } = yield* both(provider, {
        server: { groups: [group] },
        client: { limits: { callTimeout: "5 minutes" } }
      })
      const call = yield* Effect.forkChild(Effect.flip(connection.call("c/parent", {})), { startImmediately: true })
      yield* Effect.forEach(Array.from({ length: 10 }), () => Effect.yieldNow)
      yield* TestClock.adjust("10 seconds")
      yield* entered.next
      yield* entered.next
      yield* TestClock.adjust("19999 millis")
      assert.isUndefined(call.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.sameMembers(yield* Queue.takeN(interrupted, 2), ["AbortDependents", "ContinueRunning"])
    })
  )
}
