/**
 * Messages in the form of one stream of frames (call.md section 16.2): each message that comes is given the length prefix
 * that it lacks, and each frame that goes loses its own. Large bodies are handed on as they are, not copied.
 *
 * A text message and one above the limit end the carrier here, with their close codes; one that is no envelope is found by
 * whoever decodes it, and ends the carrier with `ProtocolError`, which is 1002 here. A message has no half-close and no
 * reset: the end of the carrier is the end of the stream.
 */
import { Deferred, Effect, Exit, Option } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { HEADER_BYTES, MAX_BODY_BYTES } from "../../protocol/call/Frame.ts"
import { MessageClose, readMessageClose, toMessageClose } from "../../protocol/call/MessageClose.ts"
import type { MessageCarrier } from "../../services/Dispatcher.ts"
import { type BiStream, type CloseReason, ConnectionClosed } from "../../services/Transport.ts"
import type { SessionCarrier } from "./SessionCarrier.ts"

/** Up to here a copy behind the prefix costs less than a read of its own. */
const COPIED_BYTES_MAX = 4096

/** The one stream is given to whoever opens or accepts first; both sides of a session do so once. */
export const fromMessages = (carrier: MessageCarrier): SessionCarrier => {
  const stream = new MessageStream(carrier)
  const take = Effect.succeed(stream)
  return {
    info: carrier.info,
    peer: undefined,
    identify: () => Effect.map(carrier.identity, Option.fromUndefinedOr),
    multiStream: false,
    open: take,
    accept: take,
    close: stream.close,
    closed: carrier.closed === undefined ? stream.closed : Effect.raceFirst(stream.closed, carrier.closed),
    limited: stream.limited
  }
}

class MessageStream implements BiStream {
  readonly id = 0
  readonly #carrier: MessageCarrier
  /** What the carrier itself refuses is logged here, once. */
  readonly #receive: Effect.Effect<Uint8Array | string, ConnectionClosed>
  readonly #closed = Deferred.makeUnsafe<CloseReason>()
  #limit = MAX_BODY_BYTES
  /** The body of the message whose header was read. */
  #body: Uint8Array | undefined = undefined
  /** Why we end it, where that is decided: the first reason counts. */
  #ending: MessageClose | undefined = undefined

  constructor(carrier: MessageCarrier) {
    this.#carrier = carrier
    this.#receive = Effect.tapError(this.#noticing(carrier.receive), ({ by, code, reason }) =>
      by === "local" && code === CloseCode.ProtocolError ? refusal(reason) : Effect.void
    )
  }

  readonly read: Effect.Effect<Uint8Array, ConnectionClosed> = Effect.suspend(() => {
    const body = this.#body
    if (body === undefined) return Effect.flatMap(this.#receive, this.#received)
    this.#body = undefined
    return Effect.succeed(body)
  })

  readonly write = (bytes: Uint8Array): Effect.Effect<void, ConnectionClosed> =>
    this.#noticing(Effect.forEach(bodiesOf(bytes), (body) => this.#carrier.send(body), { discard: true }))

  readonly writeLast = (bytes: Uint8Array): Effect.Effect<void, ConnectionClosed> => this.write(bytes)
  readonly finish = Effect.void
  readonly reset = () => Effect.void
  readonly stop = () => Effect.void

  readonly limited = (bytes: number): void => {
    this.#limit = bytes
    this.#carrier.limit?.(bytes)
  }

  readonly close = (code: CloseCode, reason: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.#ending ??= toMessageClose(code, reason)
      this.#end({ by: "local", kind: "app", code, reason })
      return this.#carrier.close(this.#ending.code, this.#ending.reason)
    })

  get closed(): Effect.Effect<CloseReason> {
    return Deferred.await(this.#closed)
  }

  readonly #received = (message: Uint8Array | string): Effect.Effect<Uint8Array, ConnectionClosed> => {
    if (typeof message === "string") return this.#refuse(MessageClose.Text)
    if (message.length > this.#limit) return this.#refuse(MessageClose.TooLarge)
    const isSmall = message.length <= COPIED_BYTES_MAX
    const start = Buffer.allocUnsafe(HEADER_BYTES + (isSmall ? message.length : 0))
    start.writeUInt32BE(message.length, 0)
    if (isSmall) start.set(message, HEADER_BYTES)
    else this.#body = message
    return Effect.succeed(start)
  }

  #refuse(ending: MessageClose): Effect.Effect<never, ConnectionClosed> {
    return Effect.suspend(() => {
      this.#ending ??= ending
      const { code } = readMessageClose(ending.code)
      const reason: CloseReason = { by: "local", kind: "app", code, reason: ending.reason }
      this.#end(reason)
      return refusal(ending.reason).pipe(
        Effect.andThen(this.#carrier.close(ending.code, ending.reason)),
        Effect.andThen(Effect.fail(ConnectionClosed.of(reason)))
      )
    })
  }

  #noticing<A>(effect: Effect.Effect<A, ConnectionClosed>): Effect.Effect<A, ConnectionClosed> {
    return Effect.tapError(effect, (error) => Effect.sync(() => this.#end(error)))
  }

  #end({ by, code, kind, reason }: CloseReason): void {
    Deferred.doneUnsafe(this.#closed, Exit.succeed({ by, code, kind, reason }))
  }
}

const refusal = (reason: string) => Effect.logWarning("call stream refused", { reason })

/** The bodies of whole frames that stand one after another, as views. */
const bodiesOf = (frames: Uint8Array): ReadonlyArray<Uint8Array> => {
  const view = new DataView(frames.buffer, frames.byteOffset, frames.byteLength)
  const bodies: Array<Uint8Array> = []
  for (let at = 0; at < frames.length; ) {
    const start = at + HEADER_BYTES
    at = start + view.getUint32(at)
    bodies.push(frames.subarray(start, at))
  }
  return bodies
}
