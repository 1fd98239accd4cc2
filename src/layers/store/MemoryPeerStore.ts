/**
 * The peer store in memory, for tests and for nodes that keep nothing. A write works on a copy, which takes the place of
 * the tables when it succeeds; so nothing half-written is ever seen.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { Effect, Layer, Result, Semaphore, SubscriptionRef } from "effect"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { ApiKey, Grant, PeerEntry, PeerStore, type Snapshot, type StoreError } from "../../services/PeerStore.ts"
import { makePeerStore, type PeerTables } from "./PeerTables.ts"

export interface MemoryPeerStoreOptions {
  /** What it holds at first; it is not checked. */
  readonly initial?: Partial<Omit<Snapshot, "revision">>
  /** This node, which cannot be added as a peer. */
  readonly local?: NodeId
}

export const layer = (options: MemoryPeerStoreOptions = {}): Layer.Layer<PeerStore> =>
  Layer.effect(
    PeerStore,
    Effect.gen(function* () {
      const { peers = [], apiKeys = [], grants = [] } = options.initial ?? {}
      let tables: Tables = {
        peers: new Map(peers.map((peer) => [peer.peerId, peer])),
        apiKeys: new Map(apiKeys.map((key) => [key.prefix, key])),
        grants: new Map(grants.map((grant) => [bytesToHex(grant.id), grant])),
        hintsOnly: false
      }
      const snapshot = yield* SubscriptionRef.make(snapshotOf(tables, 1))
      const turn = yield* Semaphore.make(1)
      const write = <A, E>(body: (tables: PeerTables) => Result.Result<A, E>): Effect.Effect<A, E | StoreError> =>
        Effect.suspend(() => {
          const draft = copyOf(tables)
          const result = body(memoryPeerTables(draft))
          if (Result.isFailure(result)) return Effect.fail(result.failure)
          tables = draft
          const next = SubscriptionRef.update(snapshot, ({ revision }) =>
            snapshotOf(draft, draft.hintsOnly ? revision : revision + 1)
          )
          return Effect.as(next, result.success)
        }).pipe(turn.withPermit, Effect.uninterruptible)
      return makePeerStore({ write, list: SubscriptionRef.get(snapshot), snapshot }, options.local)
    })
  )

interface Tables {
  readonly peers: Map<string, PeerEntry>
  readonly apiKeys: Map<string, ApiKey>
  readonly grants: Map<string, Grant>
  /** Whether nothing but hints was written. */
  hintsOnly: boolean
}

const copyOf = ({ peers, apiKeys, grants }: Tables): Tables => ({
  peers: new Map(peers),
  apiKeys: new Map(apiKeys),
  grants: new Map(grants),
  hintsOnly: true
})

const snapshotOf = ({ peers, apiKeys, grants }: Tables, revision: number): Snapshot => ({
  revision,
  peers: [...peers.values()],
  apiKeys: [...apiKeys.values()],
  grants: [...grants.values()]
})

const memoryPeerTables = (tables: Tables): PeerTables => {
  const { peers, apiKeys, grants } = tables
  const changed = <A extends ReadonlyArray<unknown>>(write: (...values: A) => void) => {
    return (...values: A): void => {
      tables.hintsOnly = false
      write(...values)
    }
  }
  const changeGrant = (id: string, change: Partial<Grant>) => {
    const grant = grants.get(id)
    if (grant !== undefined) grants.set(id, new Grant({ ...grant, ...change }))
  }
  return {
    hasPeer: (peerId) => peers.has(peerId),
    peer: (peerId) => peers.get(peerId),
    ownerOf: (fingerprint) => [...peers.values()].find((peer) => peer.fingerprints.includes(fingerprint))?.peerId,
    hasTokenHash: (hash, exceptPeer) =>
      [...peers.values()].some((peer) => peer.authTokenHash === hash && peer.peerId !== exceptPeer) ||
      [...apiKeys.values()].some((key) => key.sha256 === hash),
    putPeer: changed((peer: PeerEntry) => {
      peers.set(peer.peerId, new PeerEntry(peer))
    }),
    removePeer: changed((peerId: string) => {
      peers.delete(peerId)
    }),
    putHints: (peerId, addresses, lastSeen) => {
      const peer = peers.get(peerId)
      if (peer !== undefined) {
        peers.set(peerId, new PeerEntry({ ...peer, addresses, ...(lastSeen !== undefined && { lastSeen }) }))
      }
    },
    hasApiKey: (prefix) => apiKeys.has(prefix),
    putApiKey: changed((key: ApiKey) => {
      apiKeys.set(key.prefix, new ApiKey(key))
    }),
    removeApiKey: changed((prefix: string) => {
      apiKeys.delete(prefix)
    }),
    hasGrant: (id) => grants.has(id),
    grant: (id) => grants.get(id),
    putGrant: changed((grant: Grant) => {
      grants.set(bytesToHex(grant.id), new Grant(grant))
    }),
    revokeGrant: changed((id: string) => {
      changeGrant(id, { revoked: true })
    }),
    markRedeemed: changed((id: string, by: NodeId) => {
      changeGrant(id, { redeemedBy: by })
    }),
    removeGrantsBefore: (second) => {
      for (const [id, grant] of grants) {
        if (grant.expiresAt < second) grants.delete(id)
      }
    }
  }
}
