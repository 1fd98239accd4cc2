/**
 * BIP39 with the English list: words, the entropy behind them, and the seed (vault.md section 2).
 *
 * Words come in any case, with any Unicode white space between them, in any normalisation (VAULT-R07). 12, 15, 18, 21 or 24
 * words carry 16, 20, 24, 28 or 32 bytes of entropy and a checksum. The seed is PBKDF2-HMAC-SHA512 of the NFKD sentence with
 * the salt `mnemonic` and the NFKD passphrase, 2048 rounds, 64 bytes (VAULT-R08).
 *
 * An unknown word is reported by its place, never by its text: it may be a mistyped secret.
 */
import { pbkdf2Sync } from "node:crypto"
import { entropyToMnemonic, mnemonicToEntropy } from "@scure/bip39"
import { wordlist } from "@scure/bip39/wordlists/english.js"
import { Result } from "effect"
import { MnemonicInvalid } from "./VaultError.ts"

export const WORD_COUNTS = [12, 15, 18, 21, 24] as const
export type WordCount = (typeof WORD_COUNTS)[number]

export const SEED_BYTES = 64

/** Longest mnemonic passphrase in bytes, after NFKD. */
export const MNEMONIC_PASSPHRASE_MAX_BYTES = 256

const ROUNDS = 2048
const LIST = new Set(wordlist)

/** How many bytes of entropy that many words carry. */
export const entropyBytes = (words: WordCount): number => (words / 3) * 4

/** The entropy behind a sentence of words. */
export const entropyFromSentence = (sentence: string): Result.Result<Uint8Array, MnemonicInvalid> => {
  const words = sentence
    .normalize("NFKD")
    .split(/\p{White_Space}+/u)
    .filter((word) => word !== "")
    .map((word) => word.toLowerCase())
  if (!WORD_COUNTS.some((count) => count === words.length)) return Result.fail(new MnemonicInvalid({ reason: "count" }))
  const unknown = words.findIndex((word) => !LIST.has(word))
  if (unknown >= 0) return Result.fail(new MnemonicInvalid({ reason: "word", position: unknown + 1 }))
  try {
    return Result.succeed(mnemonicToEntropy(words.join(" "), wordlist))
  } catch {
    return Result.fail(new MnemonicInvalid({ reason: "checksum" }))
  }
}

/** The words of an entropy of 16, 20, 24, 28 or 32 bytes. */
export const wordsFromEntropy = (entropy: Uint8Array): ReadonlyArray<string> =>
  entropyToMnemonic(entropy, wordlist).split(" ")

/** The mnemonic passphrase as it enters the salt; none is the same as empty. */
export const normalizeMnemonicPassphrase = (
  passphrase: Uint8Array | undefined
): Result.Result<Uint8Array, MnemonicInvalid> => {
  const normalized = passphrase === undefined ? new Uint8Array(0) : normalizeText(passphrase)
  return normalized === undefined || normalized.length > MNEMONIC_PASSPHRASE_MAX_BYTES
    ? Result.fail(new MnemonicInvalid({ reason: "passphrase" }))
    : Result.succeed(normalized)
}

/** The 64-byte seed; `passphrase` is normalised. Takes about a millisecond. */
export const seedFromEntropy = (entropy: Uint8Array, passphrase: Uint8Array): Uint8Array => {
  const salt = new Uint8Array(SALT_PREFIX.length + passphrase.length)
  salt.set(SALT_PREFIX)
  salt.set(passphrase, SALT_PREFIX.length)
  // English words are ASCII, which NFKD leaves as it is.
  const sentence = new TextEncoder().encode(wordsFromEntropy(entropy).join(" "))
  const seed = pbkdf2Sync(sentence, salt, ROUNDS, SEED_BYTES, "sha512")
  const copy = new Uint8Array(seed)
  for (const secret of [salt, sentence, seed]) secret.fill(0)
  return copy
}

/** UTF-8 text in NFKD, or undefined where the bytes are not UTF-8. */
export const normalizeText = (bytes: Uint8Array): Uint8Array | undefined => {
  try {
    const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes)
    return new TextEncoder().encode(text.normalize("NFKD"))
  } catch {
    return undefined
  }
}

const SALT_PREFIX = new TextEncoder().encode("mnemonic")
