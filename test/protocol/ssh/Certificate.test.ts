import { assert, it } from "@effect/vitest"
import { flawOfCertificate, parseUserCertificate, type UserCertificate } from "../../../src/protocol/ssh/Certificate.ts"
import vectors from "../../vectors/ssh-certificates.json" with { type: "json" }

type Name = keyof typeof vectors.certificates

const bytesOf = (name: Name) => Buffer.from(vectors.certificates[name], "base64")
const keyOf = (name: keyof typeof vectors.keys) => vectors.keys[name]

const parse = (name: Name): UserCertificate => {
  const certificate = parseUserCertificate(bytesOf(name))
  assert.isDefined(certificate, name)
  return certificate!
}

const SUMMER = Date.UTC(2026, 6, 1) / 1000
const use = { user: "alice", address: undefined, nowSeconds: SUMMER }

const kinds = ["ed25519", "ecdsa", "rsa"] as const

it("certificates of every kind of key, signed by every kind of authority, are what ssh-keygen wrote", () => {
  for (const authority of kinds) {
    for (const user of kinds) {
      const certificate = parse(`${authority}-signs-${user}`)
      assert.strictEqual(Buffer.from(certificate.authorityBlob).toString("base64"), keyOf(`ca_${authority}`))
      assert.strictEqual(Buffer.from(certificate.keyBlob).toString("base64"), keyOf(`user_${user}`))
      assert.deepStrictEqual(certificate.principals, ["alice", "bob"])
      assert.strictEqual(certificate.serial, 7n)
      assert.strictEqual(certificate.keyId, `${authority}-signs-${user}`)
      assert.isTrue(certificate.mayUsePty && certificate.mayForward)
      assert.isUndefined(certificate.forceCommand)
      assert.isUndefined(flawOfCertificate(certificate, use))
    }
  }
})

it("options and cleared extensions are read", () => {
  const certificate = parse("restricted")
  assert.strictEqual(certificate.forceCommand, "echo forced")
  assert.deepStrictEqual(certificate.sourceAddresses, ["10.0.0.0/8", "2001:db8::/32"])
  assert.isFalse(certificate.mayUsePty)
  assert.isFalse(certificate.mayForward)
})

it("a certificate is good in its time, for its users, from its addresses", () => {
  const certificate = parse("ed25519-signs-ed25519")
  const { validAfter, validBefore } = certificate
  assert.strictEqual(validAfter, BigInt(Date.UTC(2026, 0, 1) / 1000))
  const at = (seconds: bigint) => flawOfCertificate(certificate, { ...use, nowSeconds: Number(seconds) })
  assert.strictEqual(at(validAfter - 1n), "expired")
  assert.isUndefined(at(validAfter))
  assert.isUndefined(at(validBefore - 1n))
  assert.strictEqual(at(validBefore), "expired")
  assert.strictEqual(flawOfCertificate(certificate, { ...use, user: "eve" }), "mismatch")
  assert.strictEqual(flawOfCertificate(certificate, { ...use, user: "" }), "mismatch")
  assert.strictEqual(flawOfCertificate(parse("no-principals"), use), "mismatch")
  const from = (address: string | undefined) => flawOfCertificate(parse("restricted"), { ...use, address })
  for (const address of ["10.1.2.3", "::ffff:10.1.2.3", "2001:db8::1"]) assert.isUndefined(from(address), address)
  for (const address of ["11.1.2.3", "2001:db9::1", undefined, "x"]) assert.strictEqual(from(address), "mismatch")
})

it("host certificates, unknown critical options and SHA-1 signatures are refused", () => {
  for (const name of ["host", "unknown-option", "sha1"] as const) {
    assert.isUndefined(parseUserCertificate(bytesOf(name)), name)
  }
})

it("a certificate that was changed in any byte, cut, or lengthened is refused", () => {
  const good = bytesOf("restricted")
  for (let at = 0; at < good.length; at++) {
    const changed = Buffer.from(good)
    changed[at]! ^= 1
    assert.isUndefined(parseUserCertificate(changed), `byte ${at}`)
    assert.isUndefined(parseUserCertificate(good.subarray(0, at)), `cut at ${at}`)
  }
  assert.isUndefined(parseUserCertificate(Buffer.concat([good, Buffer.from([0])])))
})
