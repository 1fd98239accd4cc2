/**
 * The operations that this node offers, and the gates in front of them (call.md sections 7 and 10).
 *
 * `admit` is the one way from outside to a handler: frames, gateways and discovery all ask it. It is built once
 * (src/layers/OperationRegistry.ts) and never changes afterwards (CALL-R86).
 */
import { Context, type Effect, Schema, type Stream } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { ErasedOperation } from "../protocol/call/Operation.ts"
import type { OperationCodec } from "../protocol/call/OperationCodec.ts"
import type { OperationSpec } from "../protocol/call/OperationSpec.ts"
import type { CapabilityBag } from "./Capabilities.ts"
import type { Principal } from "./Identity.ts"
import type { Authority, Provenance } from "./Operation.ts"
import type { OperationContext } from "./OperationContext.ts"
import type { ScopedEnv } from "./OperationEnv.ts"
import type { Ownership } from "./Ownership.ts"
import type { ConnectionInfo, RemoteFilter, RemoteQuestion } from "./RemoteFilter.ts"

/** An operation together with its handler and what that may use. */
export interface Registration {
  readonly operation: ErasedOperation
  readonly spec: OperationSpec
  readonly codec: OperationCodec
  readonly provenance: Provenance
  /** What counts: the registration's mark, else the declaration's. */
  readonly remoteSafe: boolean
  readonly authority: Authority | undefined
  readonly scopedEnv: ScopedEnv
  readonly capabilities: CapabilityBag
  /** Judges operations whose declaration says where the input names what they are about; none: the static check. */
  readonly ownership?: Ownership["Service"]
  /** May fail with codes of the protocol: the discovery operations. */
  readonly isMachinery: boolean
  /** The handler in its environment: decoded input in, output to be encoded out. May throw. Never for a subscription. */
  readonly run: (input: unknown, context: OperationContext["Service"]) => Effect.Effect<unknown, unknown>
  /** The same of a subscription, and of nothing else. */
  readonly stream: (input: unknown, context: OperationContext["Service"]) => Stream.Stream<unknown, unknown>
}

/** Who asks: everything that the gates may look at. */
export interface CallerView {
  readonly filter: RemoteFilter["Service"]
  readonly peer: RemoteQuestion["peer"]
  readonly connection: ConnectionInfo
  /** The request's identity; run only after the filter said yes. */
  readonly caller: Effect.Effect<Principal | undefined>
}

/** In place of an input, for listings: an operation passes where it may for some input, whoever owns what that names. */
export const anyInput: unique symbol = Symbol("alknet/anyInput")

export type AnyInput = typeof anyInput

export type Admission =
  | { readonly _tag: "Admitted"; readonly registration: Registration; readonly caller: Principal | undefined }
  /** `NOT_FOUND` or `FORBIDDEN`, ready to send; `INTERNAL` where a gate after the filter broke. */
  | { readonly _tag: "Refused"; readonly error: CallError }

export class RegistryError extends Schema.TaggedError<RegistryError>()("RegistryError", {
  reason: Schema.Literals([
    "DuplicateName",
    "BadName",
    /** The namespace `services` is the protocol's own. */
    "ReservedName",
    "BadErrorCode",
    /** An Effect for a subscription, or a Stream for another kind. */
    "KindMismatch",
    "LeafWithAuthority",
    "NoJsonSchema"
  ]),
  operation: Schema.String,
  hint: Schema.String
}) {
  override get message() {
    return `operation ${this.operation}: ${this.hint}`
  }
}

export class OperationRegistry extends Context.Service<
  OperationRegistry,
  {
    /** For this node only: no gates. */
    readonly get: (name: string) => Registration | undefined
    /**
     * Gates 3 to 7. The name is normalised already. Of the input nothing is read but the id of an owned resource; where it is
     * left out, nothing is named, so an operation that asks for an owner is refused.
     */
    readonly admit: (view: CallerView, name: string, input?: Schema.Json | AnyInput) => Effect.Effect<Admission>
    /** What `admit` would say yes to for some input, sorted by name, without the operations of discovery. */
    readonly visible: (view: CallerView) => Effect.Effect<ReadonlyArray<OperationSpec>>
  }
>()("alknet/OperationRegistry") {}
