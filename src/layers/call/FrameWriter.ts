/**
 * The one writer of a stream: whole frames, first in, first out (CALL-R12, CALL-R38).
 *
 * Frames that become ready in the same turn of the loop leave in one write. The writing fiber belongs to the connection and
 * nobody else can interrupt it, so that a frame of which a byte was written is written to its end, or its stream is reset.
 */
import { type Effect, Exit, type Fiber } from "effect"
import type { BiStream, ConnectionClosed, StreamReset } from "../../services/Transport.ts"
import type { Fork } from "./Deadlines.ts"

/** Told when a frame was taken by the transport. */
export interface FrameOwner {
  readonly written: () => void
}

/** Frames are joined up to this many bytes; a larger one goes by itself and is not copied. */
const BATCH_BYTES = 64 * 1024

export type WriteError = StreamReset | ConnectionClosed

export class FrameWriter {
  readonly #fork: Fork
  readonly #failed: (error: WriteError) => void
  readonly #handed: (bytes: number) => void
  #stream: BiStream | undefined = undefined
  #frames: Array<Uint8Array> = []
  #owners: Array<FrameOwner | undefined> = []
  #writing: ReadonlyArray<Uint8Array> = []
  #dropped: ReadonlyArray<Uint8Array> = []
  #isScheduled = false
  #isWriting = false
  #isHanding = false
  #wantsFinish = false
  #isOver = false
  #hasOvertaken = false

  /** `handed` is told what goes to the transport, in bytes. */
  constructor(fork: Fork, failed: (error: WriteError) => void, handed: (bytes: number) => void = () => undefined) {
    this.#fork = fork
    this.#failed = failed
    this.#handed = handed
  }

  /** Whether frames can still be added. */
  get isOpen(): boolean {
    return !this.#wantsFinish && !this.#isOver
  }

  /** Frames that wait. */
  get queued(): number {
    return this.#frames.length
  }

  /** Whether everything that was added was also written, or is just being handed over. */
  get isIdle(): boolean {
    return (!this.#isWriting || this.#isHanding) && this.#frames.length === 0
  }

  /** The stream is open now; what waits is written. */
  start(stream: BiStream): void {
    this.#stream = stream
    this.#schedule()
  }

  push(frame: Uint8Array, owner?: FrameOwner): void {
    this.#frames.push(frame)
    this.#owners.push(owner)
    this.#schedule()
  }

  /** Takes a frame back. False: it is being written, or was. */
  drop(frame: Uint8Array): boolean {
    const index = this.#frames.indexOf(frame)
    if (index === -1) return false
    this.#frames.splice(index, 1)
    this.#owners.splice(index, 1)
    return true
  }

  /** Ends our direction after what waits. */
  finish(): void {
    this.#wantsFinish = true
    this.#schedule()
  }

  /**
   * Whether the transport is taking this frame right now, further up the stack. What comes in meanwhile was caused by it:
   * the other side, in the same process, has read the frame already.
   */
  isHandingOver(frame: Uint8Array): boolean {
    return this.#isHanding && this.#writing.includes(frame)
  }

  /** Whether a frame was never written because the writer failed. */
  hasDropped(frame: Uint8Array): boolean {
    return this.#dropped.includes(frame)
  }

  /** Drops what waits: the stream is gone. */
  close(): void {
    this.#isOver = true
    this.#dropped = this.#frames
    this.#frames = []
    this.#owners = []
  }

  #schedule(): void {
    if (this.#isScheduled || this.#isWriting || this.#isOver || this.#stream === undefined) return
    this.#isScheduled = true
    queueMicrotask(this.#flush)
  }

  readonly #flush = (): void => {
    this.#isScheduled = false
    if (this.#isOver || this.#isWriting || this.#stream === undefined) return
    if (this.#frames.length === 0) {
      if (this.#wantsFinish) this.#run(this.#stream.finish, [], true)
      return
    }
    const count = this.#batchLength()
    const isAll = count === this.#frames.length
    const frames = isAll ? this.#frames : this.#frames.splice(0, count)
    const owners = isAll ? this.#owners : this.#owners.splice(0, count)
    if (isAll) {
      this.#frames = []
      this.#owners = []
    }
    if (!this.#hasOvertaken) this.#overtake(frames, owners)
    this.#writing = frames
    const bytes = frames.length === 1 ? frames[0]! : Buffer.concat(frames)
    this.#handed(bytes.length)
    const isLast = isAll && this.#wantsFinish
    this.#run(isLast ? this.#stream.writeLast(bytes) : this.#stream.write(bytes), owners, isLast)
  }

  /**
   * Of the first two answers that leave together the second goes first. A caller cannot know whether a stream is served one
   * request at a time, and opens a stream for each call as soon as answers are slow; an answer that overtakes another tells
   * it that this is not so (CALL-R44).
   */
  #overtake(frames: Array<Uint8Array>, owners: Array<FrameOwner | undefined>): void {
    const [first, second] = owners
    if (first === undefined || second === undefined) return
    this.#hasOvertaken = true
    frames.splice(0, 2, frames[1]!, frames[0]!)
    owners.splice(0, 2, second, first)
  }

  /** How many frames the next write takes: at least one. */
  #batchLength(): number {
    let bytes = this.#frames[0]!.length
    let count = 1
    while (count < this.#frames.length) {
      bytes += this.#frames[count]!.length
      if (bytes > BATCH_BYTES) break
      count++
    }
    return count
  }

  #run(write: Effect.Effect<void, WriteError>, owners: ReadonlyArray<FrameOwner | undefined>, isLast: boolean): void {
    this.#isWriting = true
    this.#isHanding = true
    const fiber: Fiber.Fiber<void, WriteError> = this.#fork(write)
    this.#isHanding = false
    fiber.addObserver((exit) => {
      this.#isWriting = false
      if (this.#isOver) return
      if (Exit.isSuccess(exit)) {
        this.#writing = []
        if (isLast) this.#isOver = true
        for (const owner of owners) owner?.written()
        if (this.#frames.length > 0 || this.#wantsFinish) this.#schedule()
        return
      }
      const unsent = [...this.#writing, ...this.#frames]
      this.close()
      this.#dropped = unsent
      const reason = exit.cause.reasons.find((one) => one._tag === "Fail")
      if (reason !== undefined) this.#failed(reason.error)
    })
  }
}
