/**
 * Runs call connections, on either side: frames in, gates, handlers, answers out, and calls to the other node
 * (call.md sections 5 to 7 and 14). It does not know who dialed; what differs is the filter, which has no default.
 */
import { Context, type Effect, type Schema, type Scope } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { ConnectOptions } from "./CallClient.ts"
import type { CallConnection } from "./CallConnection.ts"
import type { CallerView } from "./OperationRegistry.ts"
import type { RemoteFilter } from "./RemoteFilter.ts"
import type { Connection } from "./Transport.ts"

/** What carries a call connection: many streams (QUIC) or one (TLS). */
export type CallCarrier = Connection

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
  }
>()("alknet/Dispatcher") {}
