/**
 * One TLS connection as a `Connection` with one stream. How closes look to the other side is in the head comment of
 * `TlsTransport.ts`.
 *
 * Plain callbacks of the socket; Effects only at the edge. Bounds: `READ_AHEAD_BYTES` and one chunk of the socket wait for
 * the reader, then reading stops; a writer waits while more than `WRITE_AHEAD_BYTES` are unsent.
 */
import type { Socket } from "node:net"
import type { TLSSocket } from "node:tls"
import { Deferred, Effect, Exit, Option } from "effect"
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import type { PeerKey } from "../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import {
  type BiStream,
  type CloseReason,
  type Connection,
  ConnectionClosed,
  type ConnectionStats,
  StreamLimit
} from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"
import { cutOff } from "./cutOff.ts"
import { TlsStream } from "./TlsStream.ts"

export interface ConnectionSettings {
  readonly keepAlive: boolean
  readonly idleMillis: number
  readonly stalledMillis: number
  readonly closeDrainMillis: number
}

interface Handshake {
  readonly id: string
  readonly socket: TLSSocket
  /** The TCP socket below, which can be reset. */
  readonly raw: Socket
  readonly side: "accepted" | "dialed"
  readonly alpn: Alpn
  readonly peer: PeerKey | undefined
  readonly remoteAddress: SocketAddress | undefined
}

/** How long the end of a scope waits for the other side to end too, before it resets. */
const SCOPE_LINGER_MILLIS = 250

export class TlsConnection implements Connection {
  readonly id: string
  readonly transport = "tls" as const
  readonly alpn: Alpn
  readonly side: "accepted" | "dialed"
  readonly peer: PeerKey | undefined
  readonly remoteAddress: SocketAddress | undefined
  readonly multiStream = false
  readonly open: Effect.Effect<BiStream, ConnectionClosed | StreamLimit>
  readonly accept: Effect.Effect<BiStream, ConnectionClosed>
  readonly datagrams = Option.none()
  readonly closed: Effect.Effect<CloseReason>
  readonly stats: Effect.Effect<ConnectionStats>
  readonly #socket: TLSSocket
  readonly #raw: Socket
  readonly #settings: ConnectionSettings
  readonly #stream: TlsStream
  readonly #accept: Waitable<BiStream, ConnectionClosed>
  readonly #closed = Deferred.makeUnsafe<CloseReason>()
  readonly #sent = Deferred.makeUnsafe<void>()
  #taken = false
  #error: ConnectionClosed | undefined = undefined
  #socketError: NodeJS.ErrnoException | undefined = undefined
  #idleTimer: NodeJS.Timeout | undefined = undefined
  #lingerTimer: NodeJS.Timeout | undefined = undefined

  constructor(handshake: Handshake, settings: ConnectionSettings) {
    const { raw, socket } = handshake
    this.id = handshake.id
    this.alpn = handshake.alpn
    this.side = handshake.side
    this.peer = handshake.peer
    this.remoteAddress = handshake.remoteAddress
    this.#socket = socket
    this.#raw = raw
    this.#settings = settings
    this.#stream = new TlsStream(socket, () => this.#reset())
    this.#accept = new Waitable(() => this.#tryAccept())
    this.accept = this.#accept.effect
    this.open = Effect.suspend((): Effect.Effect<BiStream, ConnectionClosed | StreamLimit> => {
      if (this.#error !== undefined) return Effect.fail(this.#error)
      return this.#taken ? Effect.fail(new StreamLimit({})) : Effect.succeed(this.#take())
    })
    this.closed = Deferred.await(this.#closed)
    this.stats = Effect.sync(() => ({
      rttMillis: undefined,
      bytesSent: socket.bytesWritten,
      bytesReceived: socket.bytesRead,
      packetsSent: undefined,
      packetsReceived: undefined,
      packetsLost: undefined,
      congestionWindow: undefined
    }))
    raw.setKeepAlive(settings.keepAlive, KEEP_ALIVE_AFTER_MILLIS)
    socket.on("error", (error) => {
      this.#socketError ??= error
    })
    socket.once("finish", () => Deferred.doneUnsafe(this.#sent, Exit.void))
    socket.once("close", () => this.#onClose())
    this.#watchIdle(settings.idleMillis)
  }

  readonly close = (code: CloseCode, reason: string): Effect.Effect<void> =>
    Effect.sync(() => {
      if (this.#error !== undefined) return
      this.#settle({ by: "local", kind: "app", code, reason: cutReason(reason) })
      if (ORDERLY.has(code)) this.#endThenDestroy(this.#settings.closeDrainMillis)
      else this.#reset()
    })

  /**
   * Ends orderly, and completes when what was written is with the system: what the end of a scope does. The socket stays a
   * moment longer, for the other side to end too; waiting for that would make a scope with many dials slow to close.
   */
  shutdown(code: CloseCode): Effect.Effect<void> {
    return Effect.andThen(
      this.close(code, ""),
      Effect.suspend(() => {
        this.#endThenDestroy(SCOPE_LINGER_MILLIS)
        return Deferred.await(this.#sent)
      })
    )
  }

  /** Calls back when the socket is gone, which may be a while after the connection closed. */
  whenGone(gone: () => void): void {
    if (this.#socket.closed) gone()
    else this.#socket.once("close", gone)
  }

  #take(): TlsStream {
    this.#taken = true
    return this.#stream
  }

  #tryAccept(): Exit.Exit<BiStream, ConnectionClosed> | undefined {
    // What the peer had sent before its end is still worth reading.
    if (!this.#taken && this.#error?.by !== "local") return Exit.succeed(this.#take())
    return this.#error === undefined ? undefined : Exit.fail(this.#error)
  }

  #settle(reason: CloseReason): void {
    if (this.#error !== undefined) return
    this.#error = ConnectionClosed.of(reason)
    clearTimeout(this.#idleTimer)
    Deferred.doneUnsafe(this.#closed, Exit.succeed(reason))
    this.#stream.close(this.#error)
    this.#accept.wake()
  }

  /** Sends what is written and our end, drops what still comes, and gives the other side a moment to end as well. */
  #endThenDestroy(millis: number): void {
    if (this.#socket.destroyed) return
    this.#stream.discard()
    if (!this.#socket.writableEnded) this.#socket.end()
    clearTimeout(this.#lingerTimer)
    this.#lingerTimer = setTimeout(() => this.#reset(), millis)
  }

  /** Cuts the connection off: the other side learns it at once. */
  #reset(): void {
    cutOff(this.#raw, this.#socket)
  }

  #onClose(): void {
    clearTimeout(this.#idleTimer)
    clearTimeout(this.#lingerTimer)
    this.#settle(this.#reasonOfClose())
    Deferred.doneUnsafe(this.#sent, Exit.void)
  }

  #reasonOfClose(): CloseReason {
    const { finishedLast, heard, peerEnded, wasReset } = this.#stream
    const code = this.#socketError?.code
    if (wasReset) return { by: "local", kind: "app", code: CloseCode.NoError, reason: "" }
    if (code === undefined || (peerEnded && LOST.has(code))) {
      const by = finishedLast && code === undefined ? "local" : "peer"
      return { by, kind: "app", code: CloseCode.NoError, reason: "" }
    }
    if (code === "ETIMEDOUT") return { by: "transport", kind: "idle", code: CloseCode.Idle, reason: "" }
    if (!LOST.has(code)) return { by: "transport", kind: "transport", code: 0, reason: code }
    if (!heard && this.side === "dialed") return { by: "peer", kind: "app", code: CloseCode.NoHandler, reason: "" }
    return { by: "transport", kind: "lost", code: 0, reason: code }
  }

  /** One timer, which looks at the time of the last byte when it fires and is not touched in between. */
  #watchIdle(after: number): void {
    this.#idleTimer = setTimeout(() => {
      const quiet = performance.now() - this.#stream.lastActivity
      const { idleMillis, keepAlive, stalledMillis } = this.#settings
      // After its end the peer can be gone without a word: the socket is not read any more.
      const stalled = this.#socket.writableLength > 0 || this.#stream.peerEnded
      const bound = !keepAlive || !this.#stream.used ? idleMillis : stalled ? stalledMillis : Number.POSITIVE_INFINITY
      if (quiet >= bound) {
        this.#settle({ by: "transport", kind: "idle", code: CloseCode.Idle, reason: "" })
        return this.#reset()
      }
      this.#watchIdle(Math.max(1, Math.min(bound - quiet, idleMillis)))
    }, after)
    this.#idleTimer.unref()
  }
}

/** TCP keep-alive: first probe after this time, then one a second; ten without an answer end the connection. */
const KEEP_ALIVE_AFTER_MILLIS = 10_000

const REASON_BYTES_MAX = 256

/** Codes that end with what was written and an orderly end; the others cut the connection off. */
const ORDERLY: ReadonlySet<CloseCode> = new Set([CloseCode.NoError, CloseCode.Draining, CloseCode.Idle])

/** The other side, or the path, cut the connection off. */
const LOST: ReadonlySet<string> = new Set([
  "ECONNRESET",
  "EPIPE",
  "ECONNABORTED",
  "ENETDOWN",
  "ENETUNREACH",
  "EHOSTUNREACH"
])

const cutReason = (reason: string): string => {
  const bytes = Buffer.from(reason, "utf8")
  return bytes.length <= REASON_BYTES_MAX ? reason : bytes.toString("utf8", 0, REASON_BYTES_MAX)
}
