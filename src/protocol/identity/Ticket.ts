/**
 * Tickets: one text that tells how to reach a node, and may hold a signed permission, the grant (identity.md section 8).
 *
 * ```
 * text      = bech32m (BIP 350) of the payload (TicketPayload.ts), human-readable part "alk": it starts "alk1"
 * signature = Ed25519 by the NodeId in the payload, over
 *             ASCII "alknet-ticket-v1" 00 payload up to, not including, the field ff
 * ```
 *
 * At most 4096 characters, all in one case; printed in lower case. A grant of kind content is signed with another key and
 * the context `alknet-blob-ticket-v1`; only its issuer verifies it. Without a grant, address and label are unsigned hints:
 * that is safe because every dial is pinned to the NodeId (ID-R45). While its grant is open, the text is a secret.
 */
import { bech32m } from "@scure/base"
import { Result } from "effect"
import { verifySignature } from "./Signature.ts"
import {
  decodeTicketPayload,
  encodeTicketDraft,
  encodeTicketPayload,
  type Ticket,
  type TicketError,
  TicketInvalid
} from "./TicketPayload.ts"

/** The longest ticket text, in characters. */
export const TICKET_TEXT_MAX = 4096
/** What the signature of an invite or access grant is about. */
export const TICKET_CONTEXT = "alknet-ticket-v1"

/** The text of a ticket; the error where it would not decode again. */
export const encodeTicket = (ticket: Ticket): Result.Result<string, TicketError> => {
  const payload = encodeTicketPayload(ticket)
  return Result.flatMap(decodeTicketPayload(payload), () => {
    const words = bech32m.toWords(payload)
    return PREFIX.length + 1 + words.length + CHECKSUM_CHARACTERS > TICKET_TEXT_MAX
      ? Result.fail(new TicketInvalid({ field: "text" }))
      : Result.succeed(bech32m.encode(PREFIX, words, TICKET_TEXT_MAX))
  })
}

/** Reads a ticket. Its signature is not verified: `verifyTicket`. */
export const decodeTicket = (text: string): Result.Result<Ticket, TicketError> => {
  if (text.length > TICKET_TEXT_MAX || !TEXT.test(text)) return Result.fail(new TicketInvalid({ field: "text" }))
  const decoded = bech32m.decodeUnsafe(text, TICKET_TEXT_MAX)
  const payload = decoded?.prefix === PREFIX ? bech32m.fromWordsUnsafe(decoded.words) : undefined
  return payload instanceof Uint8Array
    ? decodeTicketPayload(payload)
    : Result.fail(new TicketInvalid({ field: "checksum" }))
}

/**
 * Whether the node that the ticket names signed its grant. False for a ticket without a grant, and for content tickets,
 * which only their issuer can verify.
 */
export const verifyTicket = (ticket: Ticket): boolean =>
  ticket.grant !== undefined &&
  ticket.grant.kind !== "content" &&
  verifySignature(ticket.nodeId, TICKET_CONTEXT, encodeTicketDraft(ticket), ticket.grant.signature)

/** Whether a text claims to be a ticket. */
export const isTicketText = (text: string): boolean => text.startsWith("alk1") || text.startsWith("ALK1")

const PREFIX = "alk"
const CHECKSUM_CHARACTERS = 6
const TEXT = /^(?:alk1[0-9a-z]+|ALK1[0-9A-Z]+)$/
