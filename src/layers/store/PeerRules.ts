/**
 * What a peer, an API key or a grant must look like before it is written, and when it is read (ID-R21 to ID-R25).
 *
 * Every check gives the first thing that is wrong, or undefined. Text that comes back out of a store passes the same checks,
 * so that a file that somebody edited cannot grant more than the rules allow.
 */
import { Result } from "effect"
import { fingerprintFromText, fingerprintOfNode } from "../../protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { isPeerId } from "../../protocol/identity/PeerId.ts"
import { parseScopePattern } from "../../protocol/identity/Scope.ts"
import { GRANT_ID_BYTES, TICKET_SCOPES_MAX } from "../../protocol/identity/TicketPayload.ts"
import { isTokenHash, isTokenPrefix } from "../../protocol/identity/Token.ts"
import { parseSocketAddress } from "../../protocol/SocketAddress.ts"
import { type ApiKey, type Grant, type PeerEntry, StoreError } from "../../services/PeerStore.ts"

/** Keys of one peer. */
export const PEER_FINGERPRINTS_MAX = 16
/** Scopes of one peer or API key. */
export const PEER_SCOPES_MAX = 256
/** Resource types of one peer, and values of each type are at most four times as many. */
export const RESOURCE_TYPES_MAX = 64
export const RESOURCE_VALUES_MAX = 256
/** The longest text value of an entry, in bytes. */
export const TEXT_BYTES_MAX = 256
/** The longest name for display, in characters. */
export const DISPLAY_NAME_MAX = 64
/** Addresses that are remembered of one peer. */
export const PEER_ADDRESSES_MAX = 16

/** What is wrong with a peer; `local` is this node. */
export const checkPeer = (peer: PeerEntry, local: NodeId | undefined): StoreError | undefined => {
  const { peerId, fingerprints, authTokenHash, displayName, resources, addresses } = peer
  if (!isPeerId(peerId)) {
    return invalid("peerId", "1 to 63 of a-z 0-9 . -, the first a letter or digit, and not grant-…")
  }
  if (fingerprints.length > PEER_FINGERPRINTS_MAX)
    return invalid("fingerprints", `at most ${PEER_FINGERPRINTS_MAX} keys`)
  if (fingerprints.some((text) => Result.isFailure(fingerprintFromText(text)))) {
    return invalid("fingerprints", "ed25519: or SHA256: and 64 hex digits of a usable key")
  }
  if (new Set(fingerprints).size !== fingerprints.length) return invalid("fingerprints", "a key is listed twice")
  if (local !== undefined && fingerprints.includes(fingerprintOfNode(local))) {
    return invalid("fingerprints", "this is the key of this node itself")
  }
  if (authTokenHash !== undefined && !isTokenHash(authTokenHash)) {
    return invalid("authTokenHash", "sha256: and 64 hex digits")
  }
  if (displayName !== undefined && (displayName === "" || [...displayName].length > DISPLAY_NAME_MAX)) {
    return invalid("displayName", `1 to ${DISPLAY_NAME_MAX} characters`)
  }
  if (addresses.length > PEER_ADDRESSES_MAX || addresses.some((text) => Result.isFailure(parseSocketAddress(text)))) {
    return invalid("addresses", `at most ${PEER_ADDRESSES_MAX} addresses HOST:PORT`)
  }
  if (!isTime(peer.lastSeen ?? 0)) return invalid("lastSeen", "Unix seconds")
  return checkScopes(peer.scopes, PEER_SCOPES_MAX) ?? checkResources(resources)
}

/** What is wrong with an API key. */
export const checkApiKey = (key: ApiKey): StoreError | undefined => {
  if (!isTokenPrefix(key.prefix)) return invalid("prefix", "the first 8 characters of a token")
  if (!isTokenHash(key.sha256)) return invalid("sha256", "sha256: and 64 hex digits")
  if (!isTime(key.expiresAt ?? 0)) return invalid("expiresAt", "Unix seconds")
  return checkScopes(key.scopes, PEER_SCOPES_MAX)
}

/** What is wrong with a grant. */
export const checkGrant = (grant: Grant): StoreError | undefined => {
  if (grant.id.length !== GRANT_ID_BYTES) return invalid("grant", `its id has ${GRANT_ID_BYTES} bytes`)
  if (!isTime(grant.issuedAt) || !isTime(grant.expiresAt) || grant.expiresAt <= grant.issuedAt) {
    return invalid("expiresAt", "Unix seconds after the issue")
  }
  if (grant.scopes.length === 0) return invalid("scopes", "at least one scope")
  return checkScopes(grant.scopes, TICKET_SCOPES_MAX)
}

const invalid = (field: string, hint: string): StoreError => new StoreError({ field, reason: "Invalid", hint })

const isTime = (seconds: number): boolean => Number.isSafeInteger(seconds) && seconds >= 0

const checkScopes = (scopes: ReadonlyArray<string>, most: number): StoreError | undefined => {
  if (scopes.length > most) return invalid("scopes", `at most ${most} scopes`)
  return scopes.some((scope) => Result.isFailure(parseScopePattern(scope)))
    ? invalid("scopes", "write SERVICE:ACTION[:RESOURCE], for example git:read:*")
    : undefined
}

const checkResources = (resources: PeerEntry["resources"]): StoreError | undefined => {
  const entries = Object.entries(resources)
  if (entries.length > RESOURCE_TYPES_MAX) return invalid("resources", `at most ${RESOURCE_TYPES_MAX} types`)
  if (entries.some(([, values]) => values.length > RESOURCE_VALUES_MAX)) {
    return invalid("resources", `at most ${RESOURCE_VALUES_MAX} values of a type`)
  }
  const isLong = (text: string) => text === "" || Buffer.byteLength(text) > TEXT_BYTES_MAX
  return entries.some(([type, values]) => isLong(type) || values.some(isLong))
    ? invalid("resources", `texts of 1 to ${TEXT_BYTES_MAX} bytes`)
    : undefined
}
