/**
 * The bounds of a call connection (call.md section 5.3). A reference with defaults: provide another value to a dispatcher's
 * layer to change them for its connections.
 */
import { Context, Duration } from "effect"
import { MAX_BODY_BYTES } from "../protocol/call/Frame.ts"

const KIB = 1024
const MIB = 1024 * KIB

export interface CallLimits {
  /** Body bytes of an inbound frame while the peer is not proven: a stranger must not make us hold much. */
  readonly maxFrameUnproven: number
  /** Body bytes of any frame, in either direction. Above 64 MiB it counts as 64 MiB. */
  readonly maxFrame: number
  /** Sum of the bodies of inbound requests that have not ended, while the peer is not proven. */
  readonly inputBudgetUnproven: number
  /** The same once the peer is proven. */
  readonly inputBudget: number
  /** Requests in flight in each direction; more wait. */
  readonly maxInFlight: number
  /** Streams of the peer that are served at once; the transport holds the next one back. */
  readonly maxStreams: number
  /** How long a started frame may stand still. */
  readonly frameStall: Duration.Input
  /** Body bytes up to which a call goes over the shared stream. */
  readonly sharedBodyMax: number
  /** How old the oldest unanswered call of the shared stream may be before new calls take streams of their own. */
  readonly sharedStallAfter: Duration.Input
  /** How long a call waits for its answer, where it does not say otherwise. */
  readonly callTimeout: Duration.Input
  /** How long a handler may take. */
  readonly dispatchDeadline: Duration.Input
  /** Items of a subscription that wait for its consumer before the reader of its stream does. */
  readonly subscriptionQueue: number
  /**
   * What of a subscription may wait beyond that where the reader must go on, because its stream carries other requests
   * too. Above either bound the subscription fails.
   */
  readonly sharedOverflow: { readonly items: number; readonly bytes: number }
  /** How long a closing connection waits for handlers that are slow to end. */
  readonly closeGrace: Duration.Input
}

export const CallLimits = Context.Reference<CallLimits>("alknet/CallLimits", {
  defaultValue: () => ({
    maxFrameUnproven: MIB,
    maxFrame: MAX_BODY_BYTES,
    inputBudgetUnproven: 8 * MIB,
    inputBudget: 128 * MIB,
    maxInFlight: 1024,
    maxStreams: 256,
    frameStall: Duration.seconds(30),
    sharedBodyMax: 64 * KIB,
    sharedStallAfter: Duration.millis(50),
    callTimeout: Duration.seconds(30),
    dispatchDeadline: Duration.seconds(30),
    subscriptionQueue: 32,
    sharedOverflow: { items: 1024, bytes: 8 * MIB },
    closeGrace: Duration.seconds(2)
  })
})
