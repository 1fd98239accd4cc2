/** Gate 7 where the input names what an operation is about, and somebody owns it or not (call.md section 9). */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Schema } from "effect"
import fc from "fast-check"
import * as RegistryLayer from "../../../src/layers/OperationRegistry.ts"
import { AccessControl, resourceIdAt } from "../../../src/protocol/call/AccessControl.ts"
import type { Principal } from "../../../src/services/Identity.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { anyInput, type CallerView, OperationRegistry } from "../../../src/services/OperationRegistry.ts"
import { Ownership } from "../../../src/services/Ownership.ts"

const execRule = AccessControl.scopes("container:use").and(AccessControl.resource("container", "exec").owned("on.id"))

const declare = (name: string, access: AccessControl) =>
  Operation.implement(
    Operation.query(name, { input: Schema.Json, output: Schema.Void, visibility: "external", access }),
    () => Effect.void
  )
const group = OperationGroup.make(
  declare("container/exec", execRule),
  declare("container/stat", AccessControl.resource("container").owned("id")),
  declare("container/list", AccessControl.resource("container", "exec"))
)

const build = (...provided: ReadonlyArray<Layer.Layer<Ownership>>) => {
  const layer = RegistryLayer.layer(group)
  const whole = provided.reduce((made, one) => Layer.provide(made, one), layer)
  return Effect.map(Layer.build(whole), (context) => Context.get(context, OperationRegistry))
}

/** Alice owns what begins with an `a`. */
const owning = (asked: Array<readonly unknown[]> = []) =>
  Layer.succeed(
    Ownership,
    Ownership.of({
      owns: (claimant, type, id, action) =>
        Effect.sync(() => {
          asked.push([claimant.id, type, id, action])
          return id.startsWith("a")
        })
    })
  )

const principal = (scopes: ReadonlyArray<string>, resources: Principal["resources"] = {}): Principal => ({
  id: "alice",
  scopes,
  resources
})
const alice = principal(["container:use"])

const viewOf = (caller: Principal | undefined): CallerView => ({
  filter: { mode: "trusted", allows: () => Effect.succeed(true) },
  peer: { key: undefined, identity: caller },
  connection: { id: "test", side: "accepted", carrier: "local", remoteAddress: undefined },
  caller: Effect.succeed(caller)
})

const judge = (
  registry: OperationRegistry["Service"],
  caller: Principal | undefined,
  name: string,
  ...input: readonly [] | readonly [Schema.Json | typeof anyInput]
) =>
  Effect.map(registry.admit(viewOf(caller), name, ...input), (admission) =>
    admission._tag === "Admitted" ? "admitted" : `${admission.error.code} ${admission.error.message}`
  )

const missing = "FORBIDDEN missing resource: container/exec"

describe("ownership", () => {
  it.effect("its answer takes the place of what the identity holds; scopes are asked before", () =>
    Effect.gen(function* () {
      const asked: Array<readonly unknown[]> = []
      const registry = yield* build(owning(asked))
      assert.strictEqual(yield* judge(registry, alice, "container/exec", { on: { id: "a1" } }), "admitted")
      assert.strictEqual(yield* judge(registry, alice, "container/exec", { on: { id: "b1" } }), missing)
      const holder = principal(["container:use"], { container: ["exec"] })
      assert.strictEqual(yield* judge(registry, holder, "container/exec", { on: { id: "b1" } }), missing)
      assert.deepStrictEqual(asked, [
        ["alice", "container", "a1", "exec"],
        ["alice", "container", "b1", "exec"],
        ["alice", "container", "b1", "exec"]
      ])
      asked.length = 0
      const input = { on: { id: "a1" } }
      assert.strictEqual(
        yield* judge(registry, principal([]), "container/exec", input),
        "FORBIDDEN missing required scope: container:use"
      )
      assert.strictEqual(
        yield* judge(registry, undefined, "container/exec", input),
        "FORBIDDEN authentication required"
      )
      assert.deepStrictEqual(asked, [], "nobody is asked about a request that the scopes refuse")
      assert.strictEqual(
        yield* judge(registry, alice, "container/stat", { id: 5 }),
        "FORBIDDEN missing resource: container"
      )
      assert.deepStrictEqual(asked, [["alice", "container", "5", undefined]])
    })
  )

  it.effect("an input that does not name the resource is refused as if it belonged to somebody else", () =>
    Effect.gen(function* () {
      const asked: Array<readonly unknown[]> = []
      const registry = yield* build(owning(asked))
      const inputs: ReadonlyArray<Schema.Json> = [
        null,
        {},
        "a1",
        [],
        [{ id: "a1" }],
        { on: null },
        { on: "a1" },
        { on: { id: "" } },
        { on: { id: null } },
        { on: { id: 1.5 } },
        { on: { id: ["a1"] } },
        { on: { id: { a: 1 } } },
        { "on.id": "a1" },
        JSON.parse(`{"__proto__": {"on": {"id": "a1"}}}`)
      ]
      for (const input of inputs) assert.strictEqual(yield* judge(registry, alice, "container/exec", input), missing)
      assert.strictEqual(yield* judge(registry, alice, "container/exec"), missing, "an input that nobody passed")
      assert.deepStrictEqual(asked, [])
      assert.isUndefined(resourceIdAt({}, "constructor.name"))
      assert.isUndefined(resourceIdAt("a1", "length"))
    })
  )

  it.effect("without the service, and for other operations, the identity must hold the resource", () =>
    Effect.gen(function* () {
      const plain = yield* build()
      const holder = principal(["container:use"], { container: ["exec"] })
      assert.strictEqual(yield* judge(plain, holder, "container/exec", null), "admitted")
      assert.strictEqual(yield* judge(plain, alice, "container/exec", { on: { id: "a1" } }), missing)
      const registry = yield* build(owning())
      assert.strictEqual(yield* judge(registry, alice, "container/list", { on: { id: "a1" } }), missing)
      assert.strictEqual(yield* judge(registry, holder, "container/list", null), "admitted")
    })
  )

  it.effect("an owned operation is listed where everything but the owner lets it through", () =>
    Effect.gen(function* () {
      const names = (registry: OperationRegistry["Service"], caller: Principal | undefined) =>
        Effect.map(registry.visible(viewOf(caller)), (specs) => specs.map((spec) => spec.name))
      const registry = yield* build(owning())
      assert.deepStrictEqual(yield* names(registry, alice), ["container/exec", "container/stat"])
      assert.deepStrictEqual(yield* names(registry, principal([])), ["container/stat"])
      assert.deepStrictEqual(yield* names(registry, undefined), [])
      assert.deepStrictEqual(yield* names(yield* build(), alice), [])
      assert.strictEqual(yield* judge(registry, alice, "container/exec", anyInput), "admitted")
    })
  )

  it.effect("CALL-038 an ownership that fails, dies or throws answers INTERNAL", () =>
    Effect.gen(function* () {
      const broken: ReadonlyArray<Ownership["Service"]["owns"]> = [
        () => Effect.die("broken"),
        () => {
          throw new Error("broken")
        }
      ]
      for (const owns of broken) {
        const registry = yield* build(Layer.succeed(Ownership, Ownership.of({ owns })))
        const answer = yield* judge(registry, alice, "container/exec", { on: { id: "a1" } })
        assert.strictEqual(answer, "INTERNAL internal error")
      }
    }).pipe(Effect.provide(Logger.layer([])))
  )

  it("whatever the input and the path: an id is an own member, and a string or a whole number", () => {
    const json = fc.jsonValue()
    fc.assert(
      fc.property(json, fc.array(fc.string(), { minLength: 1, maxLength: 3 }), (input, path) => {
        const id = resourceIdAt(input, path.join("."))
        if (id === undefined) return
        let value: unknown = input
        for (const member of path.join(".").split(".")) {
          assert.isTrue(Object.hasOwn(value as object, member))
          value = (value as Record<string, unknown>)[member]
        }
        assert.strictEqual(id, String(value))
        assert.include(["string", "number"], typeof value)
      })
    )
  })
})
