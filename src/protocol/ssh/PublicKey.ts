/**
 * SSH public keys in wire form (RFC 4253 section 6.6, RFC 5656, RFC 8709) and their signatures (RFC 8332 for RSA).
 *
 * | type | fields after the type | signatures that count |
 * |---|---|---|
 * | `ssh-ed25519` | 32 bytes | `ssh-ed25519` |
 * | `ecdsa-sha2-nistp256`, `-nistp384`, `-nistp521` | curve, uncompressed point | the same |
 * | `ssh-rsa`, 3072 to 16384 bits | exponent, modulus | `rsa-sha2-256`, `rsa-sha2-512`; never SHA-1 |
 *
 * Other types and broken keys are undefined; nothing here throws.
 */
import { createPublicKey, type JsonWebKey, type KeyObject, verify } from "node:crypto"
import { FieldReader } from "./Fields.ts"

export const RSA_BITS_MIN = 3072
export const RSA_BITS_MAX = 16_384

export interface SshPublicKey {
  readonly type: string
  readonly key: KeyObject
}

interface Curve {
  readonly jwk: string
  readonly bytes: number
  readonly hash: string
}

const CURVES: Readonly<Record<string, Curve>> = {
  nistp256: { jwk: "P-256", bytes: 32, hash: "sha256" },
  nistp384: { jwk: "P-384", bytes: 48, hash: "sha384" },
  nistp521: { jwk: "P-521", bytes: 66, hash: "sha512" }
}

const curveOf = (type: string): Curve | undefined => CURVES[/^ecdsa-sha2-(nistp\d+)$/.exec(type)?.[1] ?? ""]

const base64url = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64url")

/** How many fields a key of this type has after its type; undefined for a type that is not known. */
export const fieldsOfKeyType = (type: string): number | undefined => {
  if (type === "ssh-ed25519") return 1
  return type === "ssh-rsa" || curveOf(type) !== undefined ? 2 : undefined
}

export const parsePublicKey = (blob: Uint8Array): SshPublicKey | undefined => {
  const reader = new FieldReader(blob)
  const type = reader.text()
  const count = type === undefined ? undefined : fieldsOfKeyType(type)
  if (type === undefined || count === undefined) return undefined
  const fields = Array.from({ length: count }, () => reader.string())
  if (!reader.isAtEnd) return undefined
  const jwk = jwkOf(type, fields)
  if (jwk === undefined) return undefined
  try {
    const key = createPublicKey({ key: jwk, format: "jwk" })
    const bits = key.asymmetricKeyDetails?.modulusLength
    return bits !== undefined && (bits < RSA_BITS_MIN || bits > RSA_BITS_MAX) ? undefined : { type, key }
  } catch {
    return undefined
  }
}

const jwkOf = (type: string, fields: ReadonlyArray<Uint8Array | undefined>): JsonWebKey | undefined => {
  const [first, second] = fields
  if (type === "ssh-ed25519")
    return first?.length === 32 ? { kty: "OKP", crv: "Ed25519", x: base64url(first) } : undefined
  if (first === undefined || second === undefined) return undefined
  if (type === "ssh-rsa") return { kty: "RSA", e: base64url(unsigned(first)), n: base64url(unsigned(second)) }
  const curve = curveOf(type)
  if (curve === undefined || second[0] !== 4 || second.length !== 1 + 2 * curve.bytes) return undefined
  if (Buffer.from(first).toString("latin1") !== type.slice("ecdsa-sha2-".length)) return undefined
  return {
    kty: "EC",
    crv: curve.jwk,
    x: base64url(second.subarray(1, 1 + curve.bytes)),
    y: base64url(second.subarray(1 + curve.bytes))
  }
}

/** A positive mpint without its leading zeros. */
const unsigned = (mpint: Uint8Array): Uint8Array => {
  let at = 0
  while (at < mpint.length && mpint[at] === 0) at++
  return mpint.subarray(at)
}

/** Whether this is the key's signature over the data; `signature` in wire form: its type, then its value. */
export const isSignedBy = ({ key, type }: SshPublicKey, data: Uint8Array, signature: Uint8Array): boolean => {
  const reader = new FieldReader(signature)
  const algorithm = reader.text()
  const value = reader.string()
  if (algorithm === undefined || value === undefined || !reader.isAtEnd) return false
  try {
    if (type === "ssh-ed25519") return algorithm === type && verify(null, data, key, value)
    if (type === "ssh-rsa") {
      const hash = algorithm === "rsa-sha2-256" ? "sha256" : algorithm === "rsa-sha2-512" ? "sha512" : undefined
      return hash !== undefined && verify(hash, data, key, value)
    }
    const curve = curveOf(type)
    const plain = curve === undefined ? undefined : fixedWidth(value, curve.bytes)
    if (curve === undefined || plain === undefined || algorithm !== type) return false
    return verify(curve.hash, data, { key, dsaEncoding: "ieee-p1363" }, plain)
  } catch {
    return false
  }
}

/** The two numbers of an ECDSA signature, side by side. */
const fixedWidth = (value: Uint8Array, width: number): Uint8Array | undefined => {
  const reader = new FieldReader(value)
  const numbers = [reader.string(), reader.string()]
  const out = new Uint8Array(2 * width)
  for (const [index, number] of numbers.entries()) {
    const plain = number === undefined ? undefined : unsigned(number)
    if (plain === undefined || plain.length > width) return undefined
    out.set(plain, (index + 1) * width - plain.length)
  }
  return reader.isAtEnd ? out : undefined
}
