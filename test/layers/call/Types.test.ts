/** What must not compile (CALL-046, CALL-082). The type checker of the tests is the judge; nothing here runs. */
import { assert, it } from "@effect/vitest"
import { Context, Effect, type Layer, Schema, Stream } from "effect"
import * as RegistryLayer from "../../../src/layers/OperationRegistry.ts"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import type { CallCarrier, Dispatcher } from "../../../src/services/Dispatcher.ts"
import { Operation } from "../../../src/services/Operation.ts"
import type { OperationContext } from "../../../src/services/OperationContext.ts"
import type { OperationEnv } from "../../../src/services/OperationEnv.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { OperationRegistry, RegistryError } from "../../../src/services/OperationRegistry.ts"

class Missing extends Schema.TaggedError<Missing>()("Missing", { path: Schema.String }) {
  static readonly code = "MISSING"
}
class Files extends Context.Service<Files, { readonly read: (path: string) => Effect.Effect<string, Missing> }>()(
  "test/Files"
) {}
const Read = Operation.query("fs/read", { input: Schema.String, output: Schema.String, errors: [Missing] })
const Watch = Operation.subscription("fs/watch", { output: Schema.String, errors: [Missing] })

const notCompiling = (
  dispatcher: Dispatcher["Service"],
  carrier: CallCarrier,
  connection: CallConnection["Service"]
) => {
  // @ts-expect-error CALL-046 a filter is required
  dispatcher.run(carrier)
  // @ts-expect-error CALL-046 a filter is required
  dispatcher.attach(carrier, {})
  // @ts-expect-error CALL-082 a subscription has no single answer
  connection.call(Watch, undefined)
  // @ts-expect-error CALL-082 the input has the declared type
  connection.call(Read, 5)
  // @ts-expect-error CALL-082 the handler must give the declared output
  Operation.implement(Read, () => Effect.succeed(5))
  // @ts-expect-error CALL-082 a query needs an Effect
  Operation.implement(Read, () => Stream.empty)
  const group = OperationGroup.make(Operation.implement(Read, (path) => Files.use((files) => files.read(path))))
  const layer = RegistryLayer.layer(group)
  // @ts-expect-error CALL-082 the handler's service is missing
  const closed: Layer.Layer<OperationRegistry, RegistryError> = layer
  const open: Layer.Layer<OperationRegistry, RegistryError, Files> = layer
  const call: Effect.Effect<string, Missing | CallError> = connection.call(Read, "x")
  // @ts-expect-error CALL-082 the declared error is among the errors
  const careless: Effect.Effect<string, CallError> = connection.call(Read, "x")
  // @ts-expect-error CALL-082 a query is no stream
  connection.subscribe(Read, "x")
  // @ts-expect-error CALL-082 the input has the declared type
  connection.subscribe(Watch, "x")
  // @ts-expect-error CALL-082 a subscription needs a Stream
  Operation.implement(Watch, Effect.succeed("x"))
  // @ts-expect-error CALL-082 the items have the declared type
  Operation.implement(Watch, Stream.make(5))
  const items: Stream.Stream<string, Missing | CallError> = connection.subscribe(Watch, undefined)
  // @ts-expect-error CALL-082 the declared error is among the errors
  const hopeful: Stream.Stream<string, CallError> = connection.subscribe(Watch, undefined)
  const json: Stream.Stream<Schema.Json, CallError> = connection.subscribe("fs/watch", null)
  return [closed, open, call, careless, items, hopeful, json]
}

const notComposing = (env: OperationEnv) => {
  // @ts-expect-error CALL-082 a subscription has no single answer
  env.invoke(Watch, undefined)
  // @ts-expect-error CALL-082 a query is no stream
  env.subscribe(Read, "x")
  // @ts-expect-error CALL-082 the input has the declared type
  env.invoke(Read, 5)
  // @ts-expect-error CALL-082 the declared error is among the errors
  const careless: Effect.Effect<string, CallError, OperationContext> = env.invoke(Read, "x")
  // @ts-expect-error CALL-082 only a handler composes
  const outside: Effect.Effect<string, Missing | CallError> = env.invoke(Read, "x")
  const call: Effect.Effect<string, Missing | CallError, OperationContext> = env.invoke(Read, "x")
  const items: Stream.Stream<string, Missing | CallError, OperationContext> = env.subscribe(Watch, undefined)
  return [careless, outside, call, items]
}

it("CALL-082 composition is typed like calls", () => assert.isFunction(notComposing))

it("CALL-046 CALL-082 the types say no where they should", () => assert.isFunction(notCompiling))
