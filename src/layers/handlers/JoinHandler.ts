/**
 * ALPN `alknet/join`: lets in a node that holds an invite of ours (identity.md section 9).
 *
 * Open to strangers, who have no other way to become peers. One stream, one request, one response (JoinMessage.ts), within
 * 10 s. The joiner's key is the one that its connection has proven, never one in the message. Everything that is not right
 * gets the same REJECTED; only who shows a good signature learns that an invite has expired or was used (ID-R56).
 *
 * Close codes: 0x00 when the joiner has its answer or did not leave in time, 0x07 when it asked nothing in time.
 */
import { Clock, Duration, Effect, Layer, Redacted, Result, SubscriptionRef } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { nameOfCredential } from "../../protocol/identity/Credential.ts"
import {
  decodeJoinRequest,
  encodeJoinResponse,
  JOIN_ALPN,
  type JoinCode,
  JoinFrameDecoder,
  type JoinRequest,
  type JoinResponse
} from "../../protocol/identity/JoinMessage.ts"
import { credentialOfGrant, type RejectReason } from "../../protocol/identity/LogLine.ts"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { AuditLog } from "../../services/AuditLog.ts"
import { Identity } from "../../services/Identity.ts"
import { PeerStore, type RedeemError, type StoreError } from "../../services/PeerStore.ts"
import { type AlpnTaken, Router } from "../../services/Router.ts"
import type { BiStream, Connection } from "../../services/Transport.ts"
import { checkGrantTicket } from "../GrantCheck.ts"
import { peerOfNode } from "../PeerIndex.ts"

/** How long a joiner has for its request, and then for leaving. */
export const JOIN_DEADLINE = Duration.seconds(10)

export interface JoinHandlerOptions {
  /** What this node calls itself, told to those who joined; 1 to 64 bytes. */
  readonly label?: string
}

/** What was decided, for the joiner and for the log. */
interface Decision {
  readonly response: JoinResponse
  readonly credential: string
  readonly outcome: { readonly peer: string } | { readonly reason: RejectReason }
}

const refused = (code: JoinCode, reason: RejectReason, credential: string): Decision => ({
  response: { v: 1, ok: false, code },
  credential,
  outcome: { reason }
})

const decide = Effect.fnUntraced(function* (
  request: JoinRequest,
  joiner: NodeId | undefined,
  options: JoinHandlerOptions
): Effect.fn.Return<Decision, StoreError, Identity | PeerStore> {
  if (joiner === undefined)
    return refused("REJECTED", "nocert", nameOfCredential(Redacted.value(request.ticket)).credential)
  const { local } = yield* Identity
  const store = yield* PeerStore
  const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  const question = {
    text: Redacted.value(request.ticket),
    kind: "invite",
    local: local.nodeId,
    holder: joiner,
    now
  } as const
  let checked = checkGrantTicket({ ...question, snapshot: yield* SubscriptionRef.get(store.snapshot) })
  if (Result.isFailure(checked) && checked.failure.isSigned && checked.failure.reason === "unknown") {
    // Another process may have issued it a moment ago: look at the tables themselves.
    checked = checkGrantTicket({ ...question, snapshot: yield* store.list })
  }
  if (Result.isFailure(checked)) {
    const { reason, credential, isSigned } = checked.failure
    return refused(reason === "expired" && isSigned ? "EXPIRED" : "REJECTED", reason, credential)
  }
  const { terms } = checked.success
  const credential = credentialOfGrant(terms.id)
  return yield* store.redeem(terms.id, joiner, request.name).pipe(
    Effect.map(
      ({ peerId }): Decision => ({
        response: {
          v: 1,
          ok: true,
          peerId,
          ...(options.label !== undefined && { label: options.label }),
          scopes: terms.scopes
        },
        credential,
        outcome: { peer: peerId }
      })
    ),
    Effect.catchTag("RedeemError", (error) => explain(error, joiner, credential))
  )
})

const explain = Effect.fnUntraced(function* (
  { reason }: RedeemError,
  joiner: NodeId,
  credential: string
): Effect.fn.Return<Decision, never, PeerStore> {
  const store = yield* PeerStore
  const known = peerOfNode(yield* SubscriptionRef.get(store.snapshot), joiner)
  switch (reason) {
    case "Expired":
      return refused("EXPIRED", "expired", credential)
    case "Used":
      return refused("USED", "used", credential)
    case "AlreadyPeer":
      return {
        response: { v: 1, ok: false, code: "ALREADY_PEER" },
        credential,
        outcome: { peer: known?.peerId ?? "-" }
      }
    case "Rejected":
      return refused("REJECTED", known === undefined ? "unknown" : "disabled", credential)
  }
})

const readRequest = Effect.fnUntraced(function* (stream: BiStream) {
  const decoder = new JoinFrameDecoder()
  while (true) {
    const frame = decoder.push(yield* stream.read)
    if (Result.isFailure(frame)) return undefined
    if (frame.success !== undefined) return Result.getOrUndefined(decodeJoinRequest(frame.success))
  }
})

const answer = Effect.fnUntraced(function* (connection: Connection, options: JoinHandlerOptions) {
  const audit = yield* AuditLog
  const stream = yield* connection.accept
  const request = yield* readRequest(stream).pipe(Effect.catchTag("EndOfStream", () => Effect.succeed(undefined)))
  const { response, credential, outcome } =
    request === undefined
      ? refused("REJECTED", "malformed", "-")
      : yield* decide(request, connection.peer, options).pipe(
          Effect.catch((error) =>
            Effect.as(Effect.logError("a join could not be decided", error), refused("REJECTED", "unknown", "-"))
          )
        )
  const attempt = { conn: connection.id, remote: connection.remoteAddress, method: "invite", credential } as const
  yield* audit.record({ event: "auth.attempt", ...attempt })
  yield* audit.record(
    "peer" in outcome
      ? { event: "auth.accept", ...attempt, ...outcome }
      : { event: "auth.reject", ...attempt, ...outcome }
  )
  const frame = Result.getOrElse(encodeJoinResponse(response), () => new Uint8Array(0))
  yield* stream.writeLast(frame)
})

/** Serves one joiner; then waits until it has left, because a close may overtake the answer. */
const accept = (connection: Connection, options: JoinHandlerOptions) =>
  answer(connection, options).pipe(
    Effect.timeoutOrElse({
      duration: JOIN_DEADLINE,
      orElse: () => connection.close(CloseCode.Idle, "")
    }),
    Effect.andThen(
      Effect.timeoutOrElse(connection.closed, {
        duration: JOIN_DEADLINE,
        orElse: () => connection.close(CloseCode.NoError, "")
      })
    ),
    Effect.asVoid
  )

export const layer = (
  options: JoinHandlerOptions = {}
): Layer.Layer<never, AlpnTaken, AuditLog | Identity | PeerStore | Router> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const router = yield* Router
      const services = yield* Effect.context<AuditLog | Identity | PeerStore>()
      yield* router.register({
        alpn: JOIN_ALPN,
        access: "anonymous",
        accept: (connection) => Effect.provide(accept(connection, options), services),
        description: "lets in nodes that hold an invite"
      })
    })
  )
