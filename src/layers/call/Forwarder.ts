/**
 * Requests to the other node of a connection on behalf of somebody else: what an imported operation does when it is run
 * (call.md section 13).
 *
 * The input goes out unchanged under the remote name and a new id, with the originator as a claim and without any token but
 * the connection's own. When the child that asked is interrupted, the other node is told.
 */
import { Effect, type Redacted, type Schema, Stream } from "effect"
import { type CallError, internal, isProtocolCode, remoteError } from "../../protocol/call/CallError.ts"
import { type ErrorPayload, type ForwardedFor, readError, readResponded } from "../../protocol/call/Envelope.ts"
import type { OperationContext } from "../../services/OperationContext.ts"
import { formatRequest } from "./CallForms.ts"
import type { Outbound } from "./Outbound.ts"
import type { CallRequest } from "./PendingCall.ts"
import { lineageOf } from "./RequestContext.ts"
import { openSubscription } from "./Subscription.ts"
import type { QueueLimits } from "./SubscriptionQueue.ts"

export interface ForwardRequest {
  /** Of the other node. */
  readonly remoteName: string
  /** In this node. */
  readonly localName: string
  readonly input: Schema.Json
  readonly context: OperationContext["Service"]
  /** Whether the other node is told who stands at the beginning. */
  readonly forwardIdentity: boolean
  /** Whether the operation declares a code. */
  readonly isMirrored: (code: string) => boolean
}

export interface Forward {
  readonly call: (request: ForwardRequest) => Effect.Effect<Schema.Json, CallError>
  readonly subscribe: (request: ForwardRequest) => Stream.Stream<Schema.Json, CallError>
}

export interface ForwardOptions {
  readonly timeoutMillis: number
  readonly authToken: Redacted.Redacted<string> | undefined
  readonly queue: QueueLimits
  /** Milliseconds of the monotonic clock. */
  readonly now: () => number
}

export const makeForward = (outbound: Outbound, options: ForwardOptions): Forward => {
  /** `waits` as in `CallRequest`. */
  const requestOf = (forward: ForwardRequest, isDedicated: boolean, waits: CallRequest["waits"]): CallRequest => ({
    name: forward.localName,
    timeoutMillis: timeLeft(forward.context.deadline, isDedicated ? undefined : options.timeoutMillis, options.now),
    isDedicated,
    format: (id) => formatRequest(id, forward.remoteName, forward.input, options.authToken, claimOf(forward)),
    ...(waits === undefined ? {} : { waits })
  })
  return {
    call: (forward) =>
      Effect.callback((resume) => {
        const dropping = dropWhenOrphan(forward)
        const settle = (answer: Effect.Effect<Schema.Json, CallError>) => {
          dropping.forget()
          resume(answer)
        }
        const giveUp = outbound.call(requestOf(forward, false, dropping.waits), {
          responded: (payload) => settle(Effect.succeed(readResponded(payload as Schema.Json))),
          refused: (payload) => settle(Effect.fail(passOn(readError(payload as Schema.Json), forward))),
          failed: (error) => settle(Effect.fail(error))
        })
        return Effect.andThen(Effect.sync(dropping.forget), giveUp)
      }),
    subscribe: (forward) =>
      Stream.suspend(() => {
        const { forget, waits } = dropWhenOrphan(forward)
        const request = requestOf(forward, true, waits)
        return openSubscription(outbound, options.queue, request, (payload) => passOn(payload, forward)).pipe(
          Stream.ensuring(Effect.sync(forget))
        )
      })
  }
}

/** Where nobody waits for the child any more, a request that waits for others to end never starts. */
const dropWhenOrphan = ({ context }: ForwardRequest) => {
  const lineage = lineageOf(context)
  if (lineage === undefined) return { waits: undefined, forget: () => {} }
  let forget = () => {}
  return {
    waits: (drop: () => void) => {
      if (lineage.isOrphan) drop()
      else forget = lineage.onOrphan(drop)
    },
    forget: () => forget()
  }
}

/** Never beyond the deadline of the request that is served. */
const timeLeft = (
  deadline: number | undefined,
  timeoutMillis: number | undefined,
  now: () => number
): number | undefined => {
  if (deadline === undefined) return timeoutMillis
  return Math.max(0, Math.min(timeoutMillis ?? Number.POSITIVE_INFINITY, Math.floor(deadline - now())))
}

const claimOf = ({ context: { originator }, forwardIdentity }: ForwardRequest): ForwardedFor | undefined =>
  forwardIdentity && originator !== undefined
    ? { id: originator.id, scopes: originator.scopes, resources: originator.resources }
    : undefined

/** Codes of the protocol and of the operation as they are; another one means nothing here. */
const passOn = (payload: ErrorPayload, { isMirrored, localName }: ForwardRequest): CallError =>
  isProtocolCode(payload.code) || isMirrored(payload.code)
    ? remoteError(payload, localName)
    : internal("internal error", localName, { code: payload.code })
