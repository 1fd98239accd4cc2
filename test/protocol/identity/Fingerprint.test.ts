import { execFileSync } from "node:child_process"
import { X509Certificate } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import { Effect, Result } from "effect"
import {
  fingerprintFromText,
  fingerprintOfCertificate,
  fingerprintOfNode,
  fingerprintOfSshKey,
  nodeOfFingerprint
} from "../../../src/protocol/identity/Fingerprint.ts"
import { nodeIdFromBytes } from "../../../src/protocol/identity/NodeId.ts"
import { temporaryDirectory } from "../../layers/store/TemporaryDirectory.ts"
import { refusedKeys, vectors } from "./Vectors.ts"

const digits = vectors.nodeId.cases[0]!.publicKey

it("ID-004 only the two forms parse, and they print unchanged", () => {
  const broken = [
    `ED25519:${digits}`,
    `sha256:${digits}`,
    `Sha256:${digits}`,
    `ed25519:${digits.toUpperCase()}`,
    `SHA256:${digits.slice(1)}`,
    `SHA256:${digits}0`,
    digits,
    `ed25519:${digits}\n`,
    ` SHA256:${digits}`,
    `SHA256:${digits.slice(0, -1)}g`,
    ""
  ]
  for (const text of broken) assert.isTrue(Result.isFailure(fingerprintFromText(text)), text)
  for (const text of [`ed25519:${digits}`, `SHA256:${digits}`]) {
    assert.strictEqual(Result.getOrThrow(fingerprintFromText(text)), text)
  }
})

const sshString = (bytes: Uint8Array): Buffer => {
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
const sshEd25519 = (key: Uint8Array) => Buffer.concat([sshString(Buffer.from("ssh-ed25519")), sshString(key)])

it("ID-005 an ssh-ed25519 key has the fingerprint of the node with this key", () => {
  for (const { publicKey, fingerprint, nodeId } of vectors.nodeId.cases) {
    const found = Result.getOrThrow(fingerprintOfSshKey(sshEd25519(hexToBytes(publicKey))))
    assert.strictEqual(found, fingerprint)
    assert.strictEqual(nodeOfFingerprint(found), nodeId)
  }
})

it.live("ID-005 other SSH keys have the hash that ssh-keygen -l prints in base64", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    for (const [type, bits] of [
      ["rsa", "2048"],
      ["ecdsa", "256"]
    ] as const) {
      const file = join(directory, type)
      execFileSync("ssh-keygen", ["-q", "-t", type, "-b", bits, "-N", "", "-f", file])
      const blob = Buffer.from(readFileSync(`${file}.pub`, "utf8").split(" ")[1]!, "base64")
      const printed = execFileSync("ssh-keygen", ["-l", "-f", `${file}.pub`], { encoding: "utf8" })
      const base64 = /SHA256:(\S+)/.exec(printed)![1]!
      const expected = `SHA256:${Buffer.from(base64, "base64").toString("hex")}`
      assert.strictEqual(Result.getOrThrow(fingerprintOfSshKey(blob)), expected)
    }
  })
)

it("ID-003 a malformed SSH key, and an ssh-ed25519 key that no node may have, has no fingerprint", () => {
  const good = sshEd25519(hexToBytes(digits))
  const broken = [
    new Uint8Array(0),
    good.subarray(0, 3),
    good.subarray(0, 20),
    good.subarray(0, -1),
    Buffer.concat([good, Buffer.alloc(1)]),
    sshString(new Uint8Array(0)),
    Buffer.alloc(5000),
    Buffer.from("ffffffff", "hex")
  ]
  for (const blob of broken) assert.isTrue(Result.isFailure(fingerprintOfSshKey(blob)), blob.toString())
  for (const [name, key] of refusedKeys) assert.isTrue(Result.isFailure(fingerprintOfSshKey(sshEd25519(key))), name)
})

const selfSigned = (args: ReadonlyArray<string>): X509Certificate =>
  new X509Certificate(
    execFileSync(
      "openssl",
      ["req", "-x509", "-nodes", "-keyout", "/dev/null", "-subj", "/CN=x", "-days", "2", "-newkey", ...args],
      { stdio: ["ignore", "pipe", "ignore"] }
    )
  )

it("ID-R04 ID-R05 a certificate with an Ed25519 key has the key's form, another the hash of its DER", () => {
  const node = selfSigned(["ed25519"])
  const key = Buffer.from(node.publicKey.export({ format: "jwk" }).x!, "base64url")
  assert.strictEqual(
    Result.getOrThrow(fingerprintOfCertificate(node.raw)),
    fingerprintOfNode(Result.getOrThrow(nodeIdFromBytes(key)))
  )
  const web = selfSigned(["ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
  const hash = web.fingerprint256.replaceAll(":", "").toLowerCase()
  assert.strictEqual(Result.getOrThrow(fingerprintOfCertificate(web.raw)), `SHA256:${hash}`)
  assert.isTrue(Result.isFailure(fingerprintOfCertificate(web.raw.subarray(1))))
  assert.isTrue(Result.isFailure(fingerprintOfCertificate(new Uint8Array(5000))))
})

it("ID-003 a certificate with an Ed25519 key that no node may have gets no hash form either", () => {
  const node = selfSigned(["ed25519"])
  const key = Buffer.from(node.publicKey.export({ format: "jwk" }).x!, "base64url")
  for (const [name, refused] of refusedKeys.filter(([name]) => name.startsWith("smallOrder"))) {
    const forged = Buffer.from(node.raw)
    forged.set(refused, forged.indexOf(key))
    assert.isTrue(Result.isFailure(fingerprintOfCertificate(forged)), name)
  }
})
