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
import { createHash, timingSafeEqual } from "node:crypto"

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

/** The 32 bytes of a hash, for `equalTokenHashes`. */
export const tokenHashBytes = (hash: string): Uint8Array => Buffer.from(hash.slice("sha256:".length), "hex")

/** Compares two hashes of 32 bytes in a time that does not depend on them. */
export const equalTokenHashes = (left: Uint8Array, right: Uint8Array): boolean =>
  left.length === right.length && timingSafeEqual(left, right)
