/**
 * Who somebody is that logs in: by a public key, by a certificate, or by the connection itself (ssh.md section 2).
 *
 * A key is the peer that lists its fingerprint. A certificate is the peer that lists the key of the authority that signed it:
 * an authority vouches for nobody but itself, so that no peer can sign its way to the rights of another. The user name must
 * be one of the principals of a certificate, and means nothing otherwise: a node has no accounts. Where the connection has
 * proven the key of a peer too, both must be the same peer.
 */
import { Clock, Effect, Option, Result, SubscriptionRef } from "effect"
import type { AuthContext, PublicKeyAuthContext } from "ssh2"
import { type Fingerprint, fingerprintOfNode, fingerprintOfSshKey } from "../../../protocol/identity/Fingerprint.ts"
import type { RejectReason } from "../../../protocol/identity/LogLine.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import { parseScopePattern } from "../../../protocol/identity/Scope.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import { flawOfCertificate, isCertificateAlgorithm, parseUserCertificate } from "../../../protocol/ssh/Certificate.ts"
import { encodeStrings } from "../../../protocol/ssh/Fields.ts"
import { isSignedBy, parsePublicKey, type SshPublicKey } from "../../../protocol/ssh/PublicKey.ts"
import type { Identity, Principal } from "../../../services/Identity.ts"
import { peerOfFingerprint, peerOfNode } from "../../PeerIndex.ts"

/** What a certificate takes away. */
export interface Limits {
  readonly forceCommand: string | undefined
  readonly mayUsePty: boolean
  readonly mayForward: boolean
}

const NO_LIMITS: Limits = { forceCommand: undefined, mayUsePty: true, mayForward: true }

/** Somebody who is in. */
export interface Login {
  readonly peerId: string
  readonly limits: Limits
  /** What the peer may do now; undefined: it is no peer any more, or the key is not the peer's. No input or output. */
  readonly principal: Effect.Effect<Principal | undefined>
}

/** Where somebody comes from. */
export interface Caller {
  /** Key that the connection has proven. */
  readonly peerKey: NodeId | undefined
  readonly remoteAddress: SocketAddress | undefined
}

export type Verdict =
  | { readonly _tag: "Accepted"; readonly login: Login; readonly credential: string }
  | { readonly _tag: "Refused"; readonly reason: RejectReason; readonly credential: string }

const refused = (reason: RejectReason, credential: string): Verdict => ({ _tag: "Refused", reason, credential })

const loginOf = (identity: Identity["Service"], peerId: string, fingerprint: Fingerprint, limits: Limits): Login => ({
  peerId,
  limits,
  principal: Effect.map(identity.resolveFromFingerprint(fingerprint), (found) =>
    Option.getOrUndefined(Option.filter(found, ({ id }) => id === peerId))
  )
})

/** Whether somebody may log in without a key of their own: the connection has proven a peer that may do something here. */
export const loginByConnection = Effect.fnUntraced(function* (identity: Identity["Service"], { peerKey }: Caller) {
  if (peerKey === undefined) return undefined
  const fingerprint = fingerprintOfNode(peerKey)
  const principal = Option.getOrUndefined(yield* identity.resolveFromFingerprint(fingerprint))
  if (principal === undefined || !principal.scopes.some(reachesSsh)) return undefined
  return loginOf(identity, principal.id, fingerprint, NO_LIMITS)
})

/** Scopes of what is served here: sessions, forwards, and files as a subsystem. */
const reachesSsh = (pattern: string): boolean => {
  const [service] = Result.getOrElse(parseScopePattern(pattern), () => [""])
  return service === "*" || service === "ssh" || service === "sftp"
}

/** Judges a key, with or without a signature. */
export const loginByKey = Effect.fnUntraced(function* (
  identity: Identity["Service"],
  caller: Caller,
  context: PublicKeyAuthContext
): Effect.fn.Return<Verdict> {
  const { algo, data } = context.key
  const certificate = isCertificateAlgorithm(algo) ? parseUserCertificate(data) : undefined
  const key = certificate?.key ?? (isCertificateAlgorithm(algo) ? undefined : parsePublicKey(data))
  const shown = fingerprintOfSshKey(certificate?.keyBlob ?? data)
  if (key === undefined || Result.isFailure(shown)) return refused("malformed", "-")
  const credential = shown.success
  if (context.signature !== undefined && !isSignatureGood(context, key, certificate !== undefined)) {
    return refused("badsig", credential)
  }
  const listed = certificate === undefined ? shown : fingerprintOfSshKey(certificate.authorityBlob)
  if (Result.isFailure(listed)) return refused("malformed", credential)
  const snapshot = yield* SubscriptionRef.get(identity.snapshot)
  const principal = Option.getOrUndefined(yield* identity.resolveFromFingerprint(listed.success))
  if (principal === undefined) {
    return refused(peerOfFingerprint(snapshot, listed.success)?.enabled === false ? "disabled" : "unknown", credential)
  }
  const proven = caller.peerKey === undefined ? undefined : peerOfNode(snapshot, caller.peerKey)
  if (proven?.enabled === false) return refused("disabled", credential)
  if (proven !== undefined && proven.peerId !== principal.id) return refused("mismatch", credential)
  if (certificate === undefined) {
    return { _tag: "Accepted", credential, login: loginOf(identity, principal.id, listed.success, NO_LIMITS) }
  }
  const flaw = flawOfCertificate(certificate, {
    user: context.username,
    address: caller.remoteAddress?.host,
    nowSeconds: (yield* Clock.currentTimeMillis) / 1000
  })
  if (flaw !== undefined) return refused(flaw, credential)
  const { forceCommand, mayForward, mayUsePty } = certificate
  const limits = { forceCommand, mayForward, mayUsePty }
  return { _tag: "Accepted", credential, login: loginOf(identity, principal.id, listed.success, limits) }
})

/**
 * Whether the client has signed with this key. ssh2 hands out signatures of plain keys without their type, and those of
 * ECDSA as DER; those of certificates it leaves as they came.
 */
const isSignatureGood = (
  { blob, hashAlgo, signature }: PublicKeyAuthContext,
  key: SshPublicKey,
  isCertificate: boolean
): boolean => {
  if (blob === undefined || signature === undefined) return false
  if (isCertificate) return isSignedBy(key, blob, signature)
  if (key.type === "ssh-rsa") return isSignedBy(key, blob, encodeStrings(`rsa-sha2-${hashAlgo?.slice(3)}`, signature))
  const value = key.type === "ssh-ed25519" ? signature : fromDer(signature)
  return value !== undefined && isSignedBy(key, blob, encodeStrings(key.type, value))
}

/** The two numbers of a DER signature, which is at most 139 bytes, as SSH writes them. */
const fromDer = (der: Uint8Array): Uint8Array | undefined => {
  const numbers: Array<Uint8Array> = []
  let at = der[1] === 0x81 ? 3 : 2
  while (at + 2 <= der.length && der[at] === 0x02) {
    const length = der[at + 1]!
    numbers.push(der.subarray(at + 2, at + 2 + length))
    at += 2 + length
  }
  return numbers.length === 2 && at === der.length ? encodeStrings(...numbers) : undefined
}

/** Whether a request is for a key. */
export const isKeyAttempt = (context: AuthContext): context is PublicKeyAuthContext => context.method === "publickey"
