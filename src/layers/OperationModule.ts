/**
 * What a user's module has to export to be served: operations with their handlers, and what those need.
 *
 * - Every `OperationGroup` and every implementation that it exports, under any name, is served. Other exports are its own
 *   business: declarations for callers, Schemas, errors.
 * - `layer`, where there is one, provides what the handlers need. It may use what a node has: `Endpoint`, `Identity`,
 *   `Router`, `PeerStore`.
 */
import { Cause, Effect, Layer, References } from "effect"
import { ModuleError } from "../services/ModuleError.ts"
import type { Implementation } from "../services/Operation.ts"
import type { OperationGroup } from "../services/OperationGroup.ts"
import { type OperationRegistry, RegistryError } from "../services/OperationRegistry.ts"
import { lineWith } from "./moduleFailure.ts"
import * as NodeOperations from "./NodeOperations.ts"
import * as OperationRegistryLayer from "./OperationRegistry.ts"

export interface OperationModule {
  /** The file that was asked for, and what it imports of its own. */
  readonly files: ReadonlyArray<string>
  readonly group: OperationGroup<unknown>
  /** Provides what the handlers need; nobody can tell from outside what that is. */
  readonly layer: Layer.Layer<unknown, unknown, unknown>
}

const isImplementation = (value: unknown): value is Implementation<unknown> =>
  typeof value === "object" &&
  value !== null &&
  "handler" in value &&
  "options" in value &&
  "operation" in value &&
  isDeclaration(value.operation)

const isDeclaration = (value: unknown): boolean =>
  typeof value === "object" && value !== null && "name" in value && "kind" in value && "output" in value

const isGroup = (value: unknown): value is OperationGroup<unknown> =>
  typeof value === "object" &&
  value !== null &&
  "implementations" in value &&
  Array.isArray(value.implementations) &&
  value.implementations.every(isImplementation)

/** What of the exports of a module is to be served, if a registry can be made of it. The first file is the module itself. */
export const read = Effect.fn("OperationModule.read")(function* (
  exports: Readonly<Record<string, unknown>>,
  files: readonly [string, ...ReadonlyArray<string>]
): Effect.fn.Return<OperationModule, ModuleError> {
  const [file] = files
  const values = Object.values(exports)
  // What is exported by itself and in a group is the same operation.
  const found = new Set(
    values.flatMap((value) => (isGroup(value) ? value.implementations : isImplementation(value) ? [value] : []))
  )
  if (found.size === 0) {
    const problem = values.some(isDeclaration)
      ? "it exports declarations of operations, but none with a handler"
      : "it exports no operation"
    return yield* new ModuleError({
      file,
      problem,
      hint: "export an OperationGroup, or what Operation.implement gives"
    })
  }
  const { layer = Layer.empty } = exports
  if (!Layer.isLayer(layer)) {
    const hint = "it provides what the handlers need; leave it out where they need nothing"
    return yield* new ModuleError({ file, problem: 'its export "layer" is no Layer', hint })
  }
  const module: OperationModule = { files, group: { implementations: [...found] }, layer }
  yield* check(module)
  return module
})

/** Makes a registry of it once, without what the handlers need: none of them runs. */
const check = ({ files, group }: OperationModule): Effect.Effect<void, ModuleError> => {
  const own = NodeOperations.group({ version: "", startedAt: 0 })
  return Layer.build(OperationRegistryLayer.layer(own as OperationGroup<never>, group as OperationGroup<never>)).pipe(
    Effect.scoped,
    Effect.provideService(References.MinimumLogLevel, "None"),
    Effect.catchCause((cause) => Effect.fail(unbuilt(files, cause))),
    Effect.asVoid
  )
}

/** The registry of a module's operations beside those of the node. */
export const registry = (
  { files, group, layer }: OperationModule,
  own: OperationGroup<NodeOperations.Needs>
): Layer.Layer<OperationRegistry, ModuleError, NodeOperations.Needs> => {
  // What is missing in it shows when it is built: a module that is loaded has no types any more.
  const needs = layer as Layer.Layer<never, unknown, NodeOperations.Needs>
  return OperationRegistryLayer.layer(own, group as OperationGroup<never>).pipe(
    Layer.provide(needs),
    Layer.catchCause((cause) => Layer.effectContext(Effect.fail(unbuilt(files, cause))))
  )
}

const unbuilt = (files: OperationModule["files"], cause: Cause.Cause<unknown>): ModuleError => {
  const [file = ""] = files
  const failure = Cause.squash(cause)
  if (failure instanceof RegistryError) {
    for (const candidate of files) {
      const line = lineWith(candidate, [failure.operation])
      if (line !== undefined) return new ModuleError({ file: candidate, line, problem: failure.message, hint: "" })
    }
    return new ModuleError({ file, problem: failure.message, hint: "" })
  }
  const said = failure instanceof Error ? (failure.message.split("\n")[0] ?? "") : ""
  return new ModuleError({ file, problem: `its layer failed${said === "" ? "" : `: ${said}`}`, hint: "" })
}
