/**
 * Whether a ticket that somebody shows to this node is a grant of this node, and still good (ID-R48 to ID-R50, ID-R58).
 *
 * The text proves who signed; the row in the store says whether it still counts. A grant whose row is missing, revoked or
 * different from the text is worth nothing, so a lost store ends all grants.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { Result } from "effect"
import { credentialOfGrant, type RejectReason } from "../protocol/identity/LogLine.ts"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { decodeTicket, verifyTicket } from "../protocol/identity/Ticket.ts"
import type { SignedGrant } from "../protocol/identity/TicketPayload.ts"
import type { Grant, Snapshot } from "../services/PeerStore.ts"
import { indexOf } from "./PeerIndex.ts"

export interface GrantQuestion {
  readonly text: string
  readonly kind: "invite" | "access"
  /** This node. */
  readonly local: NodeId
  /** The key that the holder's connection has proven. */
  readonly holder: NodeId | undefined
  /** Unix seconds. */
  readonly now: number
  readonly snapshot: Snapshot
}

export interface GrantRefusal {
  readonly reason: RejectReason
  /** For the log. */
  readonly credential: string
  /** Whether the signature was good: only then may a refusal say why (ID-R56). */
  readonly isSigned: boolean
}

/** The grant and its row, or why it is refused. The checks are in the order of ID-R50. */
export const checkGrantTicket = (
  question: GrantQuestion
): Result.Result<{ readonly terms: SignedGrant; readonly row: Grant }, GrantRefusal> => {
  const ticket = Result.getOrUndefined(decodeTicket(question.text))
  const terms = ticket?.grant
  const credential = terms === undefined ? "-" : credentialOfGrant(terms.id)
  const refuse = (reason: RejectReason, isSigned: boolean) => Result.fail({ reason, credential, isSigned })

  if (ticket === undefined || terms === undefined) return refuse("malformed", false)
  if (ticket.nodeId !== question.local) return refuse("mismatch", false)
  if (!verifyTicket(ticket)) return refuse("badsig", false)
  if (terms.kind !== question.kind) return refuse("mismatch", true)
  if (question.now >= terms.expiresAt) return refuse("expired", true)
  const row = indexOf(question.snapshot).grantsById.get(bytesToHex(terms.id))
  if (row === undefined || !isSameGrant(terms, row)) return refuse("unknown", true)
  if (row.revoked) return refuse("revoked", true)
  if (row.audience !== undefined && row.audience !== question.holder) return refuse("mismatch", true)
  return Result.succeed({ terms, row })
}

const isSameGrant = (terms: SignedGrant, row: Grant): boolean =>
  terms.kind === row.kind &&
  terms.issuedAt === row.issuedAt &&
  terms.expiresAt === row.expiresAt &&
  terms.audience === row.audience &&
  terms.scopes.length === row.scopes.length &&
  terms.scopes.every((scope, index) => scope === row.scopes[index])
