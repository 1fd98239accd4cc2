/**
 * Issues grants of this node: invites, which let one new peer in, and access grants, which are used like a token
 * (identity.md section 9, ID-R47 to ID-R49).
 *
 * A grant never exceeds who asked for it, its row is in the store before its text exists for anybody else, and its life is
 * bounded. The text is a secret while the grant is open, so it is handed out as `Redacted`.
 */
import { randomBytes } from "node:crypto"
import { Clock, Duration, Effect, Redacted, Result, Schema } from "effect"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { parseScopePattern, scopesCover } from "../protocol/identity/Scope.ts"
import { encodeTicket, TICKET_CONTEXT } from "../protocol/identity/Ticket.ts"
import { ticketAddressOf } from "../protocol/identity/TicketAddress.ts"
import {
  encodeTicketDraft,
  GRANT_ID_BYTES,
  type GrantTerms,
  TICKET_ADDRESSES_MAX,
  type TicketDraft
} from "../protocol/identity/TicketPayload.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import { Identity, type LocalIdentity, type Principal } from "../services/Identity.ts"
import { Grant, PeerStore, type StoreError } from "../services/PeerStore.ts"

/** Life of a grant where none is asked for. */
export const INVITE_LIFE_DEFAULT = Duration.hours(1)
export const ACCESS_LIFE_DEFAULT = Duration.hours(24)
/** Longest lives. */
export const INVITE_LIFE_MAX = Duration.days(30)
export const ACCESS_LIFE_MAX_WITH_AUDIENCE = Duration.days(30)
export const ACCESS_LIFE_MAX = Duration.hours(24)

export class IssueError extends Schema.TaggedError<IssueError>()("IssueError", {
  /** `Exceeds`: the issuer does not hold a scope of it. `Life`: too long or not positive. `Invalid`: no ticket can hold it. */
  reason: Schema.Literals(["Exceeds", "Life", "Invalid"]),
  hint: Schema.String
}) {
  override get message() {
    return `cannot issue this grant: ${this.hint}`
  }
}

export interface IssueOptions {
  /** Who asks: the local operator, who may give everything, or a principal, who may give what it holds. */
  readonly issuer: "operator" | Principal
  /** Plain patterns, at least one; presets are expanded before. */
  readonly scopes: ReadonlyArray<string>
  /** Where this node is reached, best first; what a ticket cannot hold is left out. */
  readonly addresses: ReadonlyArray<SocketAddress>
  /** What this node calls itself, 1 to 64 bytes. */
  readonly label?: string
  /** Whole seconds; what is over is cut. */
  readonly life?: Duration.Input
  /** The only node that may use it. */
  readonly audience?: NodeId
}

export interface IssuedGrant {
  readonly ticket: Redacted.Redacted<string>
  readonly grant: Grant
}

/** An invite: the first node that shows it becomes a peer with its scopes. */
export const issueInvite = Effect.fn("Invite.issueInvite")(function* (options: IssueOptions) {
  return yield* issue("invite", options, options.life ?? INVITE_LIFE_DEFAULT, INVITE_LIFE_MAX)
})

/** An access grant: who shows it has its scopes until it ends or is revoked; nobody becomes a peer. */
export const issueAccess = Effect.fn("Invite.issueAccess")(function* (options: IssueOptions) {
  const longest = options.audience === undefined ? ACCESS_LIFE_MAX : ACCESS_LIFE_MAX_WITH_AUDIENCE
  return yield* issue("access", options, options.life ?? ACCESS_LIFE_DEFAULT, longest)
})

const issue = Effect.fnUntraced(function* (
  kind: "invite" | "access",
  options: IssueOptions,
  life: Duration.Input,
  longest: Duration.Duration
): Effect.fn.Return<IssuedGrant, IssueError | StoreError, Identity | PeerStore> {
  const { local } = yield* Identity
  if (!options.scopes.every((scope) => Result.isSuccess(parseScopePattern(scope)))) {
    const hint = "write scopes as SERVICE:ACTION[:RESOURCE], for example git:read:*"
    return yield* new IssueError({ reason: "Invalid", hint })
  }
  const held = options.issuer === "operator" ? ["*"] : options.issuer.scopes
  if (!scopesCover(held, options.scopes)) {
    return yield* new IssueError({ reason: "Exceeds", hint: "it would allow what its issuer may not do" })
  }
  const lifeSeconds = Math.floor(Duration.toSeconds(Duration.fromInputUnsafe(life)))
  const longestSeconds = Duration.toSeconds(longest)
  if (!(lifeSeconds >= 1 && lifeSeconds <= longestSeconds)) {
    const hint = `it lives for 1 second to ${longestSeconds / 3600} hours`
    return yield* new IssueError({ reason: "Life", hint })
  }
  const issuedAt = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  const { scopes, audience, label } = options
  const terms: GrantTerms = {
    kind,
    id: new Uint8Array(randomBytes(GRANT_ID_BYTES)),
    issuedAt,
    expiresAt: issuedAt + lifeSeconds,
    scopes,
    ...(audience !== undefined && { audience })
  }
  const ticket = yield* signTicket(local, {
    nodeId: local.nodeId,
    addresses: options.addresses.flatMap((address) => ticketAddressOf(address) ?? []).slice(0, TICKET_ADDRESSES_MAX),
    ...(label !== undefined && { label }),
    grant: terms
  })
  const grant = new Grant({ ...terms, kind, revoked: false })
  yield* PeerStore.use((store) => store.issueGrant(grant))
  return { ticket, grant }
})

const signTicket = Effect.fnUntraced(function* (
  local: LocalIdentity,
  draft: TicketDraft & { readonly grant: GrantTerms }
): Effect.fn.Return<Redacted.Redacted<string>, IssueError> {
  const signature = yield* local.sign(TICKET_CONTEXT, encodeTicketDraft(draft))
  const text = encodeTicket({ ...draft, grant: { ...draft.grant, signature } })
  if (Result.isFailure(text)) {
    const hint = `${text.failure.field} does not fit into a ticket`
    return yield* new IssueError({ reason: "Invalid", hint })
  }
  return Redacted.make(text.success, { label: "ticket" })
})
