/**
 * A server channel of ssh2 as a `BiStream`, and a second writer for standard error.
 *
 * It answers for what ssh2 leaves open: a write waits until the carrier has sent what is before it, so that a client with a
 * huge window cannot make this process hold its output; a write on a channel that the client closed fails instead of waiting
 * for ever; an end closes our direction alone; nothing throws when the connection is gone.
 */
import type { Duplex, Writable } from "node:stream"
import { Effect, Exit, type Scope, Semaphore } from "effect"
import type { ServerChannel } from "ssh2"
import { type BiStream, EndOfStream, StreamReset } from "../../../services/Transport.ts"
import { Waitable } from "../../transport/Waitable.ts"

/** Bytes that the carrier may hold before channels wait. */
const CARRIER_MAX = 1_048_576
/** Of one write to ssh2: a packet. */
const SLICE = 32_768

type ReadExit = Exit.Exit<Uint8Array, StreamReset | EndOfStream>
type WriteExit = Exit.Exit<void, StreamReset>

const END: ReadExit = Exit.fail(new EndOfStream())
const BROKEN_READ: ReadExit = Exit.fail(new StreamReset({ side: "read", code: 0 }))
const BROKEN_WRITE: WriteExit = Exit.fail(new StreamReset({ side: "write", code: 0 }))

/** Counts what crosses all channels of a connection, for the next change of keys. */
export type Count = (bytes: number) => void

/** Lets writers wait while the carrier is full. */
export class Carrier {
  readonly ready: Effect.Effect<void>
  readonly count: Count

  constructor(duplex: Duplex, count: Count) {
    this.count = count
    const room = new Waitable<void, never>(() =>
      duplex.writableLength < CARRIER_MAX || duplex.destroyed ? Exit.void : undefined
    )
    this.ready = room.effect
    const wake = () => room.wake()
    duplex.on("drain", wake)
    duplex.once("close", wake)
  }
}

/** The channel is closed when the scope closes. */
export const fromChannel = (
  channel: ServerChannel,
  carrier: Carrier
): Effect.Effect<ChannelStream, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.sync(() => new ChannelStream(channel, carrier)),
    (stream) => Effect.sync(stream.close)
  )

export class ChannelStream implements BiStream {
  readonly id = 0
  readonly read: BiStream["read"]
  /** Completes when the channel is closed, by either side. */
  readonly gone: Effect.Effect<void>
  readonly #channel: ServerChannel
  readonly #carrier: Carrier
  readonly #reader: Waitable<Uint8Array, StreamReset | EndOfStream>
  readonly #leaving: Waitable<void, never>
  readonly #turn = Semaphore.makeUnsafe(1)
  readonly #closeChannel: () => void
  #waiting: ((exit: WriteExit) => void) | undefined
  #isEnded = false
  #isFinished = false
  #isGone = false

  constructor(channel: ServerChannel, carrier: Carrier) {
    this.#channel = channel
    this.#carrier = carrier
    this.#reader = new Waitable(() => this.#take())
    this.read = this.#reader.effect
    this.#leaving = new Waitable<void, never>(() => (this.#isGone ? Exit.void : undefined))
    this.gone = this.#leaving.effect
    channel.on("readable", () => this.#reader.wake())
    channel.once("end", () => {
      this.#isEnded = true
      this.#reader.wake()
    })
    channel.on("error", () => this.#leave())
    channel.once("close", () => this.#leave())
    // ssh2 answers a close of the client at once, but tells of it only when everything was read.
    this.#closeChannel = channel.close.bind(channel)
    channel.close = () => {
      attempt(this.#closeChannel)
      this.#leave()
    }
  }

  #leave(): void {
    if (this.#isGone) return
    this.#isGone = true
    this.#waiting?.(BROKEN_WRITE)
    this.#reader.wake()
    this.#leaving.wake()
  }

  #take(): ReadExit | undefined {
    if (this.#isEnded) return END
    const chunk: Uint8Array | null = this.#channel.read()
    if (chunk !== null) {
      this.#carrier.count(chunk.length)
      return Exit.succeed(chunk)
    }
    return this.#isGone ? BROKEN_READ : undefined
  }

  readonly write = (bytes: Uint8Array): Effect.Effect<void, StreamReset> => this.#writeTo(this.#channel, bytes)

  /** To standard error. */
  readonly writeError = (bytes: Uint8Array): Effect.Effect<void, StreamReset> =>
    this.#writeTo(this.#channel.stderr, bytes)

  #writeTo(writable: Writable, bytes: Uint8Array): Effect.Effect<void, StreamReset> {
    return this.#turn.withPermits(1)(
      Effect.gen({ self: this }, function* () {
        for (let at = 0; at < bytes.length; at += SLICE) {
          yield* this.#carrier.ready
          yield* this.#writeSlice(writable, bytes.subarray(at, at + SLICE))
        }
      })
    )
  }

  #writeSlice(writable: Writable, bytes: Uint8Array): Effect.Effect<void, StreamReset> {
    return Effect.callback((resume) => {
      if (this.#isGone || this.#isFinished) return resume(BROKEN_WRITE)
      // ssh2 keeps what waited for the window, and would send it again when the other writer waits.
      for (const kept of ["_chunk", "_chunkcb", "_chunkErr", "_chunkcbErr"]) Reflect.set(this.#channel, kept, undefined)
      this.#waiting = (exit) => {
        this.#waiting = undefined
        resume(exit)
      }
      this.#carrier.count(bytes.length)
      const written = attempt(() =>
        writable.write(bytes, (error) => this.#waiting?.(error == null ? Exit.void : BROKEN_WRITE))
      )
      if (!written) this.#waiting?.(BROKEN_WRITE)
    })
  }

  readonly writeLast = (bytes: Uint8Array): Effect.Effect<void, StreamReset> =>
    Effect.andThen(this.write(bytes), this.finish)

  readonly finish: Effect.Effect<void, StreamReset> = Effect.suspend(() =>
    this.#turn.withPermits(1)(
      Effect.sync(() => {
        this.#isFinished = true
        attempt(() => this.#channel.eof())
      })
    )
  )

  /** How the program ended; after everything that it wrote, before the end. */
  readonly exit = (send: (channel: ServerChannel) => void): Effect.Effect<void> =>
    this.#turn.withPermits(1)(Effect.sync(() => attempt(() => send(this.#channel))))

  /** Both directions are over. */
  readonly close = (): void => {
    attempt(() => this.#channel.eof())
    attempt(this.#closeChannel)
    this.#leave()
    // What the client still sends is dropped, so that ssh2 can forget the channel.
    this.#channel.resume()
  }

  readonly reset = (_code: number): Effect.Effect<void> => Effect.sync(this.close)

  readonly stop = (_code: number): Effect.Effect<void> =>
    Effect.sync(() => {
      if (this.#isEnded) return
      this.#isEnded = true
      this.#channel.removeAllListeners("readable")
      this.#channel.resume()
      this.#reader.wake()
    })
}

/** ssh2 throws where the connection went away meanwhile. */
const attempt = (step: () => void): boolean => {
  try {
    step()
    return true
  } catch {
    return false
  }
}
