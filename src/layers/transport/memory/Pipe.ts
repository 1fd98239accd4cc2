/**
 * One direction of a stream in memory: a bounded queue of chunks between one writer and one reader, with the ends that a
 * QUIC stream has: finished, reset by the writer, stopped by the reader, lost with the connection.
 *
 * Bounds: `window` bytes and `CHUNKS_MAX` chunks lie in the queue; a writer beyond that waits. What a writer still holds
 * is its own buffer, so nothing else is kept. Bytes are copied once, when they enter the queue.
 */
import { Effect, Exit } from "effect"
import { type ConnectionClosed, EndOfStream, StreamReset } from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"

/** Chunks that may lie in the queue, so that a window full of 1-byte writes does not cost a hundred times its bytes. */
export const CHUNKS_MAX = 1024

/** The largest chunk a reader gets. */
export const CHUNK_BYTES_MAX = 65_536

type WriteExit = Exit.Exit<void, StreamReset | ConnectionClosed>
type ReadExit = Exit.Exit<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>

interface PendingWrite {
  readonly bytes: Uint8Array
  readonly last: boolean
  readonly resume: (exit: WriteExit) => void
  offset: number
}

const END: ReadExit = Exit.fail(new EndOfStream({}))
const WRITTEN_AFTER_END: WriteExit = Exit.fail(new StreamReset({ side: "write", code: 0 }))

/** What a pipe tells its owner. */
export interface PipeOwner {
  /** Bytes entered the queue. */
  readonly written: (bytes: number) => void
  /** Bytes reached the reader. */
  readonly taken: (bytes: number) => void
  /** Nothing moves while true: the path between the two nodes is cut. */
  readonly frozen: () => boolean
  /** The direction is over: finished and drained, reset, stopped or closed. Once. */
  readonly done: () => void
}

export class Pipe {
  readonly read: Effect.Effect<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
  readonly #window: number
  readonly #owner: PipeOwner
  readonly #reader: Waitable<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
  readonly #writers: Array<PendingWrite> = []
  #chunks: Array<Uint8Array> = []
  #head = 0
  #size = 0
  #ended = false
  #over = false
  #readExit: ReadExit | undefined = undefined
  #writeExit: WriteExit | undefined = undefined

  constructor(window: number, owner: PipeOwner) {
    this.#window = window
    this.#owner = owner
    this.#reader = new Waitable(() => this.#take())
    this.read = this.#reader.effect
  }

  /** The writer has finished, and nobody reset or stopped it. */
  get finished(): boolean {
    return this.#ended && this.#readExit === undefined
  }

  /** Writes all; `last` finishes with it. Waits while the window is full or another write is before it. */
  write(bytes: Uint8Array, last: boolean): Effect.Effect<void, StreamReset | ConnectionClosed> {
    return Effect.suspend(() => {
      const refused = this.#refusal()
      if (refused !== undefined) return bytes.length === 0 && last && this.finished ? Exit.void : refused
      if (this.#writers.length === 0 && bytes.length <= this.#room() && bytes.length <= CHUNK_BYTES_MAX) {
        if (bytes.length > 0) this.#put(bytes, 0, bytes.length)
        if (last) this.#ended = true
        this.#wake()
        return Exit.void
      }
      return this.#writeInTurn(bytes, last)
    })
  }

  /** The writer abandons the direction; what was not read is dropped. No effect on one that was read to its end. */
  reset(code: number): void {
    if (this.#over) return
    this.#fail(Exit.fail(new StreamReset({ side: "read", code })), Exit.fail(new StreamReset({ side: "write", code })))
  }

  /** The reader does not want the rest. */
  stop(code: number): void {
    if (this.#over) return
    this.#fail(Exit.fail(new StreamReset({ side: "read", code })), Exit.fail(new StreamReset({ side: "write", code })))
  }

  /** The connection ended. What a peer finished orderly can still be read, where `readable` says so. */
  close(toReader: ConnectionClosed, toWriter: ConnectionClosed, readable: boolean): void {
    if (readable && this.finished) {
      this.#writeExit ??= Exit.fail(toWriter)
      return
    }
    if (!this.#over) this.#fail(Exit.fail(toReader), Exit.fail(toWriter))
  }

  /** Moves on after the path was cut and healed. */
  thaw(): void {
    this.#flush()
    this.#wake()
  }

  #writeInTurn(bytes: Uint8Array, last: boolean): Effect.Effect<void, StreamReset | ConnectionClosed> {
    return Effect.callback<void, StreamReset | ConnectionClosed>((resume) => {
      const refused = this.#refusal()
      if (refused !== undefined) return resume(refused)
      const entry: PendingWrite = { bytes, last, resume, offset: 0 }
      this.#writers.push(entry)
      this.#flush()
      this.#wake()
      return Effect.sync(() => {
        const index = this.#writers.indexOf(entry)
        if (index >= 0) this.#writers.splice(index, 1)
      })
    })
  }

  #refusal(): WriteExit | undefined {
    return this.#writeExit ?? (this.#ended ? WRITTEN_AFTER_END : undefined)
  }

  #room(): number {
    return this.#chunks.length - this.#head >= CHUNKS_MAX ? 0 : this.#window - this.#size
  }

  #put(bytes: Uint8Array, from: number, to: number): void {
    // A copy in a plain Uint8Array: the writer keeps its buffer, and `slice` of a Buffer would be a view.
    this.#chunks.push(new Uint8Array(bytes.subarray(from, to)))
    this.#size += to - from
    this.#owner.written(to - from)
  }

  #take(): ReadExit | undefined {
    if (this.#readExit !== undefined) return this.#readExit
    if (this.#owner.frozen()) return undefined
    const chunk = this.#chunks[this.#head]
    if (chunk === undefined) return this.#ended ? END : undefined
    this.#chunks[this.#head++] = EMPTY
    if (this.#head === this.#chunks.length) {
      this.#chunks = []
      this.#head = 0
    } else if (this.#head >= CHUNKS_MAX) {
      this.#chunks = this.#chunks.slice(this.#head)
      this.#head = 0
    }
    this.#size -= chunk.length
    this.#owner.taken(chunk.length)
    if (this.#writers.length > 0) this.#flush()
    this.#settle()
    return Exit.succeed(chunk)
  }

  /** Moves what fits from the waiting writers into the queue, then lets those run on that are through. */
  #flush(): void {
    const through: Array<PendingWrite> = []
    while (this.#writers.length > 0 && this.#writeExit === undefined) {
      const entry = this.#writers[0]!
      const left = entry.bytes.length - entry.offset
      if (left > 0) {
        const size = Math.min(left, this.#room(), CHUNK_BYTES_MAX)
        if (size <= 0) break
        this.#put(entry.bytes, entry.offset, entry.offset + size)
        entry.offset += size
        if (size < left) continue
      }
      this.#writers.shift()
      through.push(entry)
      if (entry.last) {
        this.#ended = true
        through.push(...this.#writers.splice(0))
        break
      }
    }
    for (const entry of through) entry.resume(entry.offset === entry.bytes.length ? Exit.void : WRITTEN_AFTER_END)
  }

  #wake(): void {
    this.#settle()
    this.#reader.wake()
  }

  /** A direction that is finished and drained is over. */
  #settle(): void {
    if (this.#ended && this.#size === 0 && !this.#over && this.#readExit === undefined) {
      this.#over = true
      this.#owner.done()
    }
  }

  #fail(toReader: ReadExit, toWriter: WriteExit): void {
    this.#over = true
    this.#readExit = toReader
    this.#writeExit ??= toWriter
    this.#chunks = []
    this.#head = 0
    this.#size = 0
    const writers = this.#writers.splice(0)
    this.#owner.done()
    for (const entry of writers) entry.resume(toWriter)
    this.#reader.wake()
  }
}

const EMPTY = new Uint8Array(0)
