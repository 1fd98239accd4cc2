/**
 * Base64 (RFC 4648 section 4), read strictly: standard alphabet, padding, no line breaks, and the unused bits zero, so that
 * every byte string has exactly one text (VAULT-R41).
 */

export const encodeBase64 = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString("base64")

/** The bytes, or undefined where the text is not the one encoding of any. */
export const decodeBase64 = (text: string): Uint8Array | undefined => {
  const bytes = new Uint8Array(Buffer.from(text, "base64"))
  return encodeBase64(bytes) === text ? bytes : undefined
}
