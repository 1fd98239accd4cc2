import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Logger, Schema, Stream } from "effect"
import fc from "fast-check"
import * as RegistryLayer from "../../../src/layers/OperationRegistry.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { Principal } from "../../../src/services/Identity.ts"
import { type Implementation, Operation } from "../../../src/services/Operation.ts"
import type { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { type CallerView, OperationRegistry, type RegistryError } from "../../../src/services/OperationRegistry.ts"

const output = Schema.Void

const registry = (...implementations: ReadonlyArray<Implementation<OperationContext>>) =>
  Effect.map(Effect.scoped(Layer.build(RegistryLayer.layer(OperationGroup.make(...implementations)))), (context) =>
    Context.get(context, OperationRegistry)
  )

const named = (name: string, options = {}) =>
  Operation.implement(Operation.query(name, { output }), Effect.void, options)

const reason = (...implementations: ReadonlyArray<Implementation<OperationContext>>) =>
  Effect.match(registry(...implementations), {
    onSuccess: () => "built" as const,
    onFailure: (error: RegistryError) => error.reason
  })

class Failure extends Schema.TaggedError<Failure>()("Failure", { n: Schema.Int }) {}

const failing = (...codes: ReadonlyArray<string>) =>
  Operation.implement(
    Operation.query("a/b", { output, errors: codes.map((code) => Object.assign(class extends Failure {}, { code })) }),
    Effect.void
  )

const viewOf = (caller: Principal | undefined, allowed: (name: string) => boolean): CallerView => ({
  filter: { mode: "policy", allows: (question) => Effect.succeed(allowed(question.operation.name)) },
  peer: { key: undefined, identity: caller },
  connection: { id: "test", side: "accepted", carrier: "local", remoteAddress: undefined },
  caller: Effect.succeed(caller)
})

describe("the operation registry", () => {
  it.effect("CALL-079 namespaces are the text before the first slash, and bad names fail the layer", () =>
    Effect.gen(function* () {
      const built = yield* registry(named("fs/read/deep"), named("single"))
      assert.strictEqual(built.get("fs/read/deep")?.spec.namespace, "fs")
      assert.strictEqual(built.get("single")?.spec.namespace, "single")
      for (const name of ["", "/a", "a/", "a//b", "a b", "é", "a:b", "x".repeat(129)]) {
        assert.strictEqual(yield* reason(named(name)), "BadName", name)
      }
      assert.strictEqual(yield* reason(named("x".repeat(128))), "built")
    })
  )

  it.effect("CALL-080 what is wrong with a registration fails the layer with its reason", () =>
    Effect.gen(function* () {
      assert.strictEqual(yield* reason(named("a/b"), named("a/b")), "DuplicateName")
      assert.strictEqual(yield* reason(named("services/mine")), "ReservedName")
      const authority = { id: "x", scopes: [], resources: {} }
      for (const provenance of ["FromOpenAPI", "FromMCP", "FromJsonSchema", "FromCall"] as const) {
        assert.strictEqual(yield* reason(named("a/b", { provenance, authority })), "LeafWithAuthority")
        assert.strictEqual(yield* reason(named("a/b", { provenance, scopedEnv: ["x/y"] })), "LeafWithAuthority")
      }
      assert.strictEqual(yield* reason(named("a/b", { authority })), "built")
      const stream = { operation: Operation.query("a/b", { output }), handler: Stream.empty, options: {} }
      assert.strictEqual(yield* reason(stream), "KindMismatch")
      const Watch = Operation.subscription("a/watch", { output })
      assert.strictEqual(yield* reason({ operation: Watch, handler: Effect.void, options: {} }), "KindMismatch")
      assert.strictEqual(yield* reason(Operation.implement(Watch, Stream.empty)), "built")
      for (const codes of [["lower"], ["NOT_FOUND"], ["TIMEOUT"], ["TWICE", "TWICE"], ["HTTP_404"], ["9A"]]) {
        assert.strictEqual(yield* reason(failing(...codes)), "BadErrorCode", codes.join())
      }
      assert.strictEqual(yield* reason(failing("ONE", "TWO_2")), "built")
    })
  )

  it.effect("CALL-076 an open external operation and requiredScopesAny [] are warned about at start", () => {
    const logs: Array<string> = []
    const logger = Logger.layer([Logger.make(({ message }) => void logs.push(JSON.stringify(message)))])
    const external = { output, visibility: "external" } as const
    return Effect.gen(function* () {
      yield* registry(
        Operation.implement(Operation.query("a/open", { ...external, access: AccessControl.open }), Effect.void),
        Operation.implement(Operation.query("a/never", { ...external, access: AccessControl.anyScope() }), Effect.void),
        Operation.implement(Operation.query("a/inside", { output, access: AccessControl.open }), Effect.void),
        Operation.implement(Operation.query("a/scoped", external), Effect.void)
      )
      assert.strictEqual(logs.length, 2)
      assert.match(logs[0]!, /a\/open/)
      assert.match(logs[1]!, /a\/never/)
    }).pipe(Effect.provide(logger))
  })

  it.effect("CALL-044 remoteSafe is false by default, the registration overrides, an import never is", () =>
    Effect.gen(function* () {
      const Safe = Operation.query("a/safe", { output, remoteSafe: true })
      const safety = (implementation: Implementation<OperationContext>) =>
        Effect.map(registry(implementation), (built) => built.get(implementation.operation.name)?.remoteSafe)
      assert.isFalse(yield* safety(named("a/b")))
      assert.isTrue(yield* safety(named("a/b", { remoteSafe: true })))
      assert.isTrue(yield* safety(Operation.implement(Safe, Effect.void)))
      assert.isFalse(yield* safety(Operation.implement(Safe, Effect.void, { remoteSafe: false })))
      assert.isFalse(
        yield* safety(Operation.implement(Safe, Effect.void, { provenance: "FromCall", remoteSafe: true }))
      )
    })
  )

  it.effect("CALL-083 the registry offers no way to add; discovery can be left out", () =>
    Effect.gen(function* () {
      const built = yield* registry(named("a/b"))
      assert.sameMembers(Object.keys(built), ["get", "admit", "visible"])
      assert.isDefined(built.get("services/list"))
      const without = yield* Effect.scoped(Layer.build(RegistryLayer.layerWith({ discovery: false })))
      assert.isUndefined(Context.get(without, OperationRegistry).get("services/list"))
    })
  )

  it.effect("CALL-095 property: what is listed is what is not refused", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.record({
              visibility: fc.constantFrom("external", "internal"),
              access: fc.constantFrom(
                AccessControl.open,
                AccessControl.scopes("a:x"),
                AccessControl.anyScope("a:x", "b:y"),
                AccessControl.anyScope(),
                undefined
              )
            }),
            { maxLength: 8 }
          ),
          fc.option(fc.subarray(["a:*", "b:y", "call:op/1", "call:*"]), { nil: undefined }),
          fc.nat(255),
          (operations, scopes, mask) =>
            Effect.runPromise(
              Effect.gen(function* () {
                const names = operations.map((_, index) => `op/${index}`)
                const built = yield* registry(
                  ...operations.map(({ access, visibility }, index) =>
                    Operation.implement(
                      Operation.query(names[index]!, {
                        output,
                        visibility: visibility as "external" | "internal",
                        ...(access === undefined ? {} : { access })
                      }),
                      Effect.void
                    )
                  )
                )
                const caller = scopes === undefined ? undefined : { id: "c", scopes, resources: {} }
                const view = viewOf(caller, (name) => ((mask >> Number(name.slice(3))) & 1) === 1)
                const listed = (yield* built.visible(view)).map((spec) => spec.name)
                const admitted: Array<string> = []
                for (const name of names) {
                  if ((yield* built.admit(view, name))._tag === "Admitted") admitted.push(name)
                }
                assert.deepStrictEqual(listed, admitted.sort())
              }).pipe(Effect.provide(Logger.layer([])))
            )
        ),
        { numRuns: 100 }
      )
    )
  )
})
