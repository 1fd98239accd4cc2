/**
 * Requests to the other node of a connection on behalf of somebody else: what an imported operation does when it is run
 * (call.md section 13).
 *
 * The input goes out unchanged under the remote name and a new id, with the originator as a claim and without any token but
 * the connection's own. When the child that asked is interrupted, the other node is told.
 */
import { Effect, Redacted, Result, type Schema } from "effect"
import { type CallError, internal, invalidInput, isProtocolCode, remoteError } from "../../protocol/call/CallError.ts"
import {
  type ErrorPayload,
  type ForwardedFor,
  formatRequested,
  readError,
  readResponded
} from "../../protocol/call/Envelope.ts"
import type { OperationContext } from "../../services/OperationContext.ts"
import type { Outbound } from "./Outbound.ts"
import { lineageOf } from "./RequestContext.ts"

export interface ForwardRequest {
  /** Of the other node. */
  readonly remoteName: string
  /** In this node. */
  readonly localName: string
  readonly input: Schema.Json
  readonly context: OperationContext["Service"]
  /** Whether the other node is told who stands at the beginning. */
  readonly forwardIdentity: boolean
  /** Codes that the operation declares. */
  readonly isMirrored: (code: string) => boolean
}

export interface Forward {
  readonly call: (request: ForwardRequest) => Effect.Effect<Schema.Json, CallError>
}

export interface ForwardDefaults {
  readonly timeoutMillis: number
  readonly authToken: Redacted.Redacted<string> | undefined
  /** Milliseconds of the monotonic clock. */
  readonly now: () => number
}

export const makeForward = (outbound: Outbound, defaults: ForwardDefaults): Forward => ({
  call: (request) =>
    Effect.callback((resume) => {
      let forget = () => {}
      const settle = (answer: Effect.Effect<Schema.Json, CallError>) => {
        forget()
        resume(answer)
      }
      const giveUp = outbound.call(
        {
          name: request.localName,
          timeoutMillis: timeoutOf(request.context.deadline, defaults),
          isDedicated: false,
          format: (id) => formatForward(id, request, defaults.authToken),
          // Nobody waits for the child any more: what has not started never does.
          waits: (drop) => {
            forget = lineageOf(request.context)?.onOrphan(drop) ?? forget
          }
        },
        {
          responded: (payload) => settle(Effect.succeed(readResponded(payload as Schema.Json))),
          refused: (payload) => settle(Effect.fail(passOn(readError(payload as Schema.Json), request))),
          failed: (error) => settle(Effect.fail(error))
        }
      )
      return Effect.andThen(
        Effect.sync(() => forget()),
        giveUp
      )
    })
})

/** Never beyond the deadline of the request that is served. */
const timeoutOf = (deadline: number | undefined, { now, timeoutMillis }: ForwardDefaults): number =>
  deadline === undefined ? timeoutMillis : Math.max(0, Math.min(timeoutMillis, Math.floor(deadline - now())))

const formatForward = (
  id: string,
  { context, forwardIdentity, input, localName, remoteName }: ForwardRequest,
  token: Redacted.Redacted<string> | undefined
): string | CallError => {
  const text = formatRequested(id, {
    name: remoteName,
    input,
    authToken: token === undefined ? undefined : Redacted.value(token),
    forwardedFor: forwardIdentity ? claimOf(context) : undefined
  })
  return Result.isSuccess(text) ? text.success : invalidInput(`invalid input: ${text.failure.hint}`, localName)
}

const claimOf = ({ originator }: OperationContext["Service"]): ForwardedFor | undefined =>
  originator === undefined
    ? undefined
    : { id: originator.id, scopes: originator.scopes, resources: originator.resources }

/** Codes of the protocol and of the operation as they are; another one means nothing here. */
const passOn = (payload: ErrorPayload, { isMirrored, localName }: ForwardRequest): CallError =>
  isProtocolCode(payload.code) || isMirrored(payload.code)
    ? remoteError(payload, localName)
    : internal("internal error", localName, { code: payload.code })
