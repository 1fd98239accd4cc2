/**
 * Frames of the call protocol on a byte stream (call.md section 2.1).
 *
 * | offset | bytes | what |
 * |---|---|---|
 * | 0 | 4 | N, unsigned, big-endian: the length of the body, 1 to 67,108,864 (64 MiB) or a lower limit |
 * | 4 | N | the body: UTF-8 text of one JSON object (`Envelope.ts`) |
 *
 * A length of 0 or above the limit is refused from the header alone, before one byte of the body is read (CALL-R02). What
 * the decoder holds grows with the bytes that have arrived, never with what a header promises (CALL-R03); a body that lies
 * whole inside one chunk is given as a view of it. Any fragmentation is accepted (CALL-R04). After an error the stream has
 * no meaning any more: the decoder gives nothing but that error.
 */
import { Result, Schema } from "effect"

/** Bytes of the length prefix. */
export const HEADER_BYTES = 4

/** No limit can be set above this many bytes of body. */
export const MAX_BODY_BYTES = 64 * 1024 * 1024

/** What is held for the first part of a body that spans chunks; it doubles as more arrives. */
const FIRST_HOLD_BYTES = 1024

/** The bytes are no frame, or what is in it is no envelope. Costs the stream, never more than the connection. */
export class FrameError extends Schema.TaggedError<FrameError>()("FrameError", {
  /** `InvalidFrame` and `TooLarge` come from the header, `BadJson` and `BadEnvelope` from the body, `Stalled` from time. */
  reason: Schema.Literals(["InvalidFrame", "TooLarge", "BadJson", "BadEnvelope", "Stalled"]),
  /** Bytes of the stream before the frame. */
  offset: Schema.Finite,
  hint: Schema.String
}) {
  override get message() {
    return `${this.reason} at byte ${this.offset}: ${this.hint}`
  }
}

/** The stream ended. `partial`: inside a frame, of which nothing is used (CALL-R05). */
export class EndOfInput extends Schema.TaggedError<EndOfInput>()("EndOfInput", {
  partial: Schema.Boolean,
  offset: Schema.Finite
}) {}

/** One stream's worth of frames: `push` a chunk, then `next` until it gives nothing. */
export class FrameDecoder {
  #chunk: Uint8Array = new Uint8Array(0)
  #at = 0
  #header = 0
  #headerBytes = 0
  #length: number | undefined = undefined
  #held: Uint8Array | undefined = undefined
  #heldBytes = 0
  #offset = 0
  #error: FrameError | undefined = undefined

  /** The body length of the frame in progress; undefined before its header is complete. */
  get announced(): number | undefined {
    return this.#length
  }

  /** Whether a frame has begun that is not complete. */
  get isPartial(): boolean {
    return this.#headerBytes > 0
  }

  /** Bytes of the stream before the frame that `next` gave last, or is in the middle of. */
  get offset(): number {
    return this.#offset
  }

  /** Takes a chunk, which must not change afterwards. Only after `next` gave nothing for the chunk before. */
  push(chunk: Uint8Array): void {
    this.#chunk = chunk
    this.#at = 0
  }

  /** Reads the header when it has arrived: the body length, or undefined while bytes are missing. */
  header(limit: number): Result.Result<number, FrameError> | undefined {
    if (this.#error !== undefined) return Result.fail(this.#error)
    if (this.#length !== undefined) return Result.succeed(this.#length)
    while (this.#headerBytes < HEADER_BYTES && this.#at < this.#chunk.length) {
      this.#header = ((this.#header << 8) | this.#chunk[this.#at++]!) >>> 0
      this.#headerBytes++
    }
    if (this.#headerBytes < HEADER_BYTES) return undefined
    const length = this.#header
    if (length === 0) return this.#fail("InvalidFrame", "the length is 0")
    if (length > Math.min(limit, MAX_BODY_BYTES)) {
      return this.#fail("TooLarge", `${length} bytes announced, at most ${Math.min(limit, MAX_BODY_BYTES)} allowed`)
    }
    this.#length = length
    return Result.succeed(length)
  }

  /** The next body, valid until the next call; undefined while bytes are missing. `limit` is asked at the header. */
  next(limit: number): Result.Result<Uint8Array, FrameError> | undefined {
    const header = this.header(limit)
    if (header === undefined) return undefined
    if (Result.isFailure(header)) return Result.fail(header.failure)
    const length = header.success
    const available = this.#chunk.length - this.#at
    if (this.#held === undefined && available >= length) {
      const body = this.#chunk.subarray(this.#at, this.#at + length)
      this.#at += length
      this.#done()
      return Result.succeed(body)
    }
    const taken = Math.min(available, length - this.#heldBytes)
    if (taken > 0) this.#hold(taken, length)
    if (this.#heldBytes < length) return undefined
    const body = this.#held!.subarray(0, length)
    this.#done()
    return Result.succeed(body)
  }

  /** What the end of the stream means here. */
  end(): EndOfInput {
    return new EndOfInput({ partial: this.isPartial, offset: this.#offset })
  }

  /** The offset counts on with the frame that was begun, so that it names the start of the next. */
  #done(): void {
    this.#offset += HEADER_BYTES + this.#length!
    this.#headerBytes = 0
    this.#header = 0
    this.#length = undefined
    this.#held = undefined
    this.#heldBytes = 0
  }

  #hold(taken: number, length: number): void {
    const needed = this.#heldBytes + taken
    if (this.#held === undefined || this.#held.length < needed) {
      const grown = new Uint8Array(Math.min(length, Math.max(FIRST_HOLD_BYTES, needed * 2)))
      if (this.#held !== undefined) grown.set(this.#held.subarray(0, this.#heldBytes))
      this.#held = grown
    }
    this.#held.set(this.#chunk.subarray(this.#at, this.#at + taken), this.#heldBytes)
    this.#heldBytes = needed
    this.#at += taken
  }

  #fail(reason: "InvalidFrame" | "TooLarge", hint: string): Result.Result<never, FrameError> {
    this.#error = new FrameError({ reason, offset: this.#offset, hint })
    return Result.fail(this.#error)
  }
}

/** Frames of JSON texts in a row, with the sum of the lengths of the texts in bytes. The caller has checked their sizes. */
export const encodeFrames = (texts: ReadonlyArray<string>, totalBytes: number): Uint8Array => {
  const frames = Buffer.allocUnsafe(totalBytes + texts.length * HEADER_BYTES)
  let at = 0
  for (const text of texts) {
    const length = frames.write(text, at + HEADER_BYTES, "utf8")
    frames.writeUInt32BE(length, at)
    at += HEADER_BYTES + length
  }
  return frames
}

/** A frame of JSON text. The caller has checked its size. */
export const encodeFrame = (text: string): Uint8Array => {
  const length = Buffer.byteLength(text)
  const frame = Buffer.allocUnsafe(HEADER_BYTES + length)
  frame.writeUInt32BE(length, 0)
  frame.write(text, HEADER_BYTES, "utf8")
  return frame
}
