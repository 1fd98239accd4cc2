/**
 * Composition: how the handler of one operation runs others, in this node or at a peer (call.md sections 11 and 13).
 *
 * Three independent controls stand before each inner call: the handler's scoped env (what may be named), its authority
 * (whose power counts), and the layers of names (where the operation is found). The caller's own scopes neither help nor
 * limit. A handler finds the env in its `OperationContext`; one env serves the whole call tree of a request.
 */
import type { Effect, Schema, Stream } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { Operation } from "../protocol/call/Operation.ts"
import type { OperationContext } from "./OperationContext.ts"

/** Where an inner call goes: to whoever has the name first, or to one peer and nobody else. */
export type PeerRef = { readonly _tag: "Any" } | { readonly _tag: "Specific"; readonly peerId: string }

export const PeerRef = {
  /** Session overlay, peers in the order in which they came, curated registry: the first that has the name. */
  any: { _tag: "Any" } as PeerRef,
  /** This peer's operations only; `NOT_FOUND` where it is not there or lacks the name. */
  specific: (peerId: string): PeerRef => ({ _tag: "Specific", peerId })
} as const

/**
 * What happens to a child when its parent is aborted. `AbortDependents`: it ends with it. `ContinueRunning`: once started it
 * runs on within the life of the connection and its deadline, and may start nothing new.
 */
export type AbortPolicy = "AbortDependents" | "ContinueRunning"

export interface InvokeOptions {
  /** Default `PeerRef.any`. */
  readonly peer?: PeerRef
  /** Default: the parent's. */
  readonly policy?: AbortPolicy
  /** Capabilities of the parent that the child gets beside its own. Imported children never get any. Default: none. */
  readonly grant?: ReadonlyArray<string> | "all"
}

/** What a handler may name: `allowed` by any route, `pinned` (`peer-id/operation`) only through that peer. */
export interface ScopedEnv {
  readonly allowed: ReadonlyArray<string>
  readonly pinned: ReadonlyArray<string>
}

export interface OperationEnv {
  /** A query or mutation; a subscription is `INVALID_OPERATION_TYPE`. The parent is the request whose fiber asks. */
  readonly invoke: {
    <I, O, E>(
      operation: Operation<"query" | "mutation", I, O, E>,
      input: I,
      options?: InvokeOptions
    ): Effect.Effect<O, E | CallError, OperationContext>
    (name: string, input: Schema.Json, options?: InvokeOptions): Effect.Effect<Schema.Json, CallError, OperationContext>
  }
  /**
   * A subscription; other kinds are `INVALID_OPERATION_TYPE`. It ends with its consumer, whatever the policy says: that counts
   * for what the child composes.
   */
  readonly subscribe: {
    <I, O, E>(
      operation: Operation<"subscription", I, O, E>,
      input: I,
      options?: InvokeOptions
    ): Stream.Stream<O, E | CallError, OperationContext>
    (name: string, input: Schema.Json, options?: InvokeOptions): Stream.Stream<Schema.Json, CallError, OperationContext>
  }
}
