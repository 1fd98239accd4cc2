/**
 * Serves `alknet/call` to nodes that dial us, and knows their live connections, so that this node can call whoever dialed
 * it (call.md section 17).
 */
import { Context, type Effect } from "effect"
import type { CallConnection } from "./CallConnection.ts"

export class CallHandler extends Context.Service<
  CallHandler,
  {
    /** Live connections, the oldest first. */
    readonly connections: Effect.Effect<ReadonlyArray<CallConnection["Service"]>>
  }
>()("alknet/CallHandler") {}
