/**
 * The certificate of the web context: a self-signed P-256 one, because browsers take no Ed25519 certificates.
 *
 * It carries no identity of the node and lives for one start. Fields as in a browser-made WebTransport certificate
 * (RFC 5280): version 3, ecdsa-with-SHA256, subject and issuer CN=alknet, SAN DNS:localhost, 13 days from the given time.
 */
import { generateKeyPairSync, randomBytes, sign } from "node:crypto"
import { toPem } from "../../../protocol/identity/Certificate.ts"
import type { TlsIdentity } from "./Contexts.ts"

/** Browsers accept a certificate that is pinned by its hash for at most 14 days. */
const VALID_MILLIS = 13 * 24 * 3600 * 1000

/** A new key and certificate, valid from `nowMillis` on. */
export const makeWebIdentity = (nowMillis: number): TlsIdentity => {
  const { privateKey, publicKey } = generateKeyPairSync("ec", { namedCurve: "P-256" })
  const serial = randomBytes(16)
  // Positive, and without a leading zero byte.
  serial[0] = (serial[0]! & 0x7f) | 0x40
  const name = sequence(set(sequence(COMMON_NAME, utf8("alknet"))))
  const toBeSigned = sequence(
    tagged(0, der(0x02, Buffer.from([2]))),
    der(0x02, serial),
    ECDSA_SHA256,
    name,
    sequence(time(nowMillis), time(nowMillis + VALID_MILLIS)),
    name,
    publicKey.export({ format: "der", type: "spki" }),
    tagged(3, sequence(sequence(SUBJECT_ALT_NAME, der(0x04, sequence(der(0x82, Buffer.from("localhost")))))))
  )
  const signature = sign("sha256", toBeSigned, privateKey)
  const certificate = sequence(toBeSigned, ECDSA_SHA256, der(0x03, Buffer.from([0]), signature))
  const key = privateKey.export({ format: "pem", type: "pkcs8" }).toString()
  return {
    certificate: new TextEncoder().encode(toPem("CERTIFICATE", certificate)),
    key: new TextEncoder().encode(key)
  }
}

/** One DER element; contents here are below 64 KiB. */
const der = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Buffer => {
  const content = Buffer.concat(parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return Buffer.concat([Buffer.from([tag, ...size]), content])
}

const sequence = (...parts: ReadonlyArray<Uint8Array>) => der(0x30, ...parts)
const set = (...parts: ReadonlyArray<Uint8Array>) => der(0x31, ...parts)
const tagged = (number: number, part: Uint8Array) => der(0xa0 | number, part)
const utf8 = (text: string) => der(0x0c, Buffer.from(text))

/** UTCTime, years 1950 to 2049. */
const time = (millis: number) =>
  der(0x17, Buffer.from(`${new Date(millis).toISOString().slice(2, 19).replace(/[-:T]/g, "")}Z`))

const ECDSA_SHA256 = sequence(Buffer.from("06082a8648ce3d040302", "hex"))
const COMMON_NAME = Buffer.from("0603550403", "hex")
const SUBJECT_ALT_NAME = Buffer.from("0603551d11", "hex")
