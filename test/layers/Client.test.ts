/** What a typed client asks of its connection, and its types. That calls arrive is the business of the call suite. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as Client from "../../src/layers/Client.ts"
import { type CallError, internal } from "../../src/protocol/call/CallError.ts"
import type { ErasedOperation } from "../../src/protocol/call/Operation.ts"
import { Operation } from "../../src/services/Operation.ts"

class Missing extends Schema.TaggedError<Missing>()("Missing", { path: Schema.String }) {
  static readonly code = "MISSING"
}
const Read = Operation.query("fs/read", {
  input: Schema.Struct({ path: Schema.String }),
  output: Schema.String,
  errors: [Missing]
})
const Touch = Operation.mutation("fs/touch", { output: Schema.Int })
const Watch = Operation.subscription("fs/watch", { input: Schema.Struct({ path: Schema.String }), output: Schema.Int })
const Anything = Operation.query("any", { input: Schema.UndefinedOr(Schema.Json), output: Schema.Json })

const declarations = { fs: { read: Read, touch: Touch, changes: { watch: Watch } }, anything: Anything }

/** A connection that writes down what it is asked. */
const recording = () => {
  const asked: Array<readonly unknown[]> = []
  const ask = (how: string) => (operation: ErasedOperation | string, input: unknown, options: unknown) =>
    asked.push([how, typeof operation === "string" ? operation : operation.name, input, options])
  const caller: Client.Caller = {
    call: (...call: readonly [ErasedOperation | string, unknown, unknown?]) => {
      ask("call")(call[0], call[1], call[2])
      return Effect.fail(internal("connection closed"))
    },
    subscribe: (...call: readonly [ErasedOperation | string, unknown, unknown?]) => {
      ask("subscribe")(call[0], call[1], call[2])
      return Stream.fail(internal("connection closed"))
    }
  }
  return { asked, caller }
}

describe("a typed client", () => {
  it.effect("has a function for each declaration, where the declarations have it", () =>
    Effect.gen(function* () {
      const { asked, caller } = recording()
      const client = Client.make(caller, declarations)
      const failed = yield* Effect.flip(client.fs.read({ path: "/a" }, { timeout: "1 second" }))
      assert.deepInclude(failed, { message: "connection closed" })
      yield* Effect.flip(client.fs.touch())
      yield* Effect.flip(Stream.runDrain(client.fs.changes.watch({ path: "/b" })))
      yield* Effect.flip(client.anything())
      assert.deepStrictEqual(asked, [
        ["call", "fs/read", { path: "/a" }, { timeout: "1 second" }],
        ["call", "fs/touch", undefined, undefined],
        ["subscribe", "fs/watch", { path: "/b" }, undefined],
        ["call", "any", undefined, undefined]
      ])
    })
  )

  it("a name can not reach a prototype", () => {
    const { caller } = recording()
    const client = Client.make(caller, { ["__proto__"]: { polluted: Read }, constructor: Touch })
    assert.isTrue(Object.hasOwn(client, "__proto__"))
    assert.strictEqual(Object.getPrototypeOf(client), Object.prototype)
    assert.isFalse("polluted" in {})
  })

  it("CALL-082 its types are those of the declarations", () => {
    const typed = (client: Client.Client<typeof declarations>) => {
      // @ts-expect-error the input is required
      client.fs.read()
      // @ts-expect-error the input has the declared type
      client.fs.read({ path: 5 })
      // @ts-expect-error nothing is there that was not declared
      client.fs.remove()
      // @ts-expect-error the declared error is among the errors
      const careless: Effect.Effect<string, CallError> = client.fs.read({ path: "/a" })
      const read: Effect.Effect<string, Missing | CallError> = client.fs.read({ path: "/a" })
      const touch: Effect.Effect<number, CallError> = client.fs.touch()
      const watch: Stream.Stream<number, CallError> = client.fs.changes.watch({ path: "/a" })
      const anything: Effect.Effect<Schema.Json, CallError> = client.anything({ a: [1] })
      return [careless, read, touch, watch, anything]
    }
    assert.isFunction(typed)
  })
})
