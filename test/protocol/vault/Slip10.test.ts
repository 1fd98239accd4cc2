import { assert, it } from "@effect/vitest"
import { ed25519, x25519 } from "@noble/curves/ed25519.js"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Result } from "effect"
import { parsePath } from "../../../src/protocol/vault/KeyPath.ts"
import { publicKeyOf } from "../../../src/protocol/vault/PublicKey.ts"
import { deriveSlip10 } from "../../../src/protocol/vault/Slip10.ts"
import slip10 from "../../vectors/slip10.json" with { type: "json" }
import vectors from "../../vectors/vault.json" with { type: "json" }

const derive = (seed: string, path: string) => {
  const { key, chainCode } = deriveSlip10(hexToBytes(seed), Result.getOrThrow(parsePath(path)))
  return {
    chainCode: bytesToHex(chainCode),
    privateKey: bytesToHex(key),
    publicKey: bytesToHex(publicKeyOf("ed25519", key))
  }
}

it("VAULT-006 SLIP-0010 vectors 1 and 2 give every chain code, private and public key", () => {
  let steps = 0
  for (const { seed, chains } of vectors.slip0010.vectors) {
    for (const { path, chainCode, privateKey, publicKey } of chains) {
      assert.deepStrictEqual(derive(seed, path), { chainCode, privateKey, publicKey })
      steps++
    }
  }
  assert.strictEqual(steps, 12)
})

it("VAULT-006 the published tables of SLIP-0010 agree, public keys without their leading 00", () => {
  for (const { curve, seed, chain } of slip10.vectors) {
    if (curve !== "ed25519") continue
    for (const { path, chainCode, privateKey, publicKey } of chain) {
      assert.strictEqual(publicKey.slice(0, 2), "00")
      assert.deepStrictEqual(derive(seed, path), { chainCode, privateKey, publicKey: publicKey.slice(2) })
    }
  }
})

it("derivation does not change the seed", () => {
  const seed = new Uint8Array(64).fill(7)
  deriveSlip10(seed, [74, 0, 0, 0])
  assert.isTrue(seed.every((byte) => byte === 7))
})

it("public keys are those of another implementation", () => {
  for (let round = 0; round < 20; round++) {
    const secret = Uint8Array.from({ length: 32 }, (_, place) => (place * 31 + round * 17) & 0xff)
    assert.deepStrictEqual(publicKeyOf("ed25519", secret), ed25519.getPublicKey(secret))
    assert.deepStrictEqual(publicKeyOf("x25519", secret), x25519.getPublicKey(secret))
  }
})
