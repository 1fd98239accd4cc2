/**
 * One request of this side, a call or a subscription: what is asked, who is told, how far it has come, and what the end of
 * its stream means for it (call.md section 6).
 */
import type { Effect } from "effect"
import type { CallError } from "../../protocol/call/CallError.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import type { Waiter } from "./Allowance.ts"
import type { Channel, ChannelEnd } from "./Channel.ts"
import type { Deadline } from "./Deadlines.ts"
import type { CallRecord } from "./Telemetry.ts"

interface Failing {
  readonly failed: (error: CallError) => void
  /** A `call.error` from the other side. */
  readonly refused: (payload: unknown) => void
}

/** What a call is told, once: the error, or the payload that answers it. */
export interface CallOutcome extends Failing {
  readonly responded: (payload: unknown) => void
  readonly items?: never
}

/** What a subscription is told: its items, and once how it ends. */
export interface SubscriptionOutcome extends Failing {
  readonly items: Items
}

export interface Items {
  /** An item on the subscription's own stream: what its reader has to wait for. */
  readonly offer: (payload: unknown, bytes: number) => Effect.Effect<void> | undefined
  /** An item on another stream. False: there is no place for it. */
  readonly offerShared: (payload: unknown, bytes: number) => boolean
  readonly completed: () => void
}

export interface CallRequest {
  readonly name: string
  /** Where the caller has the declaration. */
  readonly operation?: ErasedOperation | undefined
  /** Undefined: it may take as long as it takes. */
  readonly timeoutMillis: number | undefined
  readonly isDedicated: boolean
  /** A subscription that may turn out to be a query: then one item and the end of its stream are all (CALL-R123). */
  readonly isUntyped?: boolean
  /** The text of the request for this id, or why there is none. */
  readonly format: (id: string) => string | CallError
  /** Told when the call has to wait for others to end; `drop` fails it if it still does. */
  readonly waits?: (drop: () => void) => void
}

export class PendingCall {
  readonly id: string
  readonly request: CallRequest
  readonly frame: Uint8Array
  readonly outcome: CallOutcome | SubscriptionOutcome
  readonly record: CallRecord
  startedAt = 0
  deadline: Deadline | undefined = undefined
  waiter: Waiter | undefined = undefined
  channel: Channel | undefined = undefined
  hasPermit = false
  isSettled = false
  /** Items that came. */
  itemCount = 0

  constructor(
    id: string,
    request: CallRequest,
    frame: Uint8Array,
    outcome: CallOutcome | SubscriptionOutcome,
    record: CallRecord
  ) {
    this.id = id
    this.request = request
    this.frame = frame
    this.outcome = outcome
    this.record = record
  }

  /** Whether the end of its stream is its normal end: a query was asked for a stream and has answered. */
  isAnsweredBy(end: ChannelEnd): boolean {
    return (
      end._tag === "finished" &&
      this.channel?.role === "dedicated" &&
      this.request.isUntyped === true &&
      this.itemCount === 1
    )
  }
}

/** What a request fails with when its stream ends. */
export const messageOf = (call: PendingCall, end: ChannelEnd): string => {
  // Where the stream is the connection, its end is the connection's: a killed process is seen as nothing else.
  if (call.channel?.role === "only") return "connection closed"
  switch (end._tag) {
    case "finished":
      return call.outcome.items === undefined
        ? "stream ended without a response"
        : "subscription ended without completion"
    case "gone":
      return "connection closed"
    case "broken":
      return "stream reset"
    case "cut":
      // Stopped before the request was out: it cannot have been understood.
      return end.error.side === "write" && call.channel?.writer.hasDropped(call.frame) === true
        ? `failed to write frame: ${end.error.message}`
        : "stream reset"
  }
}
