/**
 * AES-256-GCM (NIST SP 800-38D) with a 12-byte initialisation vector; the 16-byte tag follows the ciphertext.
 */
import { createCipheriv, createDecipheriv } from "node:crypto"

export const IV_BYTES = 12
export const TAG_BYTES = 16

const CIPHER = "aes-256-gcm"

/** Ciphertext and tag. The key has 32 bytes; an initialisation vector is never used twice with one key. */
export const sealAesGcm = (key: Uint8Array, iv: Uint8Array, aad: Uint8Array, plaintext: Uint8Array): Uint8Array => {
  const cipher = createCipheriv(CIPHER, key, iv, { authTagLength: TAG_BYTES })
  cipher.setAAD(aad)
  const sealed = new Uint8Array(plaintext.length + TAG_BYTES)
  sealed.set(cipher.update(plaintext))
  cipher.final()
  sealed.set(cipher.getAuthTag(), plaintext.length)
  return sealed
}

/** The plaintext, or undefined where the tag does not fit; nothing of a wrong plaintext is left behind. */
export const openAesGcm = (
  key: Uint8Array,
  iv: Uint8Array,
  aad: Uint8Array,
  sealed: Uint8Array
): Uint8Array | undefined => {
  if (sealed.length < TAG_BYTES) return undefined
  const end = sealed.length - TAG_BYTES
  const decipher = createDecipheriv(CIPHER, key, iv, { authTagLength: TAG_BYTES })
  decipher.setAAD(aad)
  decipher.setAuthTag(sealed.subarray(end))
  const opened = decipher.update(sealed.subarray(0, end))
  try {
    decipher.final()
    return new Uint8Array(opened)
  } catch {
    return undefined
  } finally {
    opened.fill(0)
  }
}
