/**
 * A WebSocket as a message carrier, on either side: what `WebSocketClient` dialed or `WebSocketUpgrade` accepted.
 *
 * Plain callbacks of the socket; Effects only at the edge. Bounds: messages of `READ_AHEAD_BYTES` and one chunk of the socket
 * wait for the reader, then reading stops; a writer waits while more than `WRITE_AHEAD_BYTES` are unsent, and for a turn of
 * the event loop after each so many. There is no compression. A message that grows beyond the limit of the session is refused while it comes, so that a stranger cannot
 * make us hold what only a known peer may send; one that stops coming ends the session. TCP asks after a quiet peer.
 */
import { Socket } from "node:net"
import type { Duplex } from "node:stream"
import { NodeWS } from "@effect/platform-node"
import { Deferred, type Duration, Effect, Exit } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { MAX_BODY_BYTES } from "../../protocol/call/Frame.ts"
import { MessageClose, readMessageClose } from "../../protocol/call/MessageClose.ts"
import type { MessageCarrier } from "../../services/Dispatcher.ts"
import type { Principal } from "../../services/Identity.ts"
import type { ConnectionInfo } from "../../services/RemoteFilter.ts"
import { type CloseReason, ConnectionClosed } from "../../services/Transport.ts"
import { Waitable } from "../transport/Waitable.ts"

/** Bytes of messages that wait for the reader before the socket is read no more. */
export const READ_AHEAD_BYTES = 64 * 1024
/** Unsent bytes above which a writer waits. */
export const WRITE_AHEAD_BYTES = 64 * 1024
/** What a message costs beyond its bytes while it waits. */
const MESSAGE_COST_BYTES = 64
/** What the frames around the parts of one message may add: 16,384 of them, which is the bound of the socket, at 14 bytes. */
const FRAMING_BYTES_MAX = 16_384 * 14
/** How long a connection is quiet before TCP asks whether the other side is there. */
const KEEP_ALIVE_AFTER_MILLIS = 10_000
/** How long the other side may take to answer a close. */
const CLOSE_DRAIN = "2 seconds"

/** Compression is off: it makes a small message large, and tells lengths of secrets. */
export const socketOptions = { perMessageDeflate: false, maxPayload: MAX_BODY_BYTES } as const

/** Says why where it refuses a message by itself. */
export class CallSocket extends NodeWS.WebSocket {
  override close(code?: number, reason?: string | Buffer): void {
    const { TooLarge } = MessageClose
    super.close(code, code === TooLarge.code && reason === undefined ? TooLarge.reason : reason)
  }
}

export interface Parts {
  readonly socket: CallSocket
  /** What is below the WebSocket. */
  readonly below: Duplex
  readonly info: ConnectionInfo
  readonly identity: Effect.Effect<Principal | undefined>
}

export class WebSocketCarrier implements MessageCarrier {
  readonly info: ConnectionInfo
  readonly identity: Effect.Effect<Principal | undefined>
  readonly receive: Effect.Effect<Uint8Array | string, ConnectionClosed>
  readonly closed: Effect.Effect<CloseReason>
  readonly #socket: CallSocket
  readonly #below: Duplex
  readonly #messages: Waitable<Uint8Array | string, ConnectionClosed>
  readonly #room: Waitable<void, ConnectionClosed>
  readonly #closed = Deferred.makeUnsafe<CloseReason>()
  readonly #gone = Deferred.makeUnsafe<void>()
  #queue: Array<Uint8Array | string> = []
  #queuedBytes = 0
  #end: ConnectionClosed | undefined = undefined
  #limit = MAX_BODY_BYTES
  #isGathering = false
  #isWaking = false
  /** Bytes that were sent since a writer had to wait for a turn of the event loop. */
  #turnBytes = 0
  #cameBytes = 0
  /** Bytes that came since a message was complete. */
  #unfinishedBytes = 0
  #isMessageComplete = false

  constructor({ below, identity, info, socket }: Parts) {
    this.info = info
    this.identity = identity
    this.#socket = socket
    this.#below = below
    this.#messages = new Waitable(() => this.#take())
    this.#room = new Waitable(() => {
      if (this.#end !== undefined) return Exit.fail(this.#end)
      return this.#hasRoom ? Exit.void : undefined
    })
    this.receive = this.#messages.effect
    this.closed = Deferred.await(this.#closed)
    socket.on("message", (data, isBinary) => {
      const bytes = asBytes(data)
      this.#came(isBinary ? bytes : Buffer.from(bytes).toString("utf8"))
    })
    socket.on("error", (error) => this.#failed(error))
    socket.on("close", (code, reason) => {
      const read = readMessageClose(code)
      const by = read.kind === "app" ? "peer" : "transport"
      this.#ended({ by, ...read, reason: reason.toString("utf8") })
      Deferred.doneUnsafe(this.#gone, Exit.void)
    })
    below.on("data", this.#meter)
    // A machine that is gone says nothing.
    if (below instanceof Socket) below.setKeepAlive(true, KEEP_ALIVE_AFTER_MILLIS)
  }

  readonly send = (message: Uint8Array): Effect.Effect<void, ConnectionClosed> =>
    Effect.suspend(() => {
      if (this.#end !== undefined) return Effect.fail(this.#end)
      this.#gather()
      this.#socket.send(message, this.#sent)
      this.#count(message.length + MESSAGE_COST_BYTES)
      return this.#hasRoom ? Effect.void : this.#room.effect
    })

  readonly close = (code: number, reason: string): Effect.Effect<void> =>
    Effect.suspend(() => {
      this.#ended({ by: "local", kind: "app", code: readMessageClose(code).code, reason })
      this.#queue = []
      // The answer to the close stands behind what was not read.
      this.#socket.resume()
      this.#socket.close(code, reason)
      const late = Effect.andThen(
        Effect.sleep(CLOSE_DRAIN),
        Effect.sync(() => this.#socket.terminate())
      )
      const gone = Deferred.await(this.#gone)
      return Effect.andThen(Effect.raceFirst(gone, late), gone)
    })

  readonly limit = (bytes: number): void => {
    this.#limit = bytes
  }

  /**
   * Ends the session where a message was begun and no byte of it comes for so long, or for up to twice as long. While we do
   * not read ourselves nothing counts.
   */
  readonly endStalled = (after: Duration.Input): Effect.Effect<never> => {
    let before = 0
    const look = Effect.sync(() => {
      const isStalled = this.#unfinishedBytes > 0 && this.#cameBytes === before && !this.#socket.isPaused
      before = this.#cameBytes
      if (isStalled) this.#cutOff(MessageClose.Stalled)
    })
    return Effect.forever(Effect.andThen(Effect.sleep(after), look))
  }

  readonly #sent = (): void => this.#room.wake()

  get #hasRoom(): boolean {
    return this.#turnBytes <= WRITE_AHEAD_BYTES && this.#socket.bufferedAmount <= WRITE_AHEAD_BYTES
  }

  /** Messages that become ready in one go leave in one write. */
  #gather(): void {
    if (this.#isGathering) return
    this.#isGathering = true
    this.#below.cork()
    queueMicrotask(() => {
      this.#isGathering = false
      this.#below.uncork()
    })
  }

  /** The system takes megabytes at once: a writer that never waits would keep us from reading, aborts above all. */
  #count(bytes: number): void {
    const isOver = this.#turnBytes > WRITE_AHEAD_BYTES
    this.#turnBytes += bytes
    if (isOver || this.#turnBytes <= WRITE_AHEAD_BYTES) return
    setImmediate(() => {
      this.#turnBytes = 0
      this.#room.wake()
    })
  }

  #came(message: Uint8Array | string): void {
    this.#isMessageComplete = true
    if (this.#end !== undefined) return
    this.#queue.push(message)
    this.#queuedBytes += message.length + MESSAGE_COST_BYTES
    if (this.#queuedBytes >= READ_AHEAD_BYTES && !this.#socket.isPaused) this.#socket.pause()
    if (!this.#messages.isAwaited || this.#isWaking) return
    this.#isWaking = true
    queueMicrotask(this.#wake)
  }

  /** Once for all messages of a chunk. */
  readonly #wake = (): void => {
    this.#isWaking = false
    this.#messages.wake()
  }

  #take(): Exit.Exit<Uint8Array | string, ConnectionClosed> | undefined {
    const message = this.#queue.shift()
    if (message === undefined) return this.#end === undefined ? undefined : Exit.fail(this.#end)
    this.#queuedBytes -= message.length + MESSAGE_COST_BYTES
    if (this.#queuedBytes < READ_AHEAD_BYTES && this.#socket.isPaused) this.#socket.resume()
    return Exit.succeed(message)
  }

  /** Runs after the socket has taken the chunk. */
  readonly #meter = (chunk: Uint8Array): void => {
    this.#cameBytes += chunk.length
    this.#unfinishedBytes = this.#isMessageComplete ? 0 : this.#unfinishedBytes + chunk.length
    this.#isMessageComplete = false
    if (this.#unfinishedBytes > this.#limit + FRAMING_BYTES_MAX) this.#cutOff(MessageClose.TooLarge)
  }

  /** What still comes of the message is not even looked at; the end goes out behind the close. */
  #cutOff({ code, reason }: MessageClose): void {
    if (this.#end !== undefined) return
    this.#refused(reason)
    this.#below.removeAllListeners("data").resume()
    this.#socket.close(code, reason)
    this.#below.end()
  }

  #failed(error: Error): void {
    // Errors of the WebSocket protocol have a code of their own; the close frame is out by then.
    if ("code" in error && String(error.code).startsWith("WS_ERR_")) {
      const isLarge = error.code === "WS_ERR_UNSUPPORTED_MESSAGE_LENGTH"
      this.#refused(isLarge ? MessageClose.TooLarge.reason : "not a WebSocket frame")
    }
  }

  #refused(reason: string): void {
    this.#ended({ by: "local", kind: "app", code: CloseCode.ProtocolError, reason })
  }

  #ended(reason: CloseReason): void {
    if (this.#end !== undefined) return
    this.#end = ConnectionClosed.of(reason)
    // The reader first: it says why, where the message was at fault.
    this.#messages.wake()
    this.#room.wake()
    Deferred.doneUnsafe(this.#closed, Exit.succeed(reason))
  }
}

const asBytes = (data: NodeWS.RawData): Uint8Array =>
  Array.isArray(data) ? Buffer.concat(data) : data instanceof ArrayBuffer ? new Uint8Array(data) : data
