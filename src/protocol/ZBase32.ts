/**
 * z-base-32: the base-32 alphabet that people can read out loud (`ybndrfg8ejkmcpqxot1uwisza345h769`), first bit first, no
 * padding characters. Decoding is strict: lower case only, and the unused bits of the last character must be zero.
 */
const ALPHABET = "ybndrfg8ejkmcpqxot1uwisza345h769"
const VALUES = new Map([...ALPHABET].map((character, value) => [character, value]))

/** 8 bits in, 5 bits a character out; the last character is filled with zero bits. */
export const encodeZBase32 = (bytes: Uint8Array): string => {
  let text = ""
  let bits = 0
  let held = 0
  for (const byte of bytes) {
    held = (held << 8) | byte
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += ALPHABET[(held >> bits) & 31]
    }
    held &= (1 << bits) - 1
  }
  return bits === 0 ? text : text + ALPHABET[(held << (5 - bits)) & 31]
}

/** The bytes, or undefined where the text is not the encoding of any. */
export const decodeZBase32 = (text: string): Uint8Array | undefined => {
  const bytes = new Uint8Array((text.length * 5) >> 3)
  let filled = 0
  let bits = 0
  let held = 0
  for (const character of text) {
    const value = VALUES.get(character)
    if (value === undefined) return undefined
    held = (held << 5) | value
    bits += 5
    if (bits >= 8) {
      bits -= 8
      bytes[filled++] = held >> bits
      held &= (1 << bits) - 1
    }
  }
  return held === 0 && bits < 5 ? bytes : undefined
}
