/**
 * How a token or ticket that somebody shows is named in logs and errors (ID-R63): by what is public of it, else `-`.
 */
import { Result } from "effect"
import { credentialOfGrant } from "./LogLine.ts"
import { decodeTicket, isTicketText } from "./Ticket.ts"
import { isToken, tokenPrefix } from "./Token.ts"

export interface NamedCredential {
  readonly method: "token" | "grant"
  readonly credential: string
}

/** `grant:` and 8 hex digits for a ticket with a grant, the prefix for text that fits the grammar of tokens, else `-`. */
export const nameOfCredential = (text: string): NamedCredential => {
  if (!isTicketText(text)) return { method: "token", credential: isToken(text) ? tokenPrefix(text) : "-" }
  const grant = Result.getOrUndefined(decodeTicket(text))?.grant
  return { method: "grant", credential: grant === undefined ? "-" : credentialOfGrant(grant.id) }
}
