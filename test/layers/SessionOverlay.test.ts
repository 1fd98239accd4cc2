import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer, Schema } from "effect"
import * as SessionOverlayLayer from "../../src/layers/SessionOverlay.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"

class Words extends Context.Service<Words, { readonly say: Effect.Effect<string> }>()("test/Words") {}

const Say = Operation.query("s/say", { output: Schema.String, access: AccessControl.open, visibility: "external" })

it.effect("CALL-086 operations of a session are internal Session registrations over their own environment", () =>
  Effect.gen(function* () {
    const group = OperationGroup.make(
      Operation.implement(
        Say,
        Words.use((words) => words.say)
      )
    )
    const overlay = yield* SessionOverlayLayer.make(group).pipe(
      Effect.provide(Layer.succeed(Words, Words.of({ say: Effect.succeed("hello") })))
    )
    const registration = overlay.get("s/say")!
    assert.deepInclude(registration, { provenance: "Session" })
    assert.strictEqual(registration.operation.visibility, "internal")
    assert.strictEqual(registration.spec.visibility, "internal")
    assert.isUndefined(overlay.get("s/other"))
  })
)

it.effect("what is wrong with an operation of a session is a RegistryError", () =>
  Effect.gen(function* () {
    const group = OperationGroup.make(Operation.implement(Say, Effect.succeed("hello")))
    const reason = (...groups: ReadonlyArray<OperationGroup<never>>) =>
      Effect.map(Effect.flip(SessionOverlayLayer.make(...groups)), (error) => error.reason)
    assert.strictEqual(yield* reason(group, group), "DuplicateName")
    const Reserved = Operation.query("services/say", { output: Schema.String })
    const reserved = OperationGroup.make(Operation.implement(Reserved, Effect.succeed("")))
    assert.strictEqual(yield* reason(reserved), "ReservedName")
  })
)
