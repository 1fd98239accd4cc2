/**
 * The declaration language of operations (call.md section 10). A declaration is shared by caller and callee; it holds
 * names, Schemas and rules, and no handler.
 * `implement` (src/services/Operation.ts) joins a declaration to a handler, on the side that serves it.
 *
 * Rules of names, checked when a registry is built, which fails with a `RegistryError` instead of guessing:
 * `name = segment *("/" segment)`, `segment = 1*(A-Z a-z 0-9 _ . -)`, at most 128 characters;
 * `error code = A-Z *(A-Z 0-9 _)`, unique within the operation, no code of the protocol.
 */
import type { Schema } from "effect"
import { AccessControl } from "./AccessControl.ts"

/** `query` and `mutation` have one answer, a `subscription` a stream of them. */
export type OperationKind = "query" | "mutation" | "subscription"

/** `external`: reachable from a wire, if the gates agree. `internal`: from inside this node only. */
export type Visibility = "external" | "internal"

/** Any Schema that needs no services. */
export type OperationSchema<T = unknown> = Schema.ConstraintCodec<T, unknown>

/**
 * A failure that an operation may declare: a `Schema.TaggedError` class with its wire code as a static member.
 *
 * `httpStatus` (default 500), `retryable` (default false) and `description` are optional static members too.
 */
export interface ErrorClass extends OperationSchema {
  new (...input: ReadonlyArray<never>): unknown
  readonly code: string
  readonly httpStatus?: number
  readonly retryable?: boolean
  readonly description?: string
}

export interface Operation<out Kind extends OperationKind, in out I, in out O, out E> {
  readonly name: string
  readonly kind: Kind
  readonly description: string | undefined
  /** Undefined: any input is accepted and ignored. */
  readonly input: OperationSchema<I> | undefined
  readonly output: OperationSchema<O>
  readonly errors: ReadonlyArray<ErrorClass>
  /** What it may fail with; a type only. */
  readonly "~E"?: E
  readonly access: AccessControl
  readonly visibility: Visibility
  /** Whether a filter that denies by default lets remote peers see it. */
  readonly remoteSafe: boolean
}

/** What can be read of every operation, whatever its types are. */
export interface ErasedOperation extends Omit<Operation<OperationKind, unknown, unknown, unknown>, "input" | "output"> {
  readonly input: OperationSchema | undefined
  readonly output: OperationSchema
}

/** What is said of an operation beside its name. */
export interface Declaration<I, O, Errors> {
  /** One sentence for people, shown where operations are listed. */
  readonly description?: string
  /** Left out: any input is accepted and ignored, and a typed caller passes nothing. */
  readonly input?: OperationSchema<I>
  readonly output: OperationSchema<O>
  /** What the handler may fail with. Everything else reaches the caller as `INTERNAL`. */
  readonly errors?: Errors
  /** Default: the scope `call:<name>`. */
  readonly access?: AccessControl
  /** Default: `internal`. */
  readonly visibility?: Visibility
  /** Default: false. */
  readonly remoteSafe?: boolean
}

const declare =
  <Kind extends OperationKind>(kind: Kind) =>
  <O, I = void, const Errors extends ReadonlyArray<ErrorClass> = readonly []>(
    name: string,
    declaration: Declaration<I, O, Errors>
  ): Operation<Kind, I, O, Errors[number]["Type"]> => ({
    name,
    kind,
    description: declaration.description,
    input: declaration.input,
    output: declaration.output,
    errors: declaration.errors ?? [],
    access: declaration.access ?? AccessControl.scopes(`call:${name}`),
    visibility: declaration.visibility ?? "internal",
    remoteSafe: declaration.remoteSafe ?? false
  })

/** Reads, and may be repeated without harm. */
export const query = declare("query")

/** Changes something. */
export const mutation = declare("mutation")

/** A stream of answers. */
export const subscription = declare("subscription")

/** The text before the first slash; a name of one segment is its own namespace. */
export const namespaceOf = (name: string): string => {
  const slash = name.indexOf("/")
  return slash === -1 ? name : name.slice(0, slash)
}

const NAME = /^[A-Za-z0-9_.-]+(?:\/[A-Za-z0-9_.-]+)*$/

/** The longest name of an operation, in characters, so that `call:<name>` is a scope. */
export const NAME_MAX = 128

export const isOperationName = (name: string): boolean => name.length <= NAME_MAX && NAME.test(name)

const CODE = /^[A-Z][A-Z0-9_]*$/

export const isErrorCode = (code: string): boolean => CODE.test(code)
