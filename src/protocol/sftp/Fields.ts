/**
 * The data types of SFTP (draft-ietf-secsh-filexfer-02, from RFC 4251 section 5): numbers big-endian, a string as its length
 * in four bytes and then its bytes.
 *
 * File names are bytes in version 3. They are read as UTF-8, and what is no UTF-8 is refused: a name that cannot be shown
 * cannot be checked. A 64-bit number above 2^53-1 is refused too, no file is that long.
 */
import { Result } from "effect"
import { SftpError } from "./SftpError.ts"

const text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
const bytesOf = new TextEncoder()

/** Reads the fields of one packet, front to back. The first failure stays: read all, then ask `failure`. */
export class FieldReader {
  readonly #bytes: Uint8Array
  readonly #view: DataView
  #at = 0
  failure: SftpError | undefined = undefined

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  }

  /** Bytes that are not read yet. */
  get left(): number {
    return this.#bytes.length - this.#at
  }

  byte(): number {
    return this.#has(1) ? this.#view.getUint8(this.#at++) : 0
  }

  uint32(): number {
    if (!this.#has(4)) return 0
    this.#at += 4
    return this.#view.getUint32(this.#at - 4)
  }

  uint64(): number {
    const value = this.uint64Rounded()
    if (!Number.isSafeInteger(value)) this.#fail("BadNumber", "a position above 2^53-1")
    return value
  }

  /** For numbers that are not positions, such as the identifier of a file system. */
  uint64Rounded(): number {
    if (!this.#has(8)) return 0
    this.#at += 8
    return Number(this.#view.getBigUint64(this.#at - 8))
  }

  /** A view of the packet, not a copy. */
  data(): Uint8Array {
    const length = this.uint32()
    if (!this.#has(length)) return new Uint8Array(0)
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }

  string(): string {
    const bytes = this.data()
    try {
      return text.decode(bytes)
    } catch {
      this.#fail("BadText", "a name that is not UTF-8")
      return ""
    }
  }

  /** `value`, or the first failure. */
  done<A>(value: A): Result.Result<A, SftpError> {
    return this.failure === undefined ? Result.succeed(value) : Result.fail(this.failure)
  }

  #has(count: number): boolean {
    if (this.failure !== undefined) return false
    if (count <= this.left) return true
    this.#fail("Truncated", `${count} bytes wanted, ${this.left} left in the packet`)
    return false
  }

  #fail(reason: SftpError["reason"], hint: string): void {
    this.failure ??= new SftpError({ reason, hint })
  }
}

const FIRST_BYTES = 256

/** Writes the fields of one packet, and its length in front. */
export class FieldWriter {
  #bytes = new Uint8Array(FIRST_BYTES)
  #view = new DataView(this.#bytes.buffer)
  /** Room for the length of the packet. */
  #at = 4

  byte(value: number): this {
    this.#room(1)
    this.#view.setUint8(this.#at, value)
    this.#at += 1
    return this
  }

  uint32(value: number): this {
    this.#room(4)
    this.#view.setUint32(this.#at, value)
    this.#at += 4
    return this
  }

  uint64(value: number): this {
    this.#room(8)
    this.#view.setBigUint64(this.#at, BigInt(value))
    this.#at += 8
    return this
  }

  data(value: Uint8Array): this {
    this.uint32(value.length)
    this.#room(value.length)
    this.#bytes.set(value, this.#at)
    this.#at += value.length
    return this
  }

  string(value: string): this {
    return this.data(bytesOf.encode(value))
  }

  /** The packet with its length. The writer is used up. */
  packet(): Uint8Array {
    this.#view.setUint32(0, this.#at - 4)
    return this.#bytes.subarray(0, this.#at)
  }

  #room(count: number): void {
    if (this.#at + count <= this.#bytes.length) return
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#at + count))
    bytes.set(this.#bytes)
    this.#bytes = bytes
    this.#view = new DataView(bytes.buffer)
  }
}
