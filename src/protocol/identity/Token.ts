/**
 * Tokens: text that stands for a peer or an API key (identity.md section 4).
 *
 * ```
 * token  = "alk_" 22*86 base62 characters; ours have 26, which leaves more than 128 bits secret beyond the prefix
 * prefix = the first 8 characters; public, for look-up and logs
 * hash   = "sha256:" and 64 lower-case hex digits of SHA-256 over the whole text; all that is ever kept
 * ```
 *
 * Text outside the grammar is nobody's and is not even hashed.
 */
import { createHash } from "node:crypto"

/** Characters after `alk_` in a token that we make. */
export const TOKEN_SECRET_LENGTH = 26
/** Characters of a token that are public. */
export const TOKEN_PREFIX_LENGTH = 8

const ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
/** The largest multiple of 62 in a byte: bytes from here on are drawn again, so that no character is favoured. */
const UNBIASED = 248

const TOKEN = /^alk_[0-9A-Za-z]{22,86}$/
const TOKEN_MAX = 4 + 86
const PREFIX = /^alk_[0-9A-Za-z]{4}$/
const HASH = /^sha256:[0-9a-f]{64}$/

/** Whether the text may be a token. */
export const isToken = (text: string): boolean => text.length <= TOKEN_MAX && TOKEN.test(text)

/** Whether the text may be a token's prefix. */
export const isTokenPrefix = (text: string): boolean => PREFIX.test(text)

/** Whether the text is the hash of a token. */
export const isTokenHash = (text: string): boolean => HASH.test(text)

/** A new token. `random` gives that many bytes of the operating system's generator. */
export const makeToken = (random: (size: number) => Uint8Array): string => {
  let secret = ""
  while (secret.length < TOKEN_SECRET_LENGTH) {
    for (const byte of random(TOKEN_SECRET_LENGTH)) {
      if (byte < UNBIASED && secret.length < TOKEN_SECRET_LENGTH) secret += ALPHABET[byte % 62]
    }
  }
  return `alk_${secret}`
}

/** The public part of a token. */
export const tokenPrefix = (token: string): string => token.slice(0, TOKEN_PREFIX_LENGTH)

/** What is kept of a token. */
export const hashToken = (token: string): string => `sha256:${createHash("sha256").update(token, "utf8").digest("hex")}`

/**
 * Hashes of tokens that are searched in a time that depends on their number alone: every word of every hash is compared,
 * without a branch on what is found (ID-R26).
 */
export class TokenHashes {
  private readonly words: Int32Array

  constructor(hashes: ReadonlyArray<string>) {
    this.words = new Int32Array(hashes.length * HASH_WORDS)
    hashes.forEach((hash, index) => {
      this.words.set(wordsOf(hash), index * HASH_WORDS)
    })
  }

  /** The position of the hash, -1 where it is not there. */
  indexOf(hash: string): number {
    const { words } = this
    const wanted = wordsOf(hash)
    let found = -1
    for (let index = 0; index * HASH_WORDS < words.length; index++) {
      let difference = 0
      for (let word = 0; word < HASH_WORDS; word++) difference |= words[index * HASH_WORDS + word]! ^ wanted[word]!
      // All ones where they differ, zero where they are equal.
      const differ = (difference | -difference) >> 31
      found = (found & differ) | (index & ~differ)
    }
    return found
  }
}

const HASH_WORDS = 8

const wordsOf = (hash: string): Int32Array => {
  const bytes = Uint8Array.from(Buffer.from(hash.slice("sha256:".length), "hex"))
  return new Int32Array(bytes.buffer, 0, HASH_WORDS)
}
