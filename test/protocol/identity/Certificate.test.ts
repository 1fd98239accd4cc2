import { execFileSync } from "node:child_process"
import { generateKeyPairSync, sign, X509Certificate } from "node:crypto"
import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { encodeNodeCertificate, peerKeyOfCertificate } from "../../../src/protocol/identity/Certificate.ts"
import { nodeIdFromBytes } from "../../../src/protocol/identity/NodeId.ts"

const { privateKey, publicKey } = generateKeyPairSync("ed25519")
const raw = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url")
const nodeId = Result.getOrThrow(nodeIdFromBytes(raw))
const certificate = (serial: Uint8Array = new Uint8Array(16).fill(0xff)) =>
  encodeNodeCertificate({ nodeId, serial, sign: (bytes) => sign(null, bytes, privateKey) })
const reasonOf = (der: Uint8Array) => {
  const result = peerKeyOfCertificate(der)
  return Result.isFailure(result) ? result.failure.reason : "accepted"
}

it("gives the key that was put in, whatever the serial bytes are", () => {
  for (const first of [0x00, 0x7f, 0x80, 0xff]) {
    const serial = new Uint8Array(16).fill(0)
    serial[0] = first
    const der = certificate(serial)
    assert.strictEqual(Result.getOrThrow(peerKeyOfCertificate(der)), nodeId)
    assert.isTrue(new X509Certificate(der).verify(publicKey))
  }
})

it("ID-010 a wrong signature of the certificate itself does not matter", () => {
  const der = certificate()
  der[der.length - 1]! ^= 1
  assert.strictEqual(reasonOf(der), "accepted")
})

it("ID-011 refuses other key types, large leaves and broken DER", () => {
  const make = (args: ReadonlyArray<string>) =>
    new X509Certificate(
      execFileSync(
        "openssl",
        ["req", "-x509", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x", "-days", "2", ...args],
        {
          stdio: ["ignore", "pipe", "ignore"]
        }
      )
    ).raw
  assert.strictEqual(reasonOf(make(["-newkey", "rsa:2048"])), "key")
  assert.strictEqual(reasonOf(make(["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])), "key")
  assert.strictEqual(reasonOf(make(["-newkey", "ed448"])), "key")
  assert.strictEqual(reasonOf(make(["-newkey", "ed25519"])), "accepted")
  assert.strictEqual(reasonOf(new Uint8Array(5000)), "size")
  assert.strictEqual(reasonOf(new Uint8Array(0)), "size")
  const der = certificate()
  for (let length = 1; length < der.length; length++) assert.strictEqual(reasonOf(der.subarray(0, length)), "encoding")
  assert.strictEqual(reasonOf(Buffer.concat([der, Buffer.of(0)])), "encoding")
})

it("never throws and never gives another key, whatever bytes change", () => {
  const der = certificate()
  fc.assert(
    fc.property(fc.nat(der.length - 1), fc.nat(255), (offset, byte) => {
      const changed = Uint8Array.from(der)
      changed[offset] = byte
      const result = peerKeyOfCertificate(changed)
      const key = Buffer.from(der).indexOf(raw)
      if (Result.isSuccess(result) && (offset < key || offset >= key + 32)) assert.strictEqual(result.success, nodeId)
    }),
    { numRuns: 2000 }
  )
  fc.assert(fc.property(fc.uint8Array({ maxLength: 5000 }), (bytes) => reasonOf(bytes) !== "accepted"))
})
