/**
 * One live call connection: typed calls to the node on the other side, whichever side dialed (call.md sections 6 and 17).
 *
 * Every way out settles a call exactly once: with the answer, with a declared error, or with a `CallError`. The library
 * repeats nothing by itself; `retryable` is advice.
 */
import { Context, type Duration, type Effect, type Redacted, type Schema, type Stream } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { Operation } from "../protocol/call/Operation.ts"
import type { ImportOverlay } from "./ImportOverlay.ts"
import type { ConnectionInfo } from "./RemoteFilter.ts"
import type { CloseReason } from "./Transport.ts"

export interface CallOptions {
  /** Default 30 s for a call, none for a subscription. Counts from the start, waiting included, to the end. */
  readonly timeout?: Duration.Input
  /** Replaces the connection's identity for this one request. */
  readonly authToken?: Redacted.Redacted<string>
  /** Default: `shared` for what is small. `dedicated`: a stream of its own. */
  readonly stream?: "shared" | "dedicated"
}

export interface CallStats {
  /** Own requests without an answer. */
  readonly pending: number
  /** Requests of the other side that have not ended. */
  readonly inbound: number
  /** Own requests that wait until fewer are in flight. */
  readonly waiting: number
}

export class CallConnection extends Context.Service<
  CallConnection,
  {
    readonly info: ConnectionInfo
    readonly call: {
      /** The decoded output, or the declared error as an instance of its class. */
      <I, O, E>(
        operation: Operation<"query" | "mutation", I, O, E>,
        input: I,
        options?: CallOptions
      ): Effect.Effect<O, E | CallError>
      /** Untyped: JSON in and out, every code as received. The name may begin with a slash. */
      (name: string, input: Schema.Json, options?: CallOptions): Effect.Effect<Schema.Json, CallError>
    }
    /**
     * Every run of the stream is a request of its own. Items come in order and none is lost: a consumer that is slow slows
     * the handler down, and one that stops ends it. Only an end that the other side declared is an end; all else fails.
     */
    readonly subscribe: {
      /** Decoded items, and the declared error as an instance of its class. */
      <I, O, E>(
        operation: Operation<"subscription", I, O, E>,
        input: I,
        options?: CallOptions
      ): Stream.Stream<O, E | CallError>
      /** Untyped: JSON in and out. Of a query it gives the one answer. */
      (name: string, input: Schema.Json, options?: CallOptions): Stream.Stream<Schema.Json, CallError>
    }
    /** The operations of the other node that were imported here; to fill by `importFrom`. */
    readonly imports: ImportOverlay
    readonly stats: Effect.Effect<CallStats>
    /** Completes when no request of the other side is being served. */
    readonly idle: Effect.Effect<void>
    /** Ends the connection; every pending call fails with `INTERNAL` `connection closed`. Again: no effect. */
    readonly close: Effect.Effect<void>
    /** Completes once. */
    readonly closed: Effect.Effect<CloseReason>
  }
>()("alknet/CallConnection") {}
