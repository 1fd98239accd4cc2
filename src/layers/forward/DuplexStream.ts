/**
 * A `node:stream` Duplex (a TCP or Unix socket, a channel of ssh2) as a `BiStream`, so that `pump` can join it.
 *
 * Nothing is buffered here: a read takes what the Duplex holds, which is at most its high-water mark and a chunk; a write is
 * over when the Duplex has passed the bytes on. Half-close is kept where the Duplex was made with `allowHalfOpen`. TCP cannot
 * abandon one direction alone: `reset` ends both.
 */
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { Effect, Exit, type Scope } from "effect"
import { type BiStream, type ConnectionClosed, EndOfStream, StreamReset } from "../../services/Transport.ts"
import { Waitable } from "../transport/Waitable.ts"

type ReadExit = Exit.Exit<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
type WriteExit = Exit.Exit<void, StreamReset>

const END: ReadExit = Exit.fail(new EndOfStream())
const BROKEN_READ: ReadExit = Exit.fail(new StreamReset({ side: "read", code: 0 }))
const BROKEN_WRITE: WriteExit = Exit.fail(new StreamReset({ side: "write", code: 0 }))

/** The Duplex is destroyed when the scope closes. */
export const fromDuplex = (duplex: Duplex): Effect.Effect<DuplexStream, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new DuplexStream(duplex)),
    () => Effect.sync(() => duplex.destroy())
  )

export class DuplexStream implements BiStream {
  readonly id = 0
  readonly read: BiStream["read"]
  /** Completes when the Duplex went before our direction was finished: there is nobody left to write to. */
  readonly gone: Effect.Effect<void>
  readonly #duplex: Duplex
  readonly #reader: Waitable<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
  readonly #writing = new Set<(exit: WriteExit) => void>()
  readonly #onReadable: () => void
  #isEnded = false
  #isStopped = false

  constructor(duplex: Duplex) {
    this.#duplex = duplex
    this.#reader = new Waitable(() => this.#take())
    this.read = this.#reader.effect
    const leaving = new Waitable<void, never>(() => (this.#isBroken ? Exit.void : undefined))
    this.gone = leaving.effect
    this.#onReadable = () => this.#reader.wake()
    duplex.on("readable", this.#onReadable)
    duplex.once("end", () => {
      this.#isEnded = true
      this.#reader.wake()
    })
    // What is wrong is seen at `close`, which always follows.
    duplex.on("error", () => {})
    duplex.once("close", () => {
      for (const resume of [...this.#writing]) resume(duplex.writableFinished ? Exit.void : BROKEN_WRITE)
      this.#writing.clear()
      this.#reader.wake()
      leaving.wake()
    })
  }

  get #isBroken(): boolean {
    return this.#duplex.destroyed && !this.#duplex.writableFinished
  }

  #take(): ReadExit | undefined {
    if (this.#isStopped) return BROKEN_READ
    if (this.#isEnded) return END
    const chunk: Uint8Array | null = this.#duplex.read()
    if (chunk !== null) return Exit.succeed(chunk)
    return this.#duplex.destroyed ? BROKEN_READ : undefined
  }

  readonly write = (bytes: Uint8Array): Effect.Effect<void, StreamReset> =>
    bytes.length === 0 ? Effect.void : this.#when((done) => this.#duplex.write(bytes, done))

  readonly writeLast = (bytes: Uint8Array): Effect.Effect<void, StreamReset> =>
    Effect.andThen(this.write(bytes), this.finish)

  readonly finish: Effect.Effect<void, StreamReset> = Effect.suspend(() =>
    this.#duplex.writableFinished ? Exit.void : this.#when((done) => this.#duplex.end(done))
  )

  readonly reset = (_code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      const duplex = this.#duplex
      if (duplex.destroyed || duplex.writableFinished) return
      // Only TCP has a reset; a Unix socket refuses to.
      if (duplex instanceof Socket && duplex.remoteAddress !== undefined) duplex.resetAndDestroy()
      else duplex.destroy()
    })

  readonly stop = (_code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      if (this.#isEnded || this.#isStopped) return
      this.#isStopped = true
      this.#duplex.off("readable", this.#onReadable)
      // What still comes is read and dropped; where nobody writes any more either, nothing needs to come.
      if (this.#duplex.writableFinished) this.#duplex.destroy()
      else this.#duplex.resume()
      this.#reader.wake()
    })

  /** Starts a write or the end of writing; over at its callback, or when the Duplex is gone. */
  #when(start: (done: (error?: Error | null) => void) => void): Effect.Effect<void, StreamReset> {
    return Effect.callback((resume) => {
      if (this.#duplex.destroyed) return resume(BROKEN_WRITE)
      this.#writing.add(resume)
      start((error) => {
        if (this.#writing.delete(resume)) resume(error == null ? Exit.void : BROKEN_WRITE)
      })
      return Effect.sync(() => this.#writing.delete(resume))
    })
  }
}
