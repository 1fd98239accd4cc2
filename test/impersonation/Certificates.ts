/**
 * Certificates that our own nodes never make: other keys, dates, names and signatures, to show what decides and what does
 * not. All are X.509 v3 in DER, put together by hand.
 */
import { join, type Part, uint } from "./Bytes.ts"

export interface CertificateOptions {
  /** SubjectPublicKeyInfo in DER. */
  readonly spki: Uint8Array
  /** Default: zeros, which is nobody's signature. */
  readonly signature?: Uint8Array
  /** UTCTime. Default: 200101000000Z. */
  readonly notBefore?: string
  /** UTCTime. Default: 490101000000Z. */
  readonly notAfter?: string
  /** DNS name of the subjectAltName. Default: none. */
  readonly name?: string
  /** Size of an extension that nobody knows. */
  readonly ballastBytes?: number
}

const ED25519 = Buffer.from("300506032b6570", "hex")
const COMMON_NAME = Buffer.from("0603550403", "hex")
const SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex")
/** An arc for examples, 2.999. */
const UNKNOWN_EXTENSION = Buffer.from("06028837", "hex")

const element = (tag: number, ...parts: ReadonlyArray<Part>): Uint8Array => {
  const body = join(...parts)
  const size = body.length
  return join([tag], size < 0x80 ? [size] : size < 0x100 ? [0x81, size] : [0x82, ...uint(2, size)], body)
}
const text = (tag: number, value: string) => element(tag, Buffer.from(value, "latin1"))
const sequence = (...parts: ReadonlyArray<Part>) => element(0x30, ...parts)

/** SubjectPublicKeyInfo of an Ed25519 key that may be any 32 bytes. */
export const ed25519Spki = (key: Uint8Array): Uint8Array => join(Buffer.from("302a300506032b6570032100", "hex"), key)

export const makeCertificate = (options: CertificateOptions): Uint8Array => {
  const name = sequence(element(0x31, sequence(COMMON_NAME, text(0x0c, "somebody"))))
  const extensions = [
    ...(options.name === undefined
      ? []
      : [sequence(SUBJECT_ALT_NAME, element(0x04, sequence(text(0x82, options.name))))]),
    sequence(UNKNOWN_EXTENSION, element(0x04, new Uint8Array(options.ballastBytes ?? 1)))
  ]
  const toBeSigned = sequence(
    element(0xa0, [0x02, 1, 2]),
    [0x02, 2, 0x42, 0x42],
    ED25519,
    name,
    sequence(text(0x17, options.notBefore ?? "200101000000Z"), text(0x17, options.notAfter ?? "490101000000Z")),
    name,
    options.spki,
    element(0xa3, sequence(...extensions))
  )
  return sequence(toBeSigned, ED25519, element(0x03, [0], options.signature ?? new Uint8Array(64)))
}
