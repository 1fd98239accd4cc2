/**
 * Fingerprints: the two text forms in which a credential is pinned (identity.md section 1).
 *
 * - `ed25519:` and 64 lower-case hex digits of an Ed25519 public key, wherever the key came from (ID-R04);
 * - `SHA256:` and 64 lower-case hex digits: of the leaf certificate's DER, or of another SSH key's wire form (ID-R05).
 *
 * Parsing is strict and case-sensitive; printing gives the same text. `sha256:` in lower case marks the hash of a token
 * and is never a fingerprint.
 */
import { createHash, type KeyObject, X509Certificate } from "node:crypto"
import { bytesToHex } from "@noble/hashes/utils.js"
import { Result, Schema } from "effect"
import { CERTIFICATE_MAX_BYTES, peerKeyOfCertificate } from "./Certificate.ts"
import { type NodeId, nodeIdFromBytes, nodeIdToBytes } from "./NodeId.ts"

export const Fingerprint = Schema.String.check(Schema.isPattern(/^(?:ed25519|SHA256):[0-9a-f]{64}$/)).pipe(
  Schema.brand("Fingerprint")
)
export type Fingerprint = typeof Fingerprint.Type

/** Longest SSH public key in wire form that is looked at, in bytes: more than an RSA key of 16384 bits. */
export const SSH_KEY_MAX_BYTES = 4096

export class FingerprintInvalid extends Schema.TaggedError<FingerprintInvalid>()("FingerprintInvalid", {
  reason: Schema.Literals(["text", "size", "encoding", "key"])
}) {
  override get message() {
    return this.reason === "text"
      ? "not a fingerprint (ed25519: or SHA256: and 64 lower-case hex digits)"
      : `no fingerprint can be made of this credential (${this.reason})`
  }
}

/** The fingerprint of a node's key. */
export const fingerprintOfNode = (nodeId: NodeId): Fingerprint => {
  const known = fingerprints.get(nodeId)
  if (known !== undefined) return known
  const fingerprint = `ed25519:${bytesToHex(nodeIdToBytes(nodeId))}` as Fingerprint
  if (fingerprints.size >= FINGERPRINTS_MAX) fingerprints.clear()
  fingerprints.set(nodeId, fingerprint)
  return fingerprint
}

/** What was asked for before: every request of a peer looks its key up again. */
const fingerprints = new Map<NodeId, Fingerprint>()
const FINGERPRINTS_MAX = 4096

/** The node whose key a fingerprint is; undefined for the `SHA256:` form and for a key that no node may have. */
export const nodeOfFingerprint = (fingerprint: Fingerprint): NodeId | undefined =>
  fingerprint.startsWith("ed25519:")
    ? Result.getOrUndefined(nodeIdFromBytes(Buffer.from(fingerprint.slice(8), "hex")))
    : undefined

/** Reads the text form; an `ed25519:` key is checked like a NodeId (ID-R01). */
export const fingerprintFromText = (text: string): Result.Result<Fingerprint, FingerprintInvalid> => {
  if (!Schema.is(Fingerprint)(text)) return refuse("text")
  return text.startsWith("ed25519:") && nodeOfFingerprint(text) === undefined ? refuse("key") : Result.succeed(text)
}

/** The fingerprint of a leaf certificate: of its key where that is Ed25519, else of the whole DER. */
export const fingerprintOfCertificate = (der: Uint8Array): Result.Result<Fingerprint, FingerprintInvalid> => {
  if (der.length === 0 || der.length > CERTIFICATE_MAX_BYTES) return refuse("size")
  const nodeId = peerKeyOfCertificate(der)
  if (Result.isSuccess(nodeId)) return Result.succeed(fingerprintOfNode(nodeId.success))
  // An Ed25519 key that is no node key is refused: it must not come in again through the other form.
  const key = keyOfCertificate(der)
  if (key === undefined) return refuse("encoding")
  return key.asymmetricKeyType === "ed25519" ? refuse("key") : Result.succeed(sha256Of(der))
}

/**
 * The fingerprint of an SSH public key in wire form (RFC 4253 section 6.6): an `ssh-ed25519` key is the same as a node's
 * key; for every other type it is the value that OpenSSH prints in base64.
 */
export const fingerprintOfSshKey = (blob: Uint8Array): Result.Result<Fingerprint, FingerprintInvalid> => {
  if (blob.length > SSH_KEY_MAX_BYTES) return refuse("size")
  const type = readString(blob, 0)
  if (type === undefined || type.length === 0) return refuse("encoding")
  if (Buffer.from(type).toString("latin1") !== "ssh-ed25519") return Result.succeed(sha256Of(blob))
  const key = readString(blob, 4 + type.length)
  if (key === undefined || key.length !== 32 || 8 + type.length + key.length !== blob.length) return refuse("encoding")
  return Result.match(nodeIdFromBytes(key), {
    onFailure: () => refuse("key"),
    onSuccess: (nodeId) => Result.succeed(fingerprintOfNode(nodeId))
  })
}

const refuse = (reason: FingerprintInvalid["reason"]): Result.Result<never, FingerprintInvalid> =>
  Result.fail(new FingerprintInvalid({ reason }))

const sha256Of = (bytes: Uint8Array): Fingerprint =>
  `SHA256:${createHash("sha256").update(bytes).digest("hex")}` as Fingerprint

const keyOfCertificate = (der: Uint8Array): KeyObject | undefined => {
  try {
    return new X509Certificate(der).publicKey
  } catch {
    return undefined
  }
}

/** An SSH string: 4 bytes of length, then that many bytes. */
const readString = (blob: Uint8Array, offset: number): Uint8Array | undefined => {
  if (offset + 4 > blob.length) return undefined
  const length = new DataView(blob.buffer, blob.byteOffset).getUint32(offset)
  return length <= blob.length - offset - 4 ? blob.subarray(offset + 4, offset + 4 + length) : undefined
}
