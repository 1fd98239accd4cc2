/**
 * OpenSSH user certificates (PROTOCOL.certkeys): a public key that an authority has signed, with what its holder may do.
 *
 * ```
 * certificate = type ‖ nonce ‖ fields of the key ‖ serial (8) ‖ kind (4) ‖ key id ‖ principals ‖ valid after (8)
 *               ‖ valid before (8) ‖ critical options ‖ extensions ‖ reserved ‖ key of the authority ‖ signature
 * ```
 *
 * Everything but numbers is a string. The signature covers all that is before it. A critical option that is not known refuses
 * the certificate, an extension that is not known is nothing. Unlike plain OpenSSH, a certificate without principals is good
 * for nobody.
 */
import { addressBytes, isInBlock, parseBlock } from "../forward/AddressClass.ts"
import { encodeStrings, FieldReader, stringsOf, textOf } from "./Fields.ts"
import { fieldsOfKeyType, isSignedBy, parsePublicKey, type SshPublicKey } from "./PublicKey.ts"

const SUFFIX = "-cert-v01@openssh.com"
const USER = 1
/** Largest certificate that is looked at, in bytes. */
export const SSH_CERTIFICATE_MAX_BYTES = 16_384
/** Most principals of a certificate; OpenSSH's own limit. */
const PRINCIPALS_MAX = 256

export interface UserCertificate {
  /** The certified key, in wire form and parsed. */
  readonly keyBlob: Uint8Array
  readonly key: SshPublicKey
  readonly keyId: string
  readonly serial: bigint
  /** Names of users that it is good for. */
  readonly principals: ReadonlyArray<string>
  /** Unix seconds: good from the first on, until before the second. */
  readonly validAfter: bigint
  readonly validBefore: bigint
  readonly forceCommand: string | undefined
  /** Addresses and blocks that it may be used from; undefined: all. */
  readonly sourceAddresses: ReadonlyArray<string> | undefined
  readonly mayUsePty: boolean
  readonly mayForward: boolean
  /** Key of the authority that signed it, in wire form. */
  readonly authorityBlob: Uint8Array
}

/** Whether a key algorithm is that of a certificate. */
export const isCertificateAlgorithm = (algorithm: string): boolean => algorithm.endsWith(SUFFIX)

/** A user certificate whose signature is good; what the authority is worth and whether it is valid now is not asked here. */
export const parseUserCertificate = (blob: Uint8Array): UserCertificate | undefined => {
  if (blob.length > SSH_CERTIFICATE_MAX_BYTES) return undefined
  const reader = new FieldReader(blob)
  const certificateType = reader.text()
  if (certificateType === undefined || !isCertificateAlgorithm(certificateType)) return undefined
  const type = certificateType.slice(0, -SUFFIX.length)
  const count = fieldsOfKeyType(type)
  reader.string()
  if (count === undefined) return undefined
  const fields = Array.from({ length: count }, () => reader.string() ?? new Uint8Array(0))
  const serial = reader.uint64()
  const kind = reader.uint32()
  const keyId = reader.text()
  const principals = texts(reader.string())
  const validAfter = reader.uint64()
  const validBefore = reader.uint64()
  const critical = optionsOf(reader.string())
  const extensions = optionsOf(reader.string())
  reader.string()
  const authorityBlob = reader.string()
  const signed = reader.offset
  const signature = reader.string()
  if (kind !== USER || !reader.isAtEnd || serial === undefined || keyId === undefined) return undefined
  if (principals === undefined || principals.length > PRINCIPALS_MAX) return undefined
  if (validAfter === undefined || validBefore === undefined || critical === undefined || extensions === undefined) {
    return undefined
  }
  if (authorityBlob === undefined || signature === undefined) return undefined
  const limits = limitsOf(critical)
  const keyBlob = encodeStrings(type, ...fields)
  const key = parsePublicKey(keyBlob)
  const authority = parsePublicKey(authorityBlob)
  if (limits === undefined || key === undefined || authority === undefined) return undefined
  if (!isSignedBy(authority, blob.subarray(0, signed), signature)) return undefined
  return {
    ...limits,
    ...{ keyBlob, key, keyId, serial, principals, validAfter, validBefore, authorityBlob },
    mayUsePty: extensions.has("permit-pty"),
    mayForward: extensions.has("permit-port-forwarding")
  }
}

/** Whether it is good for this user name, from this address, at this time. Undefined: yes. */
export const flawOfCertificate = (
  certificate: UserCertificate,
  use: { readonly user: string; readonly address: string | undefined; readonly nowSeconds: number }
): "expired" | "mismatch" | undefined => {
  const now = BigInt(Math.floor(use.nowSeconds))
  if (now < certificate.validAfter || now >= certificate.validBefore) return "expired"
  if (!certificate.principals.includes(use.user)) return "mismatch"
  if (certificate.sourceAddresses === undefined) return undefined
  const address = use.address === undefined ? undefined : addressBytes(plainAddress(use.address))
  if (address === undefined) return "mismatch"
  const isInside = certificate.sourceAddresses.some((text) => {
    const block = parseBlock(text)
    return block !== undefined && isInBlock(address, block)
  })
  return isInside ? undefined : "mismatch"
}

/** An IPv4 address that came in over IPv6 is that IPv4 address. */
const plainAddress = (address: string): string => address.split("%", 1)[0]!.replace(/^::ffff:(?=\d+\.)/i, "")

const texts = (bytes: Uint8Array | undefined): ReadonlyArray<string> | undefined => {
  const found = bytes === undefined ? undefined : stringsOf(bytes)?.map(textOf)
  return found?.every((text) => text !== undefined) === true ? found : undefined
}

/** Names and their data, in the order of the wire; a name that comes twice is a flaw. */
const optionsOf = (bytes: Uint8Array | undefined): ReadonlyMap<string, Uint8Array> | undefined => {
  const strings = bytes === undefined ? undefined : stringsOf(bytes)
  if (strings === undefined || strings.length % 2 !== 0) return undefined
  const options = new Map<string, Uint8Array>()
  for (let at = 0; at < strings.length; at += 2) {
    const name = textOf(strings[at]!)
    if (name === undefined || options.has(name)) return undefined
    options.set(name, strings[at + 1]!)
  }
  return options
}

const limitsOf = (
  critical: ReadonlyMap<string, Uint8Array>
): Pick<UserCertificate, "forceCommand" | "sourceAddresses"> | undefined => {
  let forceCommand: string | undefined
  let sourceAddresses: ReadonlyArray<string> | undefined
  for (const [name, data] of critical) {
    const [text, ...more] = texts(data) ?? []
    if (text === undefined || more.length > 0) return undefined
    if (name === "force-command") forceCommand = text
    else if (name === "source-address") sourceAddresses = text.split(",").map((one) => one.trim())
    else return undefined
  }
  return { forceCommand, sourceAddresses }
}
