/**
 * Runs call connections, on either side: frames in, gates, handlers, answers out, and calls to the other node
 * (call.md sections 5 to 7 and 14). It does not know who dialed; what differs is the filter, which has no default.
 */
import { Context, type Effect, type Schema, type Scope, type Stream } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { ConnectOptions } from "./CallClient.ts"
import type { CallConnection } from "./CallConnection.ts"
import type { Principal } from "./Identity.ts"
import type { CallerView } from "./OperationRegistry.ts"
import type { ConnectionInfo, RemoteFilter } from "./RemoteFilter.ts"
import type { CloseReason, Connection, ConnectionClosed } from "./Transport.ts"

/** A WebSocket or the like: whole messages, in order. */
export interface MessageCarrier {
  readonly info: ConnectionInfo
  /** Who stands at the other side, resolved now: the connection identity. */
  readonly identity: Effect.Effect<Principal | undefined>
  /** The next message; a string is a text message. Pulling is the backpressure. */
  readonly receive: Effect.Effect<Uint8Array | string, ConnectionClosed>
  /** Sends a binary message; suspends while what was sent before does not leave. */
  readonly send: (message: Uint8Array) => Effect.Effect<void, ConnectionClosed>
  /** Ends it with a close code of the carrier, such as 1002, and waits for the end, for a bounded time. Again: alike. */
  readonly close: (code: number, reason: string) => Effect.Effect<void>
  /** Told how many bytes a message may have now. A carrier that can refuses a larger one before it has arrived. */
  readonly limit?: (bytes: number) => void
  /** Completes at the end, also while nobody receives. Without it the end is noticed by the next `receive` or `send`. */
  readonly closed?: Effect.Effect<CloseReason>
}

/** What carries a call connection: many streams (QUIC), one (TLS), or messages (WebSocket). */
export type CallCarrier = Connection | MessageCarrier

export interface RunOptions extends ConnectOptions {
  readonly filter: RemoteFilter["Service"]
}

export class Dispatcher extends Context.Service<
  Dispatcher,
  {
    /** Runs a connection until it ends, which is no failure. */
    readonly run: (carrier: CallCarrier, options: RunOptions) => Effect.Effect<void>
    /** The same in the background of the caller's scope, whose end closes it; gives the live connection at once. */
    readonly attach: (
      carrier: CallCarrier,
      options: RunOptions
    ) => Effect.Effect<CallConnection["Service"], never, Scope.Scope>
    /** For gateways: a query or mutation through the same gates as a request from a wire. */
    readonly invoke: (view: CallerView, name: string, input: Schema.Json) => Effect.Effect<Schema.Json, CallError>
    /** For gateways: a subscription, alike. Its handler ends with the stream's consumer. */
    readonly stream: (view: CallerView, name: string, input: Schema.Json) => Stream.Stream<Schema.Json, CallError>
  }
>()("alknet/Dispatcher") {}
