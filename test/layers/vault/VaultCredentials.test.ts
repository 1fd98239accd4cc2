import { assert, layer } from "@effect/vitest"
import { hexToBytes } from "@noble/hashes/utils.js"
import { Effect, Redacted } from "effect"
import * as MemoryVault from "../../../src/layers/vault/MemoryVault.ts"
import { memoryStorage } from "../../../src/layers/vault/VaultStorage.ts"
import {
  BlobInvalid,
  DecryptFailed,
  InvalidIndex,
  InvalidKeyVersion,
  PlaintextTooLarge
} from "../../../src/protocol/vault/VaultError.ts"
import { Vault } from "../../../src/services/Vault.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }
import { ABANDON, restoreAbandon, secret, textOf, vaultOf, watched } from "./fixture.ts"

const openai = { purpose: "credential", name: "openai" }
const { plaintext, rustV2, v2, v3 } = vectors.blobs
const v2Text = JSON.stringify(v2.blob)
const v3Text = JSON.stringify(v3.blob)
const fieldsOf = (blob: string) => JSON.parse(blob)

layer(MemoryVault.layer(ABANDON), { excludeTestServices: true })("credentials", (it) => {
  it.effect("VAULT-037 VAULT-038 the vectors of both formats open, the blob of the Rust alknet does not", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      assert.strictEqual(textOf(yield* vault.decrypt(openai, v2Text)), plaintext)
      assert.strictEqual(textOf(yield* vault.decrypt(openai, v3Text)), plaintext)
      const rust = vault.decrypt(openai, JSON.stringify(rustV2.blob))
      assert.deepStrictEqual(yield* Effect.flip(rust), new DecryptFailed())
    })
  )

  it.effect("VAULT-038 sealing with the vector's parts gives the vector", () =>
    Effect.gen(function* () {
      const fixed = watched("/unused", {
        storage: memoryStorage(),
        random: (what, length) =>
          what === "iv" ? hexToBytes("000102030405060708090a0b") : new Uint8Array(length).fill(1)
      })
      const vault = yield* vaultOf(fixed.parts)
      yield* restoreAbandon(vault)
      assert.strictEqual(yield* vault.encrypt(openai, secret(plaintext), 3), v3Text)
    })
  )

  it.effect("VAULT-039 VAULT-043 another name, purpose or label never opens", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      const github = { ...openai, name: "github" }
      for (const [id, blob] of [
        [github, v3Text],
        [github, v3Text.replace("openai", "github")],
        [openai, v3Text.replace("openai", "github")],
        [{ ...openai, purpose: "note" }, v3Text.replace("credential", "note")],
        [openai, v3Text.replace('"keyVersion":3', '"keyVersion":4')]
      ] as const) {
        assert.deepStrictEqual(yield* Effect.flip(vault.decrypt(id, blob)), new DecryptFailed())
        assert.deepStrictEqual(yield* Effect.flip(vault.rotate(id, blob, 5)), new DecryptFailed())
      }
    })
  )

  it.effect("VAULT-041 names that are not well formed are refused before anything else", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      const cases = [
        [{ ...openai, name: "" }, "name"],
        [{ ...openai, name: "a b" }, "name"],
        [{ ...openai, name: "a\n" }, "name"],
        [{ ...openai, purpose: "Credential" }, "purpose"],
        [{ ...openai, purpose: "x".repeat(33) }, "purpose"]
      ] as const
      for (const [id, field] of cases) {
        const error = new BlobInvalid({ field })
        assert.deepStrictEqual(yield* Effect.flip(vault.encrypt(id, secret("x"))), error)
        assert.deepStrictEqual(yield* Effect.flip(vault.decrypt(id, v3Text)), error)
        assert.deepStrictEqual(yield* Effect.flip(vault.rotate(id, v3Text, 3)), error)
      }
    })
  )

  it.effect("VAULT-042 from nothing to 65536 bytes there and back, one more is too large", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      for (const length of [0, 1, 65_536]) {
        const bytes = new Uint8Array(length).fill(0xa5)
        const blob = yield* vault.encrypt(openai, Redacted.make(bytes))
        assert.strictEqual(fieldsOf(blob).keyVersion, 2)
        assert.deepStrictEqual(Redacted.value(yield* vault.decrypt(openai, blob)), bytes)
      }
      const large = vault.encrypt(openai, Redacted.make(new Uint8Array(65_537)))
      assert.deepStrictEqual(yield* Effect.flip(large), new PlaintextTooLarge({ limit: 65_536 }))
    })
  )

  it.effect("VAULT-042 10 000 seals have 10 000 initialisation vectors", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      const ivs = new Set<string>()
      for (let count = 0; count < 10_000; count++) ivs.add(fieldsOf(yield* vault.encrypt(openai, secret("x"))).iv)
      assert.strictEqual(ivs.size, 10_000)
    })
  )

  it.effect("VAULT-043 rotating gives format 3 at the target, and the old blob still opens", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      const rotated = yield* vault.rotate(openai, v2Text, 3)
      assert.deepInclude(fieldsOf(rotated), { format: 3, keyVersion: 3, ...openai })
      assert.strictEqual(textOf(yield* vault.decrypt(openai, rotated)), plaintext)
      assert.strictEqual(textOf(yield* vault.decrypt(openai, v2Text)), plaintext)
      const again = yield* vault.rotate(openai, rotated, 3)
      assert.notStrictEqual(fieldsOf(again).iv, fieldsOf(rotated).iv)
      const lower = vault.rotate(openai, rotated, 2)
      assert.deepStrictEqual(yield* Effect.flip(lower), new InvalidKeyVersion({ version: 2 }))
    })
  )

  it.effect("VAULT-011 VAULT-010 arguments are checked before the state, the largest version works", () =>
    Effect.gen(function* () {
      const vault = yield* Vault
      const last = 2_147_483_649
      const blob = yield* vault.encrypt(openai, secret("x"), last)
      assert.strictEqual(textOf(yield* vault.decrypt(openai, blob)), "x")
      yield* vault.lock
      for (const version of [0, 1, -1, 2.5, last + 1]) {
        const error = new InvalidKeyVersion({ version })
        assert.deepStrictEqual(yield* Effect.flip(vault.encrypt(openai, secret("x"), version)), error)
        assert.deepStrictEqual(yield* Effect.flip(vault.rotate(openai, v3Text, version)), error)
        const inside = JSON.stringify({ ...v2.blob, key_version: version })
        assert.deepStrictEqual(yield* Effect.flip(vault.decrypt(openai, inside)), error)
      }
      assert.deepStrictEqual(yield* Effect.flip(vault.decrypt(openai, "{}")), new BlobInvalid({ field: "key_version" }))
      for (const n of [0, -1, 1.5, 2 ** 31]) {
        const device = Effect.scoped(vault.key({ _tag: "Device", n }))
        assert.deepStrictEqual(yield* Effect.flip(device), new InvalidIndex({ field: "n" }))
      }
      yield* vault.unlock(secret("alknet-test"))
    })
  )
})
