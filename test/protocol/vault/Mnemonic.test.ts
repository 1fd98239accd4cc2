import { assert, it } from "@effect/vitest"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Result } from "effect"
import {
  entropyBytes,
  entropyFromSentence,
  normalizeMnemonicPassphrase,
  seedFromEntropy,
  WORD_COUNTS,
  wordsFromEntropy
} from "../../../src/protocol/vault/Mnemonic.ts"
import { MnemonicInvalid } from "../../../src/protocol/vault/VaultError.ts"
import english from "../../vectors/bip39-english.json" with { type: "json" }
import vectors from "../../vectors/vault.json" with { type: "json" }

const utf8 = (text: string) => new TextEncoder().encode(text)
const entropyOf = (sentence: string) => Result.getOrThrow(entropyFromSentence(sentence))
const seedOf = (sentence: string, passphrase: string) =>
  bytesToHex(seedFromEntropy(entropyOf(sentence), Result.getOrThrow(normalizeMnemonicPassphrase(utf8(passphrase)))))
const errorOf = (sentence: string) => Result.getOrThrow(Result.flip(entropyFromSentence(sentence)))
const abandon = (count: number, last: string) => `${"abandon ".repeat(count - 1)}${last}`

it("VAULT-001 the published BIP39 vectors give their words and seeds", () => {
  for (const [entropy, sentence, seed] of english.english) {
    assert.strictEqual(wordsFromEntropy(hexToBytes(entropy!)).join(" "), sentence)
    assert.strictEqual(bytesToHex(entropyOf(sentence!)), entropy)
    assert.strictEqual(seedOf(sentence!, "TREZOR"), seed)
  }
  for (const { mnemonic, passphrase, seed } of vectors.bip39.cases)
    assert.strictEqual(seedOf(mnemonic, passphrase), seed)
})

it("VAULT-002 every count of words goes there and back, no other count is read", () => {
  for (const count of WORD_COUNTS) {
    const entropy = Uint8Array.from({ length: entropyBytes(count) }, (_, place) => place * 7 + count)
    const words = wordsFromEntropy(entropy)
    assert.lengthOf(words, count)
    assert.deepStrictEqual(entropyOf(words.join(" ")), entropy)
  }
  for (const count of [0, 1, 11, 13, 16, 25]) {
    assert.deepStrictEqual(errorOf("abandon ".repeat(count)), new MnemonicInvalid({ reason: "count" }))
  }
})

it("VAULT-003 case and white space of any kind do not change the seed", () => {
  const clean = abandon(12, "about")
  const odd = ` \u3000${clean.toUpperCase().replaceAll(" ", " \t\u00a0\u2003\n")}\r\n`
  assert.strictEqual(seedOf(odd, ""), vectors.paths.seed)
  assert.strictEqual(seedOf(clean, ""), vectors.paths.seed)
  // Full-width letters are the same letters after NFKD.
  assert.deepStrictEqual(entropyOf(clean.replace("about", "\uff41\uff42\uff4f\uff55\uff54")), entropyOf(clean))
})

it("VAULT-004 an unknown word is reported by its place and never by its text", () => {
  const words = abandon(12, "about").split(" ")
  words[4] = "hunter2secret"
  const error = errorOf(words.join(" "))
  assert.deepInclude(error, { reason: "word", position: 5 })
  assert.notInclude(`${error} ${error.message} ${error.hint} ${JSON.stringify(error)} ${error.stack}`, "hunter2")
  assert.deepStrictEqual(errorOf(abandon(12, "abandon")), new MnemonicInvalid({ reason: "checksum" }))
})

it("VAULT-005 a composed and a decomposed mnemonic passphrase are the same", () => {
  const { mnemonic, passphraseComposed, passphraseDecomposed, seed } = vectors.bip39.nfkd
  assert.match(seed, /^af8bbd2566df7b69/)
  assert.strictEqual(seedOf(mnemonic, passphraseComposed), seed)
  assert.strictEqual(seedOf(mnemonic, passphraseDecomposed), seed)
})

it("a mnemonic passphrase has 256 bytes at most after NFKD, and is UTF-8", () => {
  const rejected = new MnemonicInvalid({ reason: "passphrase" })
  assert.lengthOf(Result.getOrThrow(normalizeMnemonicPassphrase(undefined)), 0)
  assert.lengthOf(Result.getOrThrow(normalizeMnemonicPassphrase(utf8("x".repeat(256)))), 256)
  assert.deepStrictEqual(Result.flip(normalizeMnemonicPassphrase(utf8("x".repeat(257)))), Result.succeed(rejected))
  // 100 composed letters of 2 bytes become 100 of 3 bytes.
  assert.deepStrictEqual(Result.flip(normalizeMnemonicPassphrase(utf8("\u00e9".repeat(100)))), Result.succeed(rejected))
  assert.deepStrictEqual(Result.flip(normalizeMnemonicPassphrase(Uint8Array.of(0xff))), Result.succeed(rejected))
})
