/**
 * A peer as the stable JSON of `peers list` and `peers show`.
 */
import { nodeOfFingerprint } from "../../../protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import type { PeerEntry } from "../../../services/PeerStore.ts"
import { rolesOf } from "../../Rights.ts"

/** The first node key of a peer; null where it has none. */
export const nodeIdOf = (peer: PeerEntry): NodeId | null => {
  for (const fingerprint of peer.fingerprints) {
    const nodeId = nodeOfFingerprint(fingerprint)
    if (nodeId !== undefined) return nodeId
  }
  return null
}

/** `lastSeen` is Unix seconds, null where it was never seen. */
export const describePeer = (peer: PeerEntry) => ({
  name: peer.peerId,
  nodeId: nodeIdOf(peer),
  roles: rolesOf(peer.scopes),
  scopes: peer.scopes,
  enabled: peer.enabled,
  lastSeen: peer.lastSeen ?? null
})
