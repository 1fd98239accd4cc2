import { assert, describe, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Layer, Schema, Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as RegistryLayer from "../../src/layers/OperationRegistry.ts"
import * as ReloadingRegistry from "../../src/layers/ReloadingRegistry.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import { Operation } from "../../src/services/Operation.ts"
import type { OperationContext } from "../../src/services/OperationContext.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { type CallerView, OperationRegistry, type RegistryError } from "../../src/services/OperationRegistry.ts"

const open = { access: AccessControl.open, visibility: "external" } as const
const Answer = Operation.query("a/answer", { output: Schema.String, ...open })
const Watch = Operation.subscription("a/watch", { output: Schema.String, ...open })

const view: CallerView = {
  filter: { mode: "trusted", allows: () => Effect.succeed(true) },
  peer: { key: undefined, identity: undefined },
  connection: { id: "test", side: "accepted", carrier: "local", remoteAddress: undefined },
  caller: Effect.succeed(undefined)
}

// No handler here reads it.
const context = {} as OperationContext["Service"]

interface Version {
  readonly says: string
  /** What a query waits for before it answers. */
  readonly until?: Effect.Effect<void>
  readonly name?: string
  readonly onClose?: Effect.Effect<unknown>
}

const registryOf = ({ name, onClose, says, until }: Version): Layer.Layer<OperationRegistry, RegistryError> => {
  const answer = name === undefined ? Answer : Operation.query(name, { output: Schema.String })
  const group = OperationGroup.make(
    Operation.implement(answer, Effect.as(until ?? Effect.void, says)),
    Operation.implement(Watch, Stream.concat(Stream.make(says), Stream.never))
  )
  const resource = Layer.effectDiscard(Effect.addFinalizer(() => onClose ?? Effect.void))
  return Layer.merge(RegistryLayer.layer(group), resource)
}

const start = (first: Version) =>
  Effect.gen(function* () {
    const reloading = yield* ReloadingRegistry.make(first, registryOf)
    const registry = Context.get(yield* Layer.build(reloading.layer(undefined)), OperationRegistry)
    const admitted = (name: string) =>
      Effect.map(
        Effect.suspend(() => registry.admit(view, name)),
        (admission) => {
          if (admission._tag === "Refused") throw new Error(admission.error.message)
          return admission.registration
        }
      )
    const answer = Effect.flatMap(admitted("a/answer"), (registration) => registration.run({}, context))
    const watch = Stream.unwrap(Effect.map(admitted("a/watch"), (registration) => registration.stream({}, context)))
    return { ...reloading, registry, admitted, answer, watch }
  })

const flag = () => {
  const seen = { closed: false }
  return { seen, onClose: Effect.sync(() => Object.assign(seen, { closed: true })) }
}

describe("a registry that is exchanged as a whole", () => {
  it.effect("the next request is served by the new one, and a listing is of the new one", () =>
    Effect.gen(function* () {
      const { answer, exchange, registry } = yield* start({ says: "one" })
      assert.strictEqual(yield* answer, "one")
      yield* exchange({ says: "two" })
      assert.strictEqual(yield* answer, "two")
      yield* exchange({ says: "three", name: "b/other" })
      assert.deepStrictEqual(
        (yield* registry.visible(view)).map(({ name }) => name),
        ["a/watch"]
      )
      assert.strictEqual(registry.get("b/other")?.spec.name, "b/other")
      assert.isUndefined(registry.get("a/answer"))
    })
  )

  it.effect("one that cannot be built changes nothing", () =>
    Effect.gen(function* () {
      const { answer, exchange } = yield* start({ says: "one" })
      const failed = yield* Effect.flip(exchange({ says: "two", name: "not a name" }))
      assert.strictEqual(failed.reason, "BadName")
      assert.strictEqual(yield* answer, "one")
    })
  )

  it.effect("a running request ends on the old one, whose resources stay until then", () =>
    Effect.gen(function* () {
      const { onClose, seen } = flag()
      const gate = yield* Deferred.make<void>()
      const { answer, exchange } = yield* start({ says: "one", until: Deferred.await(gate), onClose })
      const running = yield* Effect.forkChild(answer, { startImmediately: true })
      yield* exchange({ says: "two" })
      assert.strictEqual(yield* answer, "two")
      yield* TestClock.adjust("30 seconds")
      assert.isFalse(seen.closed)
      yield* Deferred.succeed(gate, undefined)
      assert.strictEqual(yield* Fiber.join(running), "one")
      yield* TestClock.adjust("1 millis")
      assert.isTrue(seen.closed)
    })
  )

  it.effect("without a request its resources go after the time in which an admitted one would have begun", () =>
    Effect.gen(function* () {
      const { onClose, seen } = flag()
      const { admitted, exchange } = yield* start({ says: "one", onClose })
      const late = yield* admitted("a/answer")
      yield* exchange({ says: "two" })
      assert.strictEqual(yield* late.run({}, context), "one")
      assert.isFalse(seen.closed)
      yield* TestClock.adjust("1 second")
      assert.isTrue(seen.closed)
    })
  )

  it.effect("a subscription goes on for a time and fails then", () =>
    Effect.gen(function* () {
      const { onClose, seen } = flag()
      const { exchange, watch } = yield* start({ says: "one", onClose })
      const items: Array<unknown> = []
      const running = yield* Effect.forkChild(
        Stream.runForEach(watch, (item) => Effect.sync(() => items.push(item))),
        { startImmediately: true }
      )
      yield* exchange({ says: "two" })
      yield* TestClock.adjust("60 seconds")
      assert.deepStrictEqual(items, ["one"])
      assert.isFalse(seen.closed)
      yield* TestClock.adjust("1 second")
      assert.isTrue(Exit.isFailure(yield* Fiber.await(running)))
      assert.isTrue(seen.closed)
      assert.deepStrictEqual(yield* Stream.runCollect(Stream.take(watch, 1)), ["two"])
    })
  )

  it.effect("everything is closed with the layer", () =>
    Effect.gen(function* () {
      const [first, second] = [flag(), flag()]
      const scope = yield* Scope.make()
      const { exchange } = yield* start({ says: "one", onClose: first.onClose }).pipe(Scope.provide(scope))
      yield* exchange({ says: "two", onClose: second.onClose })
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual([first.seen.closed, second.seen.closed], [true, true])
    })
  )
})
