/**
 * One stream of a call connection: its writer, its reader, and what is under way on it.
 *
 * The reader decodes frames synchronously out of each chunk and hands envelopes on; it waits only where a limit says so,
 * which is the backpressure. What ends the stream, on either direction, is reported once; an orderly end of the peer's
 * direction can be followed by a cut of ours.
 */
import { Cause, Effect, Exit, type Fiber, Result } from "effect"
import { decodeEnvelope, type Envelope } from "../../protocol/call/Envelope.ts"
import { type EndOfInput, FrameDecoder, FrameError } from "../../protocol/call/Frame.ts"
import { StreamCode } from "../../protocol/call/StreamCode.ts"
import type { BiStream, ConnectionClosed, StreamReset } from "../../services/Transport.ts"
import type { Deadline, Deadlines, Fork } from "./Deadlines.ts"
import { FrameWriter, type WriteError } from "./FrameWriter.ts"

/**
 * `peer`: the other side opened it. `shared`: ours, for small calls. `dedicated`: ours, for one request. `only`: the one
 * stream of a carrier that has no others.
 */
export type ChannelRole = "peer" | "shared" | "dedicated" | "only"

/** How a stream ended. `broken`: the peer broke the protocol on it. `cut`: reset or stopped. `gone`: with the connection. */
export type ChannelEnd =
  | { readonly _tag: "finished" }
  | { readonly _tag: "broken"; readonly error: FrameError }
  | { readonly _tag: "cut"; readonly error: StreamReset }
  | { readonly _tag: "gone" }

export interface ChannelOwner {
  readonly fork: Fork
  readonly deadlines: Deadlines
  /** Body bytes that a frame may have now. */
  readonly frameLimit: () => number
  readonly frameStallMillis: number
  /** So many bytes of frames go to the transport. */
  readonly handed: (bytes: number) => void
  /** Before a body is read on a stream of the peer: an effect to wait for, where its bytes do not fit the budget. */
  readonly announced: (channel: Channel, bytes: number) => Effect.Effect<void> | undefined
  /** An envelope: an effect to wait for before the next one is read. */
  readonly received: (channel: Channel, envelope: Envelope, bytes: number) => Effect.Effect<void> | undefined
  /** The peer's direction, or the whole stream, is over. Called once, and again where ours is cut after `finished`. */
  readonly ended: (channel: Channel, end: ChannelEnd) => void
  /** Nothing is left to do on it. Called once. */
  readonly retired: (channel: Channel) => void
}

type ReadError = StreamReset | ConnectionClosed | FrameError | EndOfInput

export class Channel {
  readonly role: ChannelRole
  readonly writer: FrameWriter
  /** Requests of the peer that came in here and are not answered. */
  inbound = 0
  /** Body bytes that were taken from the budget for the frame in progress. */
  reserved = 0
  /** Set when the peer's direction or the whole stream is over. */
  end: ChannelEnd | undefined = undefined
  readonly #owner: ChannelOwner
  readonly #decoder = new FrameDecoder()
  #stream: BiStream | undefined = undefined
  #reader: Fiber.Fiber<void> | undefined = undefined
  #stall: Deadline | undefined = undefined
  #wantsFinish = false
  #isAbandoned = false
  #isRetired = false

  constructor(role: ChannelRole, owner: ChannelOwner) {
    this.role = role
    this.#owner = owner
    this.writer = new FrameWriter(owner.fork, (error) => this.#writeFailed(error), owner.handed)
  }

  /** Whether a request can still be sent or answered here. */
  get isWritable(): boolean {
    return this.writer.isOpen && !this.#isAbandoned
  }

  /** The stream is there: what waits is written, and what comes is read. */
  start(stream: BiStream): void {
    this.#stream = stream
    if (this.#isAbandoned) {
      this.#owner.fork(Effect.andThen(stream.reset(StreamCode.Cancelled), stream.stop(StreamCode.Cancelled)))
      return
    }
    this.writer.start(stream)
    this.#reader = this.#owner.fork(this.#read(stream))
  }

  /** Ends our direction as soon as every request that came in here is answered. */
  finishWhenAnswered(): void {
    this.#wantsFinish = true
    this.settle()
  }

  /** Called when the number of unanswered requests went down. */
  settle(): void {
    if (this.inbound > 0 || !this.#wantsFinish) return
    if (this.writer.isOpen) this.writer.finish()
    if (this.end !== undefined) this.#retire()
  }

  /** Ends both directions now; what waits is dropped. */
  abandon(code: number): void {
    if (this.#isAbandoned) return
    this.#isAbandoned = true
    this.writer.close()
    this.#clearStall()
    this.#reader?.interruptUnsafe()
    if (this.#stream !== undefined) {
      this.#owner.fork(Effect.andThen(this.#stream.reset(code), this.#stream.stop(code)))
    }
    this.#retire()
  }

  /** Asks the peer to end its direction, and reads no more; our direction goes on to its end. */
  stopReading(code: number): void {
    this.#clearStall()
    this.#reader?.interruptUnsafe()
    if (this.#stream !== undefined) this.#owner.fork(this.#stream.stop(code))
    this.#retire()
  }

  /** The connection is over: nothing is sent any more. */
  release(): void {
    this.#isAbandoned = true
    this.writer.close()
    this.#clearStall()
    this.#reader?.interruptUnsafe()
    this.#retire()
  }

  #retire(): void {
    if (this.#isRetired) return
    this.#isRetired = true
    this.#owner.retired(this)
  }

  #finished(end: ChannelEnd): void {
    const isOrderly = this.end === undefined || this.end._tag === "finished"
    if (!isOrderly || this.end?._tag === end._tag || this.#isAbandoned) return
    this.end = end
    this.#clearStall()
    this.#owner.ended(this, end)
  }

  #writeFailed(error: WriteError): void {
    this.#finished(error._tag === "StreamReset" ? { _tag: "cut", error } : { _tag: "gone" })
  }

  #read(stream: BiStream): Effect.Effect<void> {
    const next: Effect.Effect<never, ReadError> = Effect.flatMap(
      Effect.catchTag(stream.read, "EndOfStream", () => this.#decoder.end()),
      (chunk) => {
        this.#clearStall()
        this.#decoder.push(chunk)
        return drain()
      }
    )
    const drain = (): Effect.Effect<never, ReadError> => {
      for (;;) {
        const wait = this.#decodeNext()
        if (wait === undefined) break
        if (wait !== GO_ON) return Effect.flatMap(wait, drain)
      }
      if (this.#decoder.isPartial) this.#watchStall()
      return next
    }
    return Effect.exit(next).pipe(Effect.map((exit) => this.#readEnded(exit)))
  }

  /** One step: undefined when bytes are missing, else what to wait for before the next. */
  #decodeNext(): Effect.Effect<void, FrameError> | undefined {
    const limit = this.#owner.frameLimit()
    const header = this.#decoder.header(limit)
    if (header === undefined) return undefined
    if (Result.isFailure(header)) return Effect.fail(header.failure)
    const bytes = header.success
    if (this.role === "peer" && this.reserved === 0) {
      const wait = this.#owner.announced(this, bytes)
      if (wait !== undefined) return wait
    }
    const offset = this.#decoder.offset
    const body = this.#decoder.next(limit)
    if (body === undefined) return undefined
    if (Result.isFailure(body)) return Effect.fail(body.failure)
    const envelope = decodeEnvelope(body.success, offset)
    if (Result.isFailure(envelope)) return Effect.fail(envelope.failure)
    return this.#owner.received(this, envelope.success, bytes) ?? GO_ON
  }

  #readEnded(exit: Exit.Exit<never, ReadError>): void {
    if (Exit.isSuccess(exit)) return
    const failure = Cause.findErrorOption(exit.cause)
    if (failure._tag === "None") {
      // A defect of ours while reading: this stream cannot be understood any more.
      if (Cause.hasDies(exit.cause)) this.#owner.fork(Effect.logError("reading a stream broke", exit.cause))
      if (!Cause.hasInterruptsOnly(exit.cause)) this.#finished({ _tag: "broken", error: this.#brokenAt("internal") })
      return
    }
    const error = failure.value
    if (error._tag === "EndOfInput") {
      this.#finished(
        error.partial ? { _tag: "broken", error: this.#brokenAt("the input ended") } : { _tag: "finished" }
      )
    } else if (error._tag === "FrameError") {
      this.#finished({ _tag: "broken", error })
    } else {
      this.#finished(error._tag === "StreamReset" ? { _tag: "cut", error } : { _tag: "gone" })
    }
  }

  #brokenAt(hint: string): FrameError {
    return new FrameError({ reason: "InvalidFrame", offset: this.#decoder.offset, hint })
  }

  /** Time counts while we read; while we wait for a limit no timer runs. */
  #watchStall(): void {
    this.#stall = this.#owner.deadlines.add(this.#owner.frameStallMillis, () => {
      const hint = "its bytes stopped coming"
      this.#reader?.interruptUnsafe()
      this.#finished({
        _tag: "broken",
        error: new FrameError({ reason: "Stalled", offset: this.#decoder.offset, hint })
      })
    })
  }

  #clearStall(): void {
    if (this.#stall !== undefined) this.#owner.deadlines.cancel(this.#stall)
    this.#stall = undefined
  }
}

const GO_ON: Effect.Effect<void> = Effect.void
