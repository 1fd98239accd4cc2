/**
 * The certificate in which a node's key travels, and how the key comes out of one (identity.md section 2, ID-R13).
 *
 * Neither TLS stack offers raw public keys (RFC 7250), so each node signs an X.509 certificate for itself at start-up. It
 * only carries the key: trust, names, dates and its own signature decide nothing (ID-R14).
 *
 * | field (RFC 5280 section 4.1) | value (ID-R08) |
 * |---|---|
 * | version, serial | 3; 16 random bytes, positive |
 * | signature | Ed25519 (RFC 8410) |
 * | issuer, subject | CN=<nodeid> |
 * | validity | 2020-01-01T00:00:00Z to 9999-12-31T23:59:59Z: hides the start time, needs no clock |
 * | subjectPublicKeyInfo | 44 bytes: 302a300506032b6570032100, 32-byte key |
 * | basicConstraints (critical) | CA false |
 * | keyUsage (critical) | digitalSignature |
 * | extKeyUsage | serverAuth, clientAuth |
 * | subjectAltName | DNS <nodeid>.alknet.invalid |
 *
 * Reading takes at most 4096 bytes of strict DER; anything else is `CertificateInvalid`.
 */
import { hexToBytes } from "@noble/hashes/utils.js"
import { Result, Schema } from "effect"
import { derBits, derInteger, derOctets, derSequence, derSerial, derSet, derTagged, derText, joined } from "../Der.ts"
import { type NodeId, nodeIdFromBytes, nodeIdToBytes } from "./NodeId.ts"

/** SNI of every dial between nodes, and the suffix of the SAN (ID-R11): a constant, so that no NodeId travels in clear. */
export const NODE_SERVER_NAME = "alknet.invalid"

/** Longest leaf certificate that is looked at, in bytes (ID-R13). */
export const CERTIFICATE_MAX_BYTES = 4096

export class CertificateInvalid extends Schema.TaggedError<CertificateInvalid>()("CertificateInvalid", {
  reason: Schema.Literals(["size", "encoding", "key"])
}) {
  override get message() {
    return `not a node certificate (${this.reason})`
  }
}

/**
 * The DER bytes of a node certificate.
 *
 * `serial` is 16 random bytes; `sign` gives the 64-byte Ed25519 signature of the node's key over its argument.
 */
export const encodeNodeCertificate = (options: {
  readonly nodeId: NodeId
  readonly serial: Uint8Array
  readonly sign: (toBeSigned: Uint8Array) => Uint8Array
}): Uint8Array => {
  const name = derSequence(derSet(derSequence(COMMON_NAME, derText(0x0c, options.nodeId))))
  const toBeSigned = derSequence(
    derTagged(0, derInteger(Uint8Array.of(2))),
    derSerial(options.serial),
    ED25519,
    name,
    derSequence(derText(0x17, "200101000000Z"), derText(0x18, "99991231235959Z")),
    name,
    joined(SPKI_PREFIX, nodeIdToBytes(options.nodeId)),
    derTagged(3, derSequence(BASIC_CONSTRAINTS, KEY_USAGE, EXTENDED_KEY_USAGE, subjectAltName(options.nodeId)))
  )
  return derSequence(toBeSigned, ED25519, derBits(options.sign(toBeSigned)))
}

/** The node key inside a leaf certificate. Nothing but the key is looked at. */
export const peerKeyOfCertificate = (der: Uint8Array): Result.Result<NodeId, CertificateInvalid> => {
  if (der.length === 0 || der.length > CERTIFICATE_MAX_BYTES) return invalid("size")
  const certificate = readElement(der, 0, der.length, 0x30)
  if (certificate === undefined || certificate.end !== der.length) return invalid("encoding")
  const body = readElement(der, certificate.start, certificate.end, 0x30)
  if (body === undefined) return invalid("encoding")
  let offset = body.start
  // version, serial, signature algorithm, issuer, validity, subject: skipped by their tags.
  for (const tag of [0xa0, 0x02, 0x30, 0x30, 0x30, 0x30]) {
    const element = readElement(der, offset, body.end, tag)
    if (element === undefined) return invalid("encoding")
    offset = element.end
  }
  const spki = readElement(der, offset, body.end, 0x30)
  if (spki === undefined) return invalid("encoding")
  const key = publicKeyOfSpki(der.subarray(offset, spki.end))
  if (key === undefined) return invalid("key")
  const nodeId = nodeIdFromBytes(key)
  return Result.isSuccess(nodeId) ? Result.succeed(nodeId.success) : invalid("key")
}

/** PEM text of DER bytes (RFC 7468). */
export const toPem = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${base64Lines(der)}\n-----END ${label}-----\n`

/** The 32 key bytes of a 44-byte Ed25519 SubjectPublicKeyInfo (RFC 8410 section 4), else undefined. */
const publicKeyOfSpki = (spki: Uint8Array): Uint8Array | undefined =>
  spki.length === SPKI_PREFIX.length + 32 && SPKI_PREFIX.every((byte, index) => spki[index] === byte)
    ? spki.slice(SPKI_PREFIX.length)
    : undefined

const invalid = (reason: CertificateInvalid["reason"]) => Result.fail(new CertificateInvalid({ reason }))

interface Element {
  readonly start: number
  readonly end: number
}

/** One DER element with this tag: where its content starts and ends. Lengths are minimal and inside `limit`. */
const readElement = (der: Uint8Array, offset: number, limit: number, tag: number): Element | undefined => {
  if (offset + 2 > limit || der[offset] !== tag) return undefined
  const first = der[offset + 1]!
  if (first < 0x80) return within(offset + 2, first, limit)
  const count = first & 0x7f
  if (count < 1 || count > 2 || offset + 2 + count > limit) return undefined
  const length = count === 1 ? der[offset + 2]! : (der[offset + 2]! << 8) | der[offset + 3]!
  if (length < (count === 1 ? 0x80 : 0x100)) return undefined
  return within(offset + 2 + count, length, limit)
}

const within = (start: number, length: number, limit: number): Element | undefined =>
  start + length <= limit ? { start, end: start + length } : undefined

const subjectAltName = (nodeId: NodeId) =>
  derSequence(hexToBytes("0603551d11"), derOctets(derSequence(derText(0x82, `${nodeId}.${NODE_SERVER_NAME}`))))

const SPKI_PREFIX = hexToBytes("302a300506032b6570032100")
const ED25519 = hexToBytes("300506032b6570")
const COMMON_NAME = hexToBytes("0603550403")
const BASIC_CONSTRAINTS = hexToBytes("300c0603551d130101ff04023000")
const KEY_USAGE = hexToBytes("300e0603551d0f0101ff040403020780")
const EXTENDED_KEY_USAGE = hexToBytes("301d0603551d250416301406082b0601050507030106082b06010505070302")

const base64Lines = (bytes: Uint8Array): string =>
  btoa(String.fromCharCode(...bytes))
    .match(/.{1,64}/g)!
    .join("\n")
