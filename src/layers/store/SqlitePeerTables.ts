/** `PeerTables` over the SQL of one transaction. */
import { bytesToHex } from "@noble/hashes/utils.js"
import type { Fingerprint } from "../../protocol/identity/Fingerprint.ts"
import type { PeerEntry } from "../../services/PeerStore.ts"
import { grantOfRow, peerOfRow } from "./PeerRows.ts"
import type { PeerTables } from "./PeerTables.ts"
import type { SqlSession } from "./Sqlite.ts"

export const sqlitePeerTables = (session: SqlSession): PeerTables => {
  const { all, get, run } = session
  return {
    hasPeer: (peerId) => get("SELECT 1 FROM peers WHERE peer_id = ?", peerId) !== undefined,
    peer: (peerId) => {
      const row = get("SELECT * FROM peers WHERE peer_id = ?", peerId)
      if (row === undefined) return undefined
      const listed = all("SELECT fingerprint FROM peer_fingerprints WHERE peer_id = ? ORDER BY rowid", peerId)
      const hints = get("SELECT * FROM peer_hints WHERE peer_id = ?", peerId)
      return peerOfRow(
        row,
        listed.map(({ fingerprint }) => fingerprint),
        hints
      )
    },
    ownerOf: (fingerprint) => {
      const row = get("SELECT peer_id FROM peer_fingerprints WHERE fingerprint = ?", fingerprint)
      return row === undefined ? undefined : String(row["peer_id"])
    },
    hasTokenHash: (hash, exceptPeer = "") =>
      get("SELECT 1 FROM peers WHERE auth_token_hash = ? AND peer_id <> ?", hash, exceptPeer) !== undefined ||
      get("SELECT 1 FROM api_keys WHERE sha256 = ?", hash) !== undefined,
    putPeer: (peer) => putPeer(session, peer),
    removePeer: (peerId) => {
      run("DELETE FROM peers WHERE peer_id = ?", peerId)
    },
    putHints: (peerId, addresses, lastSeen) => putHints(session, peerId, addresses, lastSeen),
    hasApiKey: (prefix) => get("SELECT 1 FROM api_keys WHERE prefix = ?", prefix) !== undefined,
    putApiKey: (key) => {
      const values = [key.prefix, key.sha256, JSON.stringify(key.scopes), key.expiresAt ?? null]
      run("INSERT INTO api_keys(prefix, sha256, scopes, expires_at) VALUES (?, ?, ?, ?)", ...values)
    },
    removeApiKey: (prefix) => {
      run("DELETE FROM api_keys WHERE prefix = ?", prefix)
    },
    hasGrant: (id) => get("SELECT 1 FROM grants WHERE id = ?", id) !== undefined,
    grant: (id) => {
      const row = get("SELECT * FROM grants WHERE id = ?", id)
      return row === undefined ? undefined : grantOfRow(row)
    },
    putGrant: (grant) => {
      run(
        "INSERT INTO grants(id, kind, scopes, audience, issued_at, expires_at, redeemed_by, revoked)" +
          " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        bytesToHex(grant.id),
        grant.kind,
        JSON.stringify(grant.scopes),
        grant.audience ?? null,
        grant.issuedAt,
        grant.expiresAt,
        grant.redeemedBy ?? null,
        Number(grant.revoked)
      )
    },
    revokeGrant: (id) => {
      run("UPDATE grants SET revoked = 1 WHERE id = ?", id)
    },
    markRedeemed: (id, by, at) => {
      run("UPDATE grants SET redeemed_by = ?, redeemed_at = ? WHERE id = ? AND redeemed_by IS NULL", by, at, id)
    },
    removeGrantsBefore: (second) => {
      run("DELETE FROM grants WHERE expires_at < ?", second)
    }
  }
}

const putPeer = (session: SqlSession, peer: PeerEntry): void => {
  const { peerId } = peer
  session.run(
    "INSERT INTO peers(peer_id, auth_token_hash, scopes, resources, display_name, enabled) VALUES (?, ?, ?, ?, ?, ?)" +
      " ON CONFLICT(peer_id) DO UPDATE SET auth_token_hash = excluded.auth_token_hash, scopes = excluded.scopes," +
      " resources = excluded.resources, display_name = excluded.display_name, enabled = excluded.enabled",
    peerId,
    peer.authTokenHash ?? null,
    JSON.stringify(peer.scopes),
    JSON.stringify(peer.resources),
    peer.displayName ?? null,
    Number(peer.enabled)
  )
  putFingerprints(session, peerId, peer.fingerprints)
  putHints(session, peerId, peer.addresses, peer.lastSeen)
}

const putFingerprints = (session: SqlSession, peerId: string, fingerprints: ReadonlyArray<Fingerprint>): void => {
  session.run("DELETE FROM peer_fingerprints WHERE peer_id = ?", peerId)
  for (const fingerprint of fingerprints) {
    session.run("INSERT INTO peer_fingerprints(fingerprint, peer_id) VALUES (?, ?)", fingerprint, peerId)
  }
}

const putHints = (
  session: SqlSession,
  peerId: string,
  addresses: ReadonlyArray<string>,
  lastSeen: number | undefined
): void => {
  if (addresses.length === 0 && lastSeen === undefined) {
    session.run("DELETE FROM peer_hints WHERE peer_id = ?", peerId)
    return
  }
  session.run(
    "INSERT INTO peer_hints(peer_id, addresses, last_seen) SELECT peer_id, ?, ? FROM peers WHERE peer_id = ?" +
      " ON CONFLICT(peer_id) DO UPDATE SET addresses = excluded.addresses, last_seen = excluded.last_seen",
    JSON.stringify(addresses),
    lastSeen ?? null,
    peerId
  )
}
