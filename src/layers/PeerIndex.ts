/**
 * Look-ups in a snapshot of the peer store. Its maps are built once for a snapshot, when the first look-up needs them, and
 * go with it.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { type Fingerprint, fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { TokenHashes } from "../protocol/identity/Token.ts"
import type { Principal } from "../services/Identity.ts"
import type { ApiKey, Grant, PeerEntry, Snapshot } from "../services/PeerStore.ts"

/** Hashes of tokens, and whose they are, at the same positions. */
export interface Tokens<A> {
  readonly hashes: TokenHashes
  readonly owners: ReadonlyArray<A>
}

export interface PeerIndex {
  /** Enabled or not. */
  readonly peersByFingerprint: ReadonlyMap<string, PeerEntry>
  readonly peerTokens: Tokens<PeerEntry>
  readonly keysByPrefix: ReadonlyMap<string, Tokens<ApiKey>>
  /** By the hex digits of the id. */
  readonly grantsById: ReadonlyMap<string, Grant>
  readonly principals: ReadonlyMap<PeerEntry, Principal>
}

export const indexOf = (snapshot: Snapshot): PeerIndex => {
  const known = indexes.get(snapshot)
  if (known !== undefined) return known
  const index = build(snapshot)
  indexes.set(snapshot, index)
  return index
}

/** The entry that lists the fingerprint, enabled or not. */
export const peerOfFingerprint = (snapshot: Snapshot, fingerprint: Fingerprint): PeerEntry | undefined =>
  indexOf(snapshot).peersByFingerprint.get(fingerprint)

/** The entry that lists the key of a node, enabled or not. */
export const peerOfNode = (snapshot: Snapshot, nodeId: NodeId): PeerEntry | undefined =>
  peerOfFingerprint(snapshot, fingerprintOfNode(nodeId))

/** What a peer may do; undefined while it is disabled. */
export const principalOf = (snapshot: Snapshot, peer: PeerEntry): Principal | undefined =>
  peer.enabled ? indexOf(snapshot).principals.get(peer) : undefined

const indexes = new WeakMap<Snapshot, PeerIndex>()

const build = ({ peers, apiKeys, grants }: Snapshot): PeerIndex => ({
  peersByFingerprint: new Map(peers.flatMap((peer) => peer.fingerprints.map((text) => [text, peer] as const))),
  peerTokens: tokensOf(
    peers.filter((peer) => peer.authTokenHash !== undefined),
    (peer) => peer.authTokenHash ?? ""
  ),
  // The store keeps prefixes unique; a list of one is compared like any other.
  keysByPrefix: new Map(apiKeys.map((key) => [key.prefix, tokensOf([key], ({ sha256 }) => sha256)])),
  grantsById: new Map(grants.map((grant) => [bytesToHex(grant.id), grant])),
  principals: new Map(peers.map((peer) => [peer, { id: peer.peerId, scopes: peer.scopes, resources: peer.resources }]))
})

const tokensOf = <A>(owners: ReadonlyArray<A>, hashOf: (owner: A) => string): Tokens<A> => ({
  hashes: new TokenHashes(owners.map(hashOf)),
  owners
})
