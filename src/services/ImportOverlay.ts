/**
 * The operations of the other node that were imported over one connection, by their local names (call.md section 13).
 *
 * They are for composition: nobody reaches them from a wire. What is installed is visible at once through every env that
 * was handed out, and all of it goes with the connection.
 */
import { type Effect, Schema } from "effect"
import type { Registration } from "./OperationRegistry.ts"

export class AdapterError extends Schema.TaggedError<AdapterError>()("AdapterError", {
  reason: Schema.Literals([
    /** Listing or describing the operations failed. */
    "DiscoveryFailed",
    /** What came is not what discovery gives. */
    "SchemaParse",
    /** The connection has ended, or cannot import. */
    "Transport",
    /** For adapters of other protocols; a call that is refused is `DiscoveryFailed`. */
    "Unauthorized",
    /** Two operations of one peer would have the same local name. */
    "SamePeerCollision",
    /** The node has an operation of this name itself. */
    "ShadowsLocal"
  ]),
  /** The operation that it is about, by its remote name; empty where it is about all. */
  operation: Schema.String,
  /** Of the call that failed. */
  code: Schema.optionalKey(Schema.String),
  hint: Schema.String
}) {
  override get message() {
    return this.operation === "" ? this.hint : `operation ${this.operation}: ${this.hint}`
  }
}

export interface ImportOverlay {
  readonly get: (name: string) => Registration | undefined
  /** Local names, sorted. */
  readonly names: () => ReadonlyArray<string>
  /**
   * All or nothing. Two of one name, or a name that is there already, are `SamePeerCollision`: nothing is replaced. After
   * the connection's end it is `Transport`.
   */
  readonly install: (registrations: ReadonlyArray<Registration>) => Effect.Effect<void, AdapterError>
}
