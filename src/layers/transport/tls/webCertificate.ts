/**
 * The certificate for clients that are not nodes: P-256, because browsers refuse Ed25519, signed by itself, made at start
 * and never stored. Nobody pins it and it proves nothing; where a name with a CA's certificate is configured that one is
 * used instead.
 *
 * X.509 version 3 (RFC 5280): subject and issuer `CN=alknet`, 2020-01-01 to 9999-12-31 (hides the start time), ecdsa with
 * SHA-256, subjectAltName with `localhost` and the loopback addresses, extKeyUsage serverAuth.
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto"
import { toPem } from "../../../protocol/identity/Certificate.ts"

export interface WebCertificate {
  readonly certPem: string
  readonly keyPem: string
}

export const makeWebCertificate = (): WebCertificate => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const serial = randomBytes(16)
  serial[0] = (serial[0]! & 0x7f) | 0x40
  const name = element(0x30, element(0x31, element(0x30, COMMON_NAME, text(0x0c, "alknet"))))
  const toBeSigned = element(
    0x30,
    element(0xa0, element(0x02, Buffer.of(2))),
    element(0x02, serial),
    ECDSA_SHA256,
    name,
    element(0x30, text(0x17, "200101000000Z"), text(0x18, "99991231235959Z")),
    name,
    publicKey.export({ format: "der", type: "spki" }),
    element(0xa3, element(0x30, BASIC_CONSTRAINTS, SERVER_AUTH, subjectAltName()))
  )
  const signature = sign("sha256", toBeSigned, privateKey)
  const certificate = element(0x30, toBeSigned, ECDSA_SHA256, element(0x03, Buffer.of(0), signature))
  return {
    certPem: toPem("CERTIFICATE", certificate),
    keyPem: privateKey.export({ format: "pem", type: "pkcs8" }).toString()
  }
}

/** A DER element with a length of up to 65,535 bytes. */
const element = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(parts)
  const size = content.length
  const header = size < 0x80 ? [tag, size] : size < 0x100 ? [tag, 0x81, size] : [tag, 0x82, size >> 8, size & 0xff]
  return Buffer.concat([Buffer.from(header), content])
}

const text = (tag: number, value: string) => element(tag, Buffer.from(value, "utf8"))

const subjectAltName = () =>
  element(
    0x30,
    SUBJECT_ALT_NAME,
    element(
      0x04,
      element(
        0x30,
        text(0x82, "localhost"),
        element(0x87, Buffer.of(127, 0, 0, 1)),
        element(0x87, Buffer.concat([Buffer.alloc(15), Buffer.of(1)]))
      )
    )
  )

const ECDSA_SHA256 = Buffer.from("300a06082a8648ce3d040302", "hex")
const COMMON_NAME = Buffer.from("0603550403", "hex")
const SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex")
/** Critical, CA false. */
const BASIC_CONSTRAINTS = Buffer.from("300c0603551d130101ff04023000", "hex")
const SERVER_AUTH = Buffer.from("30130603551d25040c300a06082b06010505070301", "hex")
