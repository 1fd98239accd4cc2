/**
 * DER (X.690 section 10), the writing half: elements with a definite, minimal length of at most 65,535 bytes. What
 * certificates are put together from (RFC 5280).
 */

/** One element: tag, length, the parts as content. */
export const der = (tag: number, ...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const content = joined(...parts)
  const { length } = content
  const size = length < 0x80 ? [length] : length < 0x100 ? [0x81, length] : [0x82, length >> 8, length & 0xff]
  return joined(Uint8Array.of(tag, ...size), content)
}

export const joined = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let offset = 0
  for (const part of parts) {
    all.set(part, offset)
    offset += part.length
  }
  return all
}

export const derSequence = (...parts: ReadonlyArray<Uint8Array>) => der(0x30, ...parts)
export const derSet = (...parts: ReadonlyArray<Uint8Array>) => der(0x31, ...parts)
/** An explicit context tag, `[number]`. */
export const derTagged = (number: number, part: Uint8Array) => der(0xa0 | number, part)
export const derInteger = (bytes: Uint8Array) => der(0x02, bytes)
/** A bit string of whole bytes. */
export const derBits = (bytes: Uint8Array) => der(0x03, Uint8Array.of(0), bytes)
export const derOctets = (bytes: Uint8Array) => der(0x04, bytes)
/** Text under a string or time tag: 0x0c UTF8String, 0x17 UTCTime, 0x18 GeneralizedTime, 0x82 a DNS name. */
export const derText = (tag: number, text: string) => der(tag, new TextEncoder().encode(text))

/** A serial number: positive and without a leading zero byte, whatever the random bytes are. */
export const derSerial = (random: Uint8Array): Uint8Array => {
  const serial = Uint8Array.from(random)
  serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40
  return derInteger(serial)
}
