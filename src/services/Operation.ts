/**
 * The public `Operation`: declare an operation (protocol/call/Operation.ts) and implement it (call.md section 10).
 *
 * ```ts
 * const ReadFile = Operation.query("fs/readFile", { input, output, errors: [FileNotFound], access, visibility: "external" })
 * const group = OperationGroup.make(Operation.implement(ReadFile, ({ path }) => Files.use((files) => files.read(path))))
 * ```
 *
 * Handlers read who called from `OperationContext`; what else they need is taken from the environment of the registry's
 * layer when that is built.
 */
import type { Effect, Stream } from "effect"
import type { Rights } from "../protocol/call/AccessControl.ts"
import type { CallError } from "../protocol/call/CallError.ts"
import {
  type Operation as Declared,
  type ErasedOperation,
  mutation,
  type OperationKind,
  query,
  subscription
} from "../protocol/call/Operation.ts"
import type { CapabilityBag } from "./Capabilities.ts"
import type { ScopedEnv } from "./OperationEnv.ts"

/** Where a registration comes from. The last four are leaves: they call out and never compose. */
export type Provenance = "Local" | "Session" | "FromOpenAPI" | "FromMCP" | "FromJsonSchema" | "FromCall"

/** Whose power a composing handler uses for inner calls; its `id` is a label. */
export interface Authority extends Rights {
  readonly id: string
}

/** What a registration carries beside its handler. */
export interface ImplementOptions {
  /** Outbound secrets of this handler. */
  readonly capabilities?: CapabilityBag
  readonly authority?: Authority
  /**
   * What this handler may compose: names, or with `pinned` also `peer-id/operation`, which that peer alone may serve. None
   * by default.
   */
  readonly scopedEnv?: ReadonlyArray<string> | Partial<ScopedEnv>
  /** Default `Local`. */
  readonly provenance?: Provenance
  /** Overrides the declaration. */
  readonly remoteSafe?: boolean
}

/** An operation with its handler. `R` is what the handler needs, `OperationContext` included where it uses that. */
export interface Implementation<out R> {
  readonly operation: ErasedOperation
  /** Gives an Effect, or a Stream for a subscription. */
  readonly handler: ErasedHandler<R>
  readonly options: ImplementOptions
}

export type ErasedHandler<R> =
  | Effect.Effect<unknown, unknown, R>
  | Stream.Stream<unknown, unknown, R>
  | ((input: never) => Effect.Effect<unknown, unknown, R> | Stream.Stream<unknown, unknown, R>)

/** A handler is a function of the decoded input, or an Effect or Stream by itself where it needs none. */
const implement: {
  <I, O, E, R>(
    operation: Declared<"query" | "mutation", I, O, E>,
    handler: ((input: I) => Effect.Effect<O, E | CallError, R>) | Effect.Effect<O, E | CallError, R>,
    options?: ImplementOptions
  ): Implementation<R>
  <I, O, E, R>(
    operation: Declared<"subscription", I, O, E>,
    handler: ((input: I) => Stream.Stream<O, E | CallError, R>) | Stream.Stream<O, E | CallError, R>,
    options?: ImplementOptions
  ): Implementation<R>
} = <R>(operation: ErasedOperation, handler: ErasedHandler<R>, options: ImplementOptions = {}): Implementation<R> => ({
  operation,
  handler,
  options
})

/** A declaration of any kind and type. */
export type Operation<Kind extends OperationKind, I, O, E> = Declared<Kind, I, O, E>

export const Operation = {
  query,
  mutation,
  subscription,
  implement
} as const
