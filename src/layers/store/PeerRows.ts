/**
 * Rows of the peer store's SQLite tables, and the values in them.
 *
 * Lists are JSON text, ids of grants hex digits. A row that does not parse, or that breaks a rule of PeerRules.ts, gives
 * undefined: it grants nothing and stops no other row (ID-R35).
 */
import { Result, Schema } from "effect"
import { type Fingerprint, fingerprintFromText } from "../../protocol/identity/Fingerprint.ts"
import { ApiKey, Grant, PeerEntry } from "../../services/PeerStore.ts"
import { checkApiKey, checkGrant, checkPeer } from "./PeerRules.ts"
import type { SqlRow } from "./Sqlite.ts"

/** One script for each version; never changed once it was released. */
export const PEER_MIGRATIONS = [
  `
  CREATE TABLE peers(
    peer_id TEXT PRIMARY KEY, auth_token_hash TEXT UNIQUE, scopes TEXT NOT NULL, resources TEXT NOT NULL,
    display_name TEXT, enabled INTEGER NOT NULL CHECK (enabled IN (0, 1))
  ) STRICT;
  CREATE TABLE peer_fingerprints(
    fingerprint TEXT PRIMARY KEY, peer_id TEXT NOT NULL REFERENCES peers ON DELETE CASCADE
  ) STRICT;
  CREATE INDEX peer_fingerprints_of_peer ON peer_fingerprints(peer_id);
  CREATE TABLE peer_hints(
    peer_id TEXT PRIMARY KEY REFERENCES peers ON DELETE CASCADE, addresses TEXT NOT NULL,
    last_seen INTEGER CHECK (last_seen BETWEEN 0 AND 9007199254740991)
  ) STRICT;
  CREATE TABLE api_keys(
    prefix TEXT PRIMARY KEY, sha256 TEXT NOT NULL UNIQUE, scopes TEXT NOT NULL,
    expires_at INTEGER CHECK (expires_at BETWEEN 0 AND 9007199254740991)
  ) STRICT;
  CREATE TABLE grants(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, scopes TEXT NOT NULL, audience TEXT,
    issued_at INTEGER NOT NULL CHECK (issued_at BETWEEN 0 AND 9007199254740991),
    expires_at INTEGER NOT NULL CHECK (expires_at BETWEEN 0 AND 9007199254740991),
    redeemed_by TEXT, redeemed_at INTEGER, revoked INTEGER NOT NULL CHECK (revoked IN (0, 1))
  ) STRICT;
  `
]

/** A peer out of its row, its fingerprints and its hints; hints that do not parse are left out. */
export const peerOfRow = (
  row: SqlRow,
  fingerprints: ReadonlyArray<unknown>,
  hints: SqlRow | undefined
): PeerEntry | undefined => {
  const bare = {
    peerId: row["peer_id"],
    fingerprints,
    ...present("authTokenHash", row["auth_token_hash"]),
    scopes: jsonOf(row["scopes"]),
    resources: jsonOf(row["resources"]),
    ...present("displayName", row["display_name"]),
    enabled: booleanOf(row["enabled"]),
    addresses: []
  }
  if (hints !== undefined) {
    const hinted = readPeer({
      ...bare,
      addresses: jsonOf(hints["addresses"]),
      ...present("lastSeen", hints["last_seen"])
    })
    if (hinted !== undefined) return hinted
  }
  return readPeer(bare)
}

/** A fingerprint out of its column; undefined where it names a key that nobody may have. */
export const fingerprintOfColumn = (value: unknown): Fingerprint | undefined =>
  typeof value === "string" ? Result.getOrUndefined(fingerprintFromText(value)) : undefined

export const apiKeyOfRow = (row: SqlRow): ApiKey | undefined => {
  const key = decodeApiKey({
    prefix: row["prefix"],
    sha256: row["sha256"],
    scopes: jsonOf(row["scopes"]),
    ...present("expiresAt", row["expires_at"])
  })
  return Result.isSuccess(key) && checkApiKey(key.success) === undefined ? key.success : undefined
}

export const grantOfRow = (row: SqlRow): Grant | undefined => {
  const id = row["id"]
  if (typeof id !== "string" || !/^[0-9a-f]{32}$/.test(id)) return undefined
  const grant = decodeGrant({
    id: new Uint8Array(Buffer.from(id, "hex")),
    kind: row["kind"],
    scopes: jsonOf(row["scopes"]),
    ...present("audience", row["audience"]),
    issuedAt: row["issued_at"],
    expiresAt: row["expires_at"],
    ...present("redeemedBy", row["redeemed_by"]),
    revoked: booleanOf(row["revoked"])
  })
  return Result.isSuccess(grant) && checkGrant(grant.success) === undefined ? grant.success : undefined
}

const decodePeer = Schema.decodeUnknownResult(PeerEntry)
const decodeApiKey = Schema.decodeUnknownResult(ApiKey)
const decodeGrant = Schema.decodeUnknownResult(Grant)

const readPeer = (value: unknown): PeerEntry | undefined => {
  const peer = decodePeer(value)
  return Result.isSuccess(peer) && checkPeer(peer.success, undefined) === undefined ? peer.success : undefined
}

const present = (name: string, value: unknown): Readonly<Record<string, unknown>> =>
  value === null || value === undefined ? {} : { [name]: value }

const booleanOf = (value: unknown): unknown => (value === 1 ? true : value === 0 ? false : value)

const jsonOf = (value: unknown): unknown => {
  try {
    return typeof value === "string" ? JSON.parse(value) : undefined
  } catch {
    return undefined
  }
}
