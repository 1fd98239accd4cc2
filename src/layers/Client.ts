/**
 * A typed client: an object of functions made from declarations, so that a call reads like one (call.md section 10).
 *
 * ```ts
 * const node = Client.make(connection, { fs: { readFile: FsReadFile, watch: FsWatch } })
 * const { data } = yield* node.fs.readFile({ path: "/etc/hosts" })
 * const changes = node.fs.watch({ path: "/etc" })      // a Stream
 * ```
 *
 * The shape is the caller's choice; what `generateClient` makes brings one. Failures are instances of the declared classes,
 * or a `CallError`. Nothing is asked of the other node here: an operation that it does not offer fails when it is called.
 */
import type { Effect, Stream } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { Operation, OperationKind } from "../protocol/call/Operation.ts"
import type { CallConnection, CallOptions } from "../services/CallConnection.ts"

/** What calls: a connection, or whatever else has its two functions. */
export type Caller = Pick<CallConnection["Service"], "call" | "subscribe">

/** Declarations by the names under which they are called, nested as one likes. */
export interface Declarations {
  readonly [name: string]: Declarations | AnyOperation
}

// The variance of inputs and outputs: each declaration fits this, whatever it takes and gives.
type AnyOperation = Omit<Operation<OperationKind, never, never, unknown>, "input" | "output" | "~E"> & {
  readonly input: unknown
  readonly output: unknown
}

/** An input that may be left out needs no argument. */
type Arguments<I> = undefined extends I
  ? readonly [input?: I, options?: CallOptions]
  : readonly [input: I, options?: CallOptions]

/** A subscription gives a Stream, everything else one answer. */
export type Method<O> =
  O extends Operation<"subscription", infer I, infer A, infer E>
    ? (...call: Arguments<I>) => Stream.Stream<A, E | CallError>
    : O extends Operation<"query" | "mutation", infer I, infer A, infer E>
      ? (...call: Arguments<I>) => Effect.Effect<A, E | CallError>
      : never

export type Client<D> = {
  readonly [Name in keyof D]: D[Name] extends AnyOperation ? Method<D[Name]> : Client<D[Name]>
}

const isOperation = (entry: Declarations | AnyOperation): entry is AnyOperation => typeof entry["kind"] === "string"

/** A client whose calls go over this connection. */
export const make = <const D extends Declarations>(caller: Caller, declarations: D): Client<D> =>
  build(caller, declarations) as Client<D>

const build = (caller: Caller, declarations: Declarations): object =>
  // Entries become own members, so that no name reaches a prototype.
  Object.fromEntries(
    Object.entries(declarations).map(([name, entry]) => [
      name,
      isOperation(entry) ? methodOf(caller, entry) : build(caller, entry)
    ])
  )

const methodOf = (caller: Caller, operation: AnyOperation) => {
  // What the types of `Method` say was checked where the declaration came in.
  const one = operation as Operation<OperationKind, unknown, unknown, unknown>
  return (input?: unknown, options?: CallOptions) =>
    one.kind === "subscription"
      ? caller.subscribe(one as Operation<"subscription", unknown, unknown, unknown>, input, options)
      : caller.call(one as Operation<"query" | "mutation", unknown, unknown, unknown>, input, options)
}
