/**
 * What a peer store does to its tables, written once for all layers (identity.md sections 4, 6 and 9).
 *
 * A layer gives `PeerTables`, which only reads and writes rows inside one transaction, and gets `PeerStore` back from
 * `makePeerStore`. So what may be written, and which error comes when, cannot differ between SQLite and memory.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { Clock, Effect, Result, Stream, SubscriptionRef } from "effect"
import { type Fingerprint, fingerprintOfNode } from "../../protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { peerIdFromName } from "../../protocol/identity/PeerId.ts"
import { parseSocketAddress } from "../../protocol/SocketAddress.ts"
import {
  type ApiKey,
  type Grant,
  PeerEntry,
  PeerStore,
  RedeemError,
  type Snapshot,
  StoreError
} from "../../services/PeerStore.ts"
import { checkApiKey, checkGrant, checkPeer, DISPLAY_NAME_MAX, PEER_ADDRESSES_MAX } from "./PeerRules.ts"

/** How long a grant is kept after its end, in seconds: for people who look at the list. */
const DEAD_GRANT_SECONDS = 30 * 86_400

/** How old the note of a peer's last connection must be before it is written again, in seconds. */
const SEEN_SECONDS = 60

/** The rows inside one transaction. A row that does not parse is there for `has…` and `remove…` only. */
export interface PeerTables {
  readonly hasPeer: (peerId: string) => boolean
  readonly peer: (peerId: string) => PeerEntry | undefined
  /** The peerId of the row that lists it. */
  readonly ownerOf: (fingerprint: Fingerprint) => string | undefined
  /** Whether a peer but this one, or an API key, has the hash. */
  readonly hasTokenHash: (hash: string, exceptPeer?: string) => boolean
  /** Adds the row or replaces it. */
  readonly putPeer: (peer: PeerEntry) => void
  readonly removePeer: (peerId: string) => void
  /** Does nothing for an unknown peer. */
  readonly putHints: (peerId: string, addresses: ReadonlyArray<string>, lastSeen: number | undefined) => void
  readonly hasApiKey: (prefix: string) => boolean
  readonly putApiKey: (key: ApiKey) => void
  readonly removeApiKey: (prefix: string) => void
  readonly hasGrant: (id: string) => boolean
  /** By the hex digits of its id. */
  readonly grant: (id: string) => Grant | undefined
  readonly putGrant: (grant: Grant) => void
  readonly revokeGrant: (id: string) => void
  readonly markRedeemed: (id: string, by: NodeId, at: number) => void
  /** Forgets grants that ended before this second. */
  readonly removeGrantsBefore: (second: number) => void
}

/** What a layer has to give. */
export interface PeerBackend {
  /** Commits what the body did, or nothing where it failed; the snapshot holds it before the effect ends. */
  readonly write: <A, E>(body: (tables: PeerTables) => Result.Result<A, E>) => Effect.Effect<A, E | StoreError>
  /** Reads the tables now. */
  readonly list: Effect.Effect<Snapshot, StoreError>
  readonly snapshot: SubscriptionRef.SubscriptionRef<Snapshot>
}

/** The store over a backend. `local` is this node, which can be no peer of itself. */
export const makePeerStore = (backend: PeerBackend, local: NodeId | undefined): PeerStore["Service"] => {
  const { write, snapshot } = backend
  return PeerStore.of({
    add: Effect.fn("PeerStore.add")((peer) => write((tables) => addPeer(tables, peer, local))),
    update: Effect.fn("PeerStore.update")((peerId, f) => write((tables) => updatePeer(tables, peerId, f, local))),
    enable: Effect.fn("PeerStore.enable")((peerId, enabled) =>
      write((tables) => updatePeer(tables, peerId, (peer) => ({ ...peer, enabled }), local))
    ),
    remove: Effect.fn("PeerStore.remove")((peerId) =>
      write((tables) => {
        if (!tables.hasPeer(peerId)) return missing("peerId", "there is no such peer; see: alknet peers list")
        tables.removePeer(peerId)
        return done
      })
    ),
    list: backend.list,
    addKey: Effect.fn("PeerStore.addKey")((key) => write((tables) => addApiKey(tables, key))),
    removeKey: Effect.fn("PeerStore.removeKey")((prefix) =>
      write((tables) => {
        if (!tables.hasApiKey(prefix)) return missing("prefix", "there is no such key; see: alknet keys list")
        tables.removeApiKey(prefix)
        return done
      })
    ),
    issueGrant: Effect.fn("PeerStore.issueGrant")(function* (grant) {
      const now = yield* currentSeconds
      yield* write((tables) => addGrant(tables, grant, now))
    }),
    revokeGrant: Effect.fn("PeerStore.revokeGrant")((id) =>
      write((tables) => {
        const hex = bytesToHex(id)
        if (!tables.hasGrant(hex)) return missing("grant", "there is no such grant")
        tables.revokeGrant(hex)
        return done
      })
    ),
    redeem: Effect.fn("PeerStore.redeem")(function* (id, joiner, suggestedName) {
      const now = yield* currentSeconds
      return yield* write((tables) => redeem(tables, { id: bytesToHex(id), joiner, suggestedName, now, local }))
    }),
    seen: Effect.fn("PeerStore.seen")(function* (peerId, at, reached) {
      const address = reached === undefined || Result.isFailure(parseSocketAddress(reached)) ? undefined : reached
      const { peers } = yield* SubscriptionRef.get(snapshot)
      const known = peers.find((peer) => peer.peerId === peerId)
      if (known === undefined || !isNews(known, at, address)) return
      yield* write((tables) => {
        const peer = tables.peer(peerId)
        if (peer !== undefined) {
          const addresses = address === undefined ? peer.addresses : withFirst(address, peer.addresses)
          tables.putHints(peerId, addresses, Math.max(at, peer.lastSeen ?? 0))
        }
        return done
      })
    }),
    checkWritable: write(() => done),
    snapshot,
    changes: SubscriptionRef.changes(snapshot).pipe(
      Stream.changesWith((before, after) => before.revision === after.revision)
    )
  })
}

/** Unix seconds of the clock. */
const currentSeconds = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 1000))

const done: Result.Result<void, StoreError> = Result.succeed(undefined)

const refuse = (field: string, reason: StoreError["reason"], hint: string): Result.Result<never, StoreError> =>
  Result.fail(new StoreError({ field, reason, hint }))

const missing = (field: string, hint: string) => refuse(field, "NotFound", hint)

const addPeer = (tables: PeerTables, peer: PeerEntry, local: NodeId | undefined): Result.Result<void, StoreError> => {
  if (tables.hasPeer(peer.peerId)) return refuse("peerId", "Exists", "a peer of this name exists; choose another name")
  return putPeer(tables, peer, local)
}

const updatePeer = (
  tables: PeerTables,
  peerId: string,
  f: (peer: PeerEntry) => PeerEntry,
  local: NodeId | undefined
): Result.Result<void, StoreError> => {
  if (!tables.hasPeer(peerId)) return missing("peerId", "there is no such peer; see: alknet peers list")
  const before = tables.peer(peerId)
  if (before === undefined)
    return refuse("peerId", "Invalid", "its row cannot be read; remove the peer and add it again")
  const after = f(before)
  if (after.peerId !== peerId) return refuse("peerId", "Invalid", "the name of a peer does not change")
  return putPeer(tables, after, local)
}

const putPeer = (tables: PeerTables, peer: PeerEntry, local: NodeId | undefined): Result.Result<void, StoreError> => {
  const wrong = checkPeer(peer, local)
  if (wrong !== undefined) return Result.fail(wrong)
  const isOthers = (fingerprint: Fingerprint) => {
    const owner = tables.ownerOf(fingerprint)
    return owner !== undefined && owner !== peer.peerId
  }
  if (peer.fingerprints.some(isOthers)) {
    return refuse("fingerprints", "FingerprintTaken", "another peer has this key; see: alknet peers list")
  }
  if (peer.authTokenHash !== undefined && tables.hasTokenHash(peer.authTokenHash, peer.peerId)) {
    return refuse("authTokenHash", "TokenTaken", "another peer or API key has this token; make a new one")
  }
  tables.putPeer(peer)
  return done
}

const addApiKey = (tables: PeerTables, key: ApiKey): Result.Result<void, StoreError> => {
  const wrong = checkApiKey(key)
  if (wrong !== undefined) return Result.fail(wrong)
  if (tables.hasApiKey(key.prefix)) return refuse("prefix", "PrefixTaken", "another key starts alike; make a new one")
  if (tables.hasTokenHash(key.sha256)) {
    return refuse("sha256", "TokenTaken", "another peer or API key has this token; make a new one")
  }
  tables.putApiKey(key)
  return done
}

const addGrant = (tables: PeerTables, grant: Grant, now: number): Result.Result<void, StoreError> => {
  const wrong = checkGrant(grant)
  if (wrong !== undefined) return Result.fail(wrong)
  if (tables.hasGrant(bytesToHex(grant.id))) return refuse("grant", "Exists", "a grant with this id exists")
  tables.removeGrantsBefore(now - DEAD_GRANT_SECONDS)
  tables.putGrant(grant)
  return done
}

interface Redemption {
  readonly id: string
  readonly joiner: NodeId
  readonly suggestedName: string
  readonly now: number
  readonly local: NodeId | undefined
}

/** The order of the checks is part of the protocol: ID-R50, then ID-R51, then ID-R52. */
const redeem = (
  tables: PeerTables,
  { id, joiner, suggestedName, now, local }: Redemption
): Result.Result<PeerEntry, StoreError | RedeemError> => {
  const answer = (reason: RedeemError["reason"]) => Result.fail(new RedeemError({ reason }))
  const grant = tables.grant(id)
  if (grant === undefined || grant.kind !== "invite") return answer("Rejected")
  if (now >= grant.expiresAt) return answer("Expired")
  if (grant.revoked) return answer("Rejected")
  if (grant.audience !== undefined && grant.audience !== joiner) return answer("Rejected")

  const owner = tables.ownerOf(fingerprintOfNode(joiner))
  const known = owner === undefined ? undefined : tables.peer(owner)
  if (grant.redeemedBy !== undefined) {
    if (grant.redeemedBy !== joiner) return answer("Used")
    return known?.enabled === true ? Result.succeed(known) : answer("Rejected")
  }
  if (owner !== undefined) return answer(known?.enabled === true ? "AlreadyPeer" : "Rejected")
  if (joiner === local) return answer("Rejected")

  const peerId = peerIdFromName(suggestedName, tables.hasPeer)
  const displayName = displayNameOf(suggestedName)
  const peer = new PeerEntry({
    peerId,
    fingerprints: [fingerprintOfNode(joiner)],
    scopes: grant.scopes,
    resources: {},
    ...(displayName !== "" && displayName !== peerId && { displayName }),
    enabled: true,
    addresses: []
  })
  tables.markRedeemed(id, joiner, now)
  return Result.map(putPeer(tables, peer, local), () => peer)
}

/** What a peer calls itself, cut to the limit; control characters and lone surrogates are replaced. */
const displayNameOf = (name: string): string =>
  [...name.slice(0, 4 * DISPLAY_NAME_MAX)]
    .slice(0, DISPLAY_NAME_MAX)
    .join("")
    .replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu, "\ufffd")

const isNews = (peer: PeerEntry, at: number, address: string | undefined): boolean =>
  (address !== undefined && peer.addresses[0] !== address) ||
  peer.lastSeen === undefined ||
  at - peer.lastSeen >= SEEN_SECONDS

const withFirst = (address: string, addresses: ReadonlyArray<string>): ReadonlyArray<string> =>
  [address, ...addresses.filter((other) => other !== address)].slice(0, PEER_ADDRESSES_MAX)
