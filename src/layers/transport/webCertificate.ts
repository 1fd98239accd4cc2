/**
 * The certificate for clients that are not nodes: P-256, because browsers refuse Ed25519, signed by itself, made at start
 * and never stored. It carries no identity of the node; nobody pins it for long and it proves nothing. Where a name with a
 * CA's certificate is configured, that one is used instead.
 *
 * X.509 version 3 (RFC 5280): subject and issuer `CN=alknet`, ecdsa with SHA-256, CA false, extKeyUsage serverAuth,
 * subjectAltName with `localhost` and the loopback addresses.
 *
 * | `life` | dates | for |
 * |---|---|---|
 * | `always` | 2020-01-01 to 9999-12-31: hides the start time | TLS |
 * | `fortnight` | 13 days from the given time | QUIC: browsers take a certificate pinned by its hash for at most 14 days |
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto"
import {
  der,
  derBits,
  derInteger,
  derOctets,
  derSequence,
  derSerial,
  derSet,
  derTagged,
  derText
} from "../../protocol/Der.ts"
import { toPem } from "../../protocol/identity/Certificate.ts"

/** Both PEM. */
export interface WebCertificate {
  readonly certPem: string
  readonly keyPem: string
}

export type Life = { readonly kind: "always" } | { readonly kind: "fortnight"; readonly fromMillis: number }

const FORTNIGHT_MILLIS = 13 * 24 * 3600 * 1000

export const makeWebCertificate = (life: Life): WebCertificate => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const name = derSequence(derSet(derSequence(COMMON_NAME, derText(0x0c, "alknet"))))
  const toBeSigned = derSequence(
    derTagged(0, derInteger(Uint8Array.of(2))),
    derSerial(randomBytes(16)),
    ECDSA_SHA256,
    name,
    validity(life),
    name,
    publicKey.export({ format: "der", type: "spki" }),
    derTagged(3, derSequence(BASIC_CONSTRAINTS, SERVER_AUTH, derSequence(SUBJECT_ALT_NAME, derOctets(LOOPBACK_NAMES))))
  )
  const certificate = derSequence(toBeSigned, ECDSA_SHA256, derBits(sign("sha256", toBeSigned, privateKey)))
  return {
    certPem: toPem("CERTIFICATE", certificate),
    keyPem: privateKey.export({ format: "pem", type: "pkcs8" }).toString()
  }
}

const validity = (life: Life): Uint8Array =>
  life.kind === "always"
    ? derSequence(derText(0x17, "200101000000Z"), derText(0x18, "99991231235959Z"))
    : derSequence(utcTime(life.fromMillis), utcTime(life.fromMillis + FORTNIGHT_MILLIS))

/** Years 1950 to 2049. */
const utcTime = (millis: number) =>
  derText(0x17, `${new Date(millis).toISOString().slice(2, 19).replace(/[-:T]/g, "")}Z`)

const ECDSA_SHA256 = Buffer.from("300a06082a8648ce3d040302", "hex")
const COMMON_NAME = Buffer.from("0603550403", "hex")
const SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex")
/** Critical, CA false. */
const BASIC_CONSTRAINTS = Buffer.from("300c0603551d130101ff04023000", "hex")
const SERVER_AUTH = Buffer.from("30130603551d25040c300a06082b06010505070301", "hex")
const LOOPBACK_NAMES = derSequence(
  derText(0x82, "localhost"),
  der(0x87, Uint8Array.of(127, 0, 0, 1)),
  der(
    0x87,
    Uint8Array.from({ length: 16 }, (_, index) => (index === 15 ? 1 : 0))
  )
)
