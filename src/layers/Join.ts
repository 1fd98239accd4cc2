/**
 * The joiner's side of an invite: shows it to the node that issued it, and remembers that node (ID-R53, ID-R55).
 *
 * What can go wrong on this machine is looked at before anything is dialed: the ticket, its signature and end, and that the
 * peer store takes writes. The dial is pinned to the NodeId of the ticket. Afterwards both sides know each other by key;
 * the inviter has no rights here unless they were given. To run it again repairs a join whose answer or write was lost.
 */
import { Clock, Duration, Effect, Redacted, Result, Schema, type Scope } from "effect"
import { CloseCode } from "../protocol/CloseCode.ts"
import { fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import {
  decodeJoinResponse,
  encodeJoinRequest,
  JOIN_ALPN,
  JoinFrameDecoder,
  type JoinRequest,
  type JoinResponse
} from "../protocol/identity/JoinMessage.ts"
import { peerIdFromName } from "../protocol/identity/PeerId.ts"
import { decodeTicket, verifyTicket } from "../protocol/identity/Ticket.ts"
import { socketAddressesOf } from "../protocol/identity/TicketAddress.ts"
import type { SignedGrant, Ticket } from "../protocol/identity/TicketPayload.ts"
import { formatSocketAddress, parseSocketAddress } from "../protocol/SocketAddress.ts"
import { Endpoint } from "../services/Endpoint.ts"
import { PeerEntry, PeerStore, type Snapshot, StoreError } from "../services/PeerStore.ts"
import type { BiStream, DialError } from "../services/Transport.ts"
import { peerOfNode } from "./PeerIndex.ts"
import { checkPeer, PEER_ADDRESSES_MAX } from "./store/PeerRules.ts"

/** How far our clock may be ahead of the inviter's before we think that the invite has ended. */
export const CLOCK_TOLERANCE = Duration.minutes(5)

/** How long the inviter has for its answer. */
export const ANSWER_DEADLINE = Duration.seconds(10)

export class JoinError extends Schema.TaggedError<JoinError>()("JoinError", {
  /**
   * `Ticket`: it is no invite, or damaged, or forged. `Own`: this node issued it. `Expired`, `Used`, `Rejected`: what the
   * inviter said, or what the ticket itself says. `NoAnswer`: the inviter was reached and gave no proper answer.
   */
  reason: Schema.Literals(["Ticket", "Own", "Expired", "Used", "Rejected", "NoAnswer"]),
  hint: Schema.String
}) {
  override get message() {
    return `cannot join: ${this.hint}`
  }
}

export interface JoinOptions {
  readonly ticket: Redacted.Redacted<string>
  /** What the inviter is called here; without one a name is made from the ticket's label. */
  readonly name?: string
  /** What this node calls itself to the inviter: its host name. */
  readonly ownName: string
  /** What the inviter may do here. Nothing by default. */
  readonly scopes?: ReadonlyArray<string>
}

export interface Joined {
  /** The entry of the inviter in our store. */
  readonly inviter: PeerEntry
  /** What the inviter calls us; undefined where it knew us already. */
  readonly peerId: string | undefined
  /** What we may do there; undefined where it knew us already, and nothing changed. */
  readonly scopes: ReadonlyArray<string> | undefined
}

/** Runs the exchange. Safe to run again with the same ticket before it ends. */
export const join = Effect.fn("Join.join")(function* (
  options: JoinOptions
): Effect.fn.Return<Joined, JoinError | StoreError | DialError, Endpoint | PeerStore> {
  const endpoint = yield* Endpoint
  const store = yield* PeerStore
  const { ticket, grant } = yield* readInvite(options.ticket)
  if (ticket.nodeId === endpoint.nodeId) {
    return yield* new JoinError({ reason: "Own", hint: "this node issued the invite; use it on the other machine" })
  }
  const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  if (now >= grant.expiresAt + Duration.toSeconds(CLOCK_TOLERANCE)) return yield* expired
  yield* checkEntry(options, ticket)
  yield* store.checkWritable

  const response = yield* Effect.scoped(ask(ticket, { ticket: options.ticket, name: options.ownName }))
  if (!response.ok) {
    switch (response.code) {
      case "EXPIRED":
        return yield* expired
      case "USED":
        return yield* new JoinError({ reason: "Used", hint: "another node has used this invite; ask for a new one" })
      case "REJECTED":
        return yield* new JoinError({
          reason: "Rejected",
          hint: "the inviter does not accept this invite from this node; ask for a new one"
        })
      case "ALREADY_PEER":
        return { inviter: yield* remember(options, ticket, undefined), peerId: undefined, scopes: undefined }
    }
  }
  const inviter = yield* remember(options, ticket, response.label)
  return { inviter, peerId: response.peerId, scopes: response.scopes }
})

const expired = new JoinError({ reason: "Expired", hint: "the invite has expired; ask for a new one" })

const readInvite = (
  text: Redacted.Redacted<string>
): Effect.Effect<{ readonly ticket: Ticket; readonly grant: SignedGrant }, JoinError> =>
  Effect.suspend(() => {
    const decoded = decodeTicket(Redacted.value(text))
    const refuse = (hint: string) => new JoinError({ reason: "Ticket", hint })
    if (Result.isFailure(decoded)) return refuse(decoded.failure.message)
    const ticket = decoded.success
    if (ticket.grant?.kind !== "invite") return refuse("this ticket is no invite; ask for one made by: alknet invite")
    if (!verifyTicket(ticket)) return refuse("the signature of the ticket is wrong")
    return Effect.succeed({ ticket, grant: ticket.grant })
  })

/** What will be written must be legal, and a name that was asked for must be free, unless the inviter is known already. */
const checkEntry = Effect.fnUntraced(function* (
  options: JoinOptions,
  ticket: Ticket
): Effect.fn.Return<void, StoreError, Endpoint | PeerStore> {
  const { nodeId } = yield* Endpoint
  const snapshot = yield* PeerStore.use((store) => store.list)
  if (peerOfNode(snapshot, ticket.nodeId) !== undefined) return
  const entry = entryOf(options, ticket, ticket.label, snapshot)
  const wrong = checkPeer(entry, nodeId)
  if (wrong !== undefined) return yield* wrong
  if (snapshot.peers.some(({ peerId }) => peerId === entry.peerId)) {
    const hint = "a peer of this name exists; choose another name"
    return yield* new StoreError({ field: "peerId", reason: "Exists", hint })
  }
})

/** How the inviter is kept here. */
const entryOf = (options: JoinOptions, ticket: Ticket, label: string | undefined, { peers }: Snapshot): PeerEntry => {
  const isTaken = (taken: string) => peers.some(({ peerId }) => peerId === taken)
  return new PeerEntry({
    peerId: options.name ?? peerIdFromName(label ?? ticket.nodeId.slice(0, 8), isTaken),
    fingerprints: [fingerprintOfNode(ticket.nodeId)],
    scopes: options.scopes ?? [],
    resources: {},
    enabled: true,
    addresses: addressesOf(ticket)
  })
}

/** The addresses of the ticket that can be kept as hints. */
const addressesOf = (ticket: Ticket): ReadonlyArray<string> =>
  socketAddressesOf(ticket.addresses)
    .map(formatSocketAddress)
    .filter((text) => Result.isSuccess(parseSocketAddress(text)))

const noAnswer = new JoinError({ reason: "NoAnswer", hint: "the inviter gave no proper answer; try again" })

const ask = Effect.fnUntraced(function* (
  ticket: Ticket,
  request: JoinRequest
): Effect.fn.Return<JoinResponse, JoinError | DialError, Endpoint | Scope.Scope> {
  const frame = encodeJoinRequest(request)
  if (Result.isFailure(frame))
    return yield* new JoinError({ reason: "Ticket", hint: "the name of this node is too long" })
  const endpoint = yield* Endpoint
  const target = { nodeId: ticket.nodeId, addresses: socketAddressesOf(ticket.addresses) }
  const connection = yield* endpoint.connect(target, JOIN_ALPN)
  const exchange = Effect.gen(function* () {
    const stream = yield* connection.open
    yield* stream.writeLast(frame.success)
    return yield* readResponse(stream)
  })
  const response = yield* exchange.pipe(
    Effect.mapError(() => noAnswer),
    Effect.timeoutOrElse({ duration: ANSWER_DEADLINE, orElse: () => Effect.fail(noAnswer) })
  )
  yield* connection.close(CloseCode.NoError, "")
  return response
})

const readResponse = Effect.fnUntraced(function* (stream: BiStream) {
  const decoder = new JoinFrameDecoder()
  while (true) {
    const frame = yield* Effect.fromResult(decoder.push(yield* stream.read))
    if (frame !== undefined) return yield* Effect.fromResult(decodeJoinResponse(frame))
  }
})

/** Adds the inviter where it is missing; where it is known it only gets the ticket's addresses as hints. */
const remember = Effect.fnUntraced(function* (
  options: JoinOptions,
  ticket: Ticket,
  label: string | undefined
): Effect.fn.Return<PeerEntry, StoreError, PeerStore> {
  const store = yield* PeerStore
  const snapshot = yield* store.list
  const known = peerOfNode(snapshot, ticket.nodeId)
  if (known === undefined) {
    const inviter = entryOf(options, ticket, ticket.label ?? label, snapshot)
    yield* store.add(inviter)
    return inviter
  }
  const addresses = [...new Set([...addressesOf(ticket), ...known.addresses])].slice(0, PEER_ADDRESSES_MAX)
  yield* store.update(known.peerId, (peer) => new PeerEntry({ ...peer, addresses }))
  return new PeerEntry({ ...known, addresses })
})
