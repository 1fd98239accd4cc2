/** Big-endian bytes in and out, for the hand-written TLS and QUIC clients of the tests. Reading past the end throws. */

export type Part = Uint8Array | ReadonlyArray<number>

export const join = (...parts: ReadonlyArray<Part>): Uint8Array =>
  new Uint8Array(Buffer.concat(parts.map((part) => Uint8Array.from(part))))

export const uint = (bytes: number, value: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, at) => Math.floor(value / 256 ** (bytes - 1 - at)) & 0xff)

/** The parts with their length in so many bytes before them. */
export const vector = (lengthBytes: number, ...parts: ReadonlyArray<Part>): Uint8Array => {
  const body = join(...parts)
  return join(uint(lengthBytes, body.length), body)
}

/** A variable-length integer (RFC 9000 section 16) in 1, 2 or 4 bytes. */
export const varint = (value: number): Uint8Array =>
  value < 0x40 ? uint(1, value) : value < 0x4000 ? uint(2, value | 0x4000) : uint(4, value + 0x80000000)

export class Reader {
  readonly #bytes: Uint8Array
  at = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
  }
  get left(): number {
    return this.#bytes.length - this.at
  }
  bytes(length: number): Uint8Array {
    if (length > this.left) throw new RangeError(`${length} bytes asked, ${this.left} left`)
    this.at += length
    return this.#bytes.subarray(this.at - length, this.at)
  }
  uint(bytes: number): number {
    return this.bytes(bytes).reduce((value, byte) => value * 256 + byte, 0)
  }
  vector(lengthBytes: number): Reader {
    return new Reader(this.bytes(this.uint(lengthBytes)))
  }
  varint(): number {
    const first = this.uint(1)
    const more = (1 << (first >> 6)) - 1
    return (first & 0x3f) * 256 ** more + this.uint(more)
  }
}
