/**
 * Where stream data is read into: slabs whose parts are handed out without a copy.
 *
 * A chunk belongs to whoever got it. Short chunks are copied into small slabs, because a reader that keeps ten bytes of a
 * frame would otherwise keep a whole large slab.
 */
const SLAB_BYTES = 256 * 1024

/** A read gets at least this much room, so that a slab is replaced while there is some left. */
const ROOM_BYTES = 64 * 1024

/** Chunks below this are copied. */
const SHORT_BYTES = 2048

const SHORT_SLAB_BYTES = 16 * 1024

export class ReadBuffers {
  #slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
  #offset = 0
  #short = Buffer.allocUnsafeSlow(SHORT_SLAB_BYTES)
  #shortOffset = 0
  /** Read into this, then `take` what was read before anything else is read. */
  room: Uint8Array = this.#slab.subarray(0, ROOM_BYTES)

  /** The first `length` bytes of `room`, as a chunk that is never touched again. */
  take(length: number): Uint8Array {
    if (length < SHORT_BYTES) {
      if (this.#shortOffset + length > SHORT_SLAB_BYTES) {
        this.#short = Buffer.allocUnsafeSlow(SHORT_SLAB_BYTES)
        this.#shortOffset = 0
      }
      const start = this.#shortOffset
      this.#shortOffset += length
      this.#slab.copy(this.#short, start, this.#offset, this.#offset + length)
      return new Uint8Array(this.#short.buffer, start, length)
    }
    const chunk = new Uint8Array(this.#slab.buffer, this.#offset, length)
    this.#offset += length
    if (SLAB_BYTES - this.#offset < ROOM_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES)
      this.#offset = 0
    }
    this.room = this.#slab.subarray(this.#offset, this.#offset + ROOM_BYTES)
    return chunk
  }
}
