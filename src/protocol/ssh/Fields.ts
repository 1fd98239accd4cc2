/**
 * Fields of SSH wire data (RFC 4251 section 5): a byte, `uint32` and `uint64` in big-endian order, and strings of a length
 * and that many bytes.
 */

/** Reads one field after the other. What is not there is undefined, and so is everything after it. */
export class FieldReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #offset = 0

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Bytes that were read. */
  get offset(): number {
    return Math.min(this.#offset, this.#bytes.length)
  }

  get isAtEnd(): boolean {
    return this.#offset === this.#bytes.length
  }

  uint32(): number | undefined {
    const at = this.#take(4)
    return at === undefined ? undefined : this.#view.getUint32(at)
  }

  uint64(): bigint | undefined {
    const at = this.#take(8)
    return at === undefined ? undefined : this.#view.getBigUint64(at)
  }

  /** A view of the bytes. */
  string(): Uint8Array | undefined {
    const length = this.uint32()
    if (length === undefined) return undefined
    const at = this.#take(length)
    return at === undefined ? undefined : this.#bytes.subarray(at, at + length)
  }

  /** A string of UTF-8 without a NUL. */
  text(): string | undefined {
    const bytes = this.string()
    return bytes === undefined ? undefined : textOf(bytes)
  }

  #take(length: number): number | undefined {
    const at = this.#offset
    // Past the end once, past the end for good.
    this.#offset = at + length <= this.#bytes.length ? at + length : Number.POSITIVE_INFINITY
    return Number.isFinite(this.#offset) ? at : undefined
  }
}

const utf8 = new TextDecoder("utf-8", { fatal: true })

/** Text of UTF-8 without a NUL; undefined for anything else. */
export const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    const text = utf8.decode(bytes)
    return text.includes("\0") ? undefined : text
  } catch {
    return undefined
  }
}

/** A list of strings, each after its length, which fills the bytes. */
export const stringsOf = (bytes: Uint8Array): ReadonlyArray<Uint8Array> | undefined => {
  const reader = new FieldReader(bytes)
  const strings: Array<Uint8Array> = []
  while (!reader.isAtEnd) {
    const next = reader.string()
    if (next === undefined) return undefined
    strings.push(next)
  }
  return strings
}

/** Strings, each after its length. */
export const encodeStrings = (...strings: ReadonlyArray<Uint8Array | string>): Uint8Array =>
  Buffer.concat(
    strings.flatMap((string) => {
      const bytes = Buffer.from(typeof string === "string" ? new TextEncoder().encode(string) : string)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.length)
      return [length, bytes]
    })
  )
