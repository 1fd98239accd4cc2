/**
 * The one stream of a TLS connection.
 *
 * Reading: chunks of the socket, handed out as they came; the socket is paused while more than `READ_AHEAD_BYTES` wait.
 * Writing: small writes are copied and gathered into one TLS record at the end of the turn; large ones go out of the
 * caller's buffer, which is free when they are sent. `reset` cuts the whole connection off, since TLS has no other way to
 * abandon a direction; after `stop` what arrives is dropped.
 */
import type { TLSSocket } from "node:tls"
import { Effect, Exit } from "effect"
import { type BiStream, type ConnectionClosed, EndOfStream, StreamReset } from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"

/** Bytes that may wait for the reader before the socket is paused. */
export const READ_AHEAD_BYTES = 262_144

/** Chunks that may wait, so that records of one byte do not cost a hundred times their bytes. */
const READ_AHEAD_CHUNKS = 1_024

/** Unsent bytes above which a write waits until it is sent. */
export const WRITE_AHEAD_BYTES = 262_144

/** Writes up to this size are copied, so that the caller's buffer is free at once. */
const COPIED_BYTES_MAX = 8_192

type ReadExit = Exit.Exit<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>

const END: ReadExit = Exit.fail(new EndOfStream({}))

export class TlsStream implements BiStream {
  readonly id = 0
  readonly read: BiStream["read"]
  readonly finish: BiStream["finish"]
  /** Milliseconds of `performance.now()` when a byte last moved. */
  lastActivity = performance.now()
  /** A byte of the application came. */
  heard = false
  /** A byte of the application went either way. */
  used = false
  peerEnded = false
  /** Both directions ended, ours last. */
  finishedLast = false
  wasReset = false
  readonly #socket: TLSSocket
  readonly #cutOff: () => void
  readonly #reader: Waitable<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
  readonly #writing = new Set<(exit: Exit.Exit<void, ConnectionClosed | StreamReset>) => void>()
  #chunks: Array<Uint8Array> = []
  #size = 0
  #discarding = false
  #corked = false
  #readExit: ReadExit | undefined = undefined
  #closed: ConnectionClosed | undefined = undefined

  /** `cutOff` resets the connection. */
  constructor(socket: TLSSocket, cutOff: () => void) {
    this.#socket = socket
    this.#cutOff = cutOff
    this.#reader = new Waitable(() => this.#take())
    this.read = this.#reader.effect
    this.finish = Effect.suspend(() => {
      if (this.#closed !== undefined) return Exit.fail(this.#closed)
      this.#end()
      return Exit.void
    })
    socket.on("data", (chunk: Buffer) => this.#onData(chunk))
    socket.once("end", () => {
      this.peerEnded = true
      this.#reader.wake()
    })
  }

  readonly write = (bytes: Uint8Array): Effect.Effect<void, StreamReset | ConnectionClosed> =>
    Effect.suspend(() => {
      const refused = this.#refusal()
      if (refused !== undefined) return refused
      if (bytes.length === 0) return Exit.void
      this.lastActivity = performance.now()
      this.used = true
      if (bytes.length > COPIED_BYTES_MAX || this.#socket.writableLength > WRITE_AHEAD_BYTES) {
        return this.#writeAndWait(bytes)
      }
      this.#cork()
      this.#socket.write(new Uint8Array(bytes))
      return Exit.void
    })

  readonly writeLast = (bytes: Uint8Array): Effect.Effect<void, StreamReset | ConnectionClosed> =>
    Effect.andThen(this.write(bytes), this.finish)

  readonly reset = (_code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      if (this.#closed !== undefined || (this.#socket.writableFinished && this.peerEnded)) return
      this.wasReset = true
      this.#cutOff()
    })

  readonly stop = (code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      if (this.peerEnded && this.#chunks.length === 0) return
      this.#readExit ??= Exit.fail(new StreamReset({ side: "read", code }))
      this.discard()
      this.#reader.wake()
    })

  /** What waits and what still comes is dropped. */
  discard(): void {
    this.#discarding = true
    this.#chunks = []
    this.#size = 0
    this.#socket.resume()
  }

  /** The connection is over. What came before is still read, unless we closed it ourselves. */
  close(error: ConnectionClosed): void {
    this.#closed = error
    if (error.by === "local") {
      this.#readExit ??= Exit.fail(error)
      this.#chunks = []
      this.#size = 0
    }
    for (const resume of [...this.#writing]) resume(Exit.fail(error))
    this.#writing.clear()
    this.#reader.wake()
  }

  #take(): ReadExit | undefined {
    if (this.#readExit !== undefined) return this.#readExit
    const chunk = this.#chunks.shift()
    if (chunk !== undefined) {
      this.#size -= chunk.length
      const low = this.#size < READ_AHEAD_BYTES / 2 && this.#chunks.length < READ_AHEAD_CHUNKS / 2
      if (low && this.#socket.isPaused()) this.#socket.resume()
      return Exit.succeed(chunk)
    }
    if (this.peerEnded) return END
    return this.#closed === undefined ? undefined : Exit.fail(this.#closed)
  }

  #onData(chunk: Buffer): void {
    this.lastActivity = performance.now()
    this.heard = true
    this.used = true
    if (this.#discarding) return
    this.#chunks.push(chunk)
    this.#size += chunk.length
    this.#reader.wake()
    if (this.#size > READ_AHEAD_BYTES || this.#chunks.length > READ_AHEAD_CHUNKS) {
      this.#socket.pause()
    }
  }

  #refusal(): Exit.Exit<void, StreamReset | ConnectionClosed> | undefined {
    if (this.#closed !== undefined) return Exit.fail(this.#closed)
    return this.wasReset || this.#socket.writableEnded
      ? Exit.fail(new StreamReset({ side: "write", code: 0 }))
      : undefined
  }

  #writeAndWait(bytes: Uint8Array): Effect.Effect<void, StreamReset | ConnectionClosed> {
    return Effect.callback<void, StreamReset | ConnectionClosed>((resume) => {
      const refused = this.#refusal()
      if (refused !== undefined) return resume(refused)
      this.#writing.add(resume)
      this.#uncork()
      this.#socket.write(bytes, (error) => {
        this.lastActivity = performance.now()
        // A failed write ends in the `close` of the socket, which knows why.
        if (error == null && this.#writing.delete(resume)) resume(Exit.void)
      })
    })
  }

  #end(): void {
    if (this.#socket.writableEnded) return
    this.finishedLast = this.peerEnded
    this.#uncork()
    this.#socket.end()
  }

  /** Gathers the small writes of this turn. */
  #cork(): void {
    if (this.#corked) return
    this.#corked = true
    this.#socket.cork()
    process.nextTick(() => this.#uncork())
  }

  #uncork(): void {
    if (!this.#corked) return
    this.#corked = false
    this.#socket.uncork()
  }
}
