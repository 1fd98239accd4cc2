/**
 * A connection whose native half lives in the worker: the main thread's end of it (see `Wire.ts`). It behaves as
 * `QuicConnection` does, for the users of `Engine.ts`.
 */
import type { Alpn } from "../../../../protocol/Alpn.ts"
import type { NodeId } from "../../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../../protocol/SocketAddress.ts"
import type { CloseReason, ConnectionStats } from "../../../../services/Transport.ts"
import { REASON_BYTES_MAX } from "../CloseReasons.ts"
import type { ConnectionHandle } from "../Engine.ts"
import { type BatchWriter, Kind } from "./Batch.ts"
import { IsolatedStream, type StreamOwner } from "./IsolatedStream.ts"
import type { Connected } from "./Wire.ts"

/** What a connection needs of the engine that owns the thread. */
export interface ConnectionOwner {
  readonly batch: BatchWriter
  /** Datagrams (RFC 9221) that wait for a reader. */
  readonly datagramQueue: number
  /** Whether that many bytes of datagrams may go to the thread now; counts them if so. */
  readonly mayPass: (bytes: number) => boolean
  readonly closeConnection: (connection: IsolatedConnection, code: number, reason: string) => void
  readonly askStats: (connection: IsolatedConnection, answer: (stats: ConnectionStats) => void) => void
}

export const LOST: CloseReason = { by: "transport", kind: "lost", code: 0, reason: "the QUIC thread ended" }

const NO_STATS: ConnectionStats = {
  rttMillis: undefined,
  bytesSent: 0,
  bytesReceived: 0,
  packetsSent: undefined,
  packetsReceived: undefined,
  packetsLost: undefined,
  congestionWindow: undefined
}

let connections = 0

export class IsolatedConnection implements ConnectionHandle, StreamOwner {
  readonly id = `quic-worker-${++connections}`
  /** Of the thread, which counts from 1. */
  readonly number: number
  readonly batch: BatchWriter
  readonly isServer: boolean
  readonly peer: NodeId | undefined
  readonly alpn: Alpn | undefined
  readonly remote: SocketAddress
  closeReason: CloseReason | undefined = undefined
  onIncoming: (() => void) | undefined = undefined
  onOpenable: (() => void) | undefined = undefined
  onDatagram: (() => void) | undefined = undefined
  onClosed: (() => void) | undefined = undefined
  isAwaited: (() => boolean) | undefined = undefined
  /** What the thread was told of `isAwaited`. */
  wasAwaited = false
  /** The last that is known; final once the thread has forgotten the connection. */
  stats: ConnectionStats = NO_STATS
  readonly #owner: ConnectionOwner
  readonly #datagramBytesMax: number
  readonly #streams = new Map<number, IsolatedStream>()
  readonly #incoming: Array<IsolatedStream> = []
  readonly #datagrams: Array<Uint8Array> = []
  #streamLimit: number
  #opened = 0

  constructor(
    owner: ConnectionOwner,
    { alpn, connection, datagramBytesMax, origin, peer, remote, streamLimit }: Connected
  ) {
    this.#owner = owner
    this.batch = owner.batch
    this.number = connection
    this.isServer = "listener" in origin
    this.peer = peer
    this.alpn = alpn
    this.remote = remote
    this.#datagramBytesMax = datagramBytesMax
    this.#streamLimit = streamLimit
  }

  get isClosed(): boolean {
    return this.closeReason !== undefined
  }

  get datagramBytesMax(): number {
    return this.#datagramBytesMax
  }

  accept(): IsolatedStream | undefined {
    return this.#incoming.shift()
  }

  open(): IsolatedStream | undefined {
    if (this.#opened >= this.#streamLimit) return undefined
    // The thread counts in the same way.
    const stream = new IsolatedStream(this, this.#opened * 4 + (this.isServer ? 1 : 0))
    this.#opened++
    this.#streams.set(stream.id, stream)
    this.batch.add(Kind.Stream, this.number, stream.id, 0)
    return stream
  }

  release(stream: IsolatedStream): void {
    this.#streams.delete(stream.id)
  }

  sendDatagram(message: Uint8Array): void {
    // Too large, or too many on their way: a datagram may be lost anyway.
    if (message.length > this.#datagramBytesMax || !this.#owner.mayPass(message.length)) return
    this.batch.addBytes(Kind.Message, this.number, 0, message)
  }

  receiveDatagram(): Uint8Array | undefined {
    return this.#datagrams.shift()
  }

  close(code: number, reason: string): void {
    if (this.isClosed) return
    const text = Buffer.from(reason).subarray(0, REASON_BYTES_MAX).toString()
    this.#owner.closeConnection(this, code, text)
    this.ended({ by: "local", kind: "app", code, reason: text })
  }

  askStats(answer: (stats: ConnectionStats) => void): void {
    this.#owner.askStats(this, answer)
  }

  /** A record about this connection or one of its streams. */
  take(kind: Kind, stream: number, value: number, payload: Uint8Array): void {
    if (this.isClosed) return
    switch (kind) {
      case Kind.Stream: {
        const announced = new IsolatedStream(this, stream)
        this.#streams.set(stream, announced)
        this.#incoming.push(announced)
        this.onIncoming?.()
        return
      }
      case Kind.Limit:
        this.#streamLimit = value
        this.onOpenable?.()
        return
      case Kind.Message:
        if (this.#datagrams.length >= this.#owner.datagramQueue) this.#datagrams.shift()
        this.#datagrams.push(payload)
        this.onDatagram?.()
        return
      default:
        this.#streams.get(stream)?.take(kind, value, payload)
    }
  }

  /** The connection is over; the first reason counts. */
  ended(reason: CloseReason): void {
    if (this.isClosed) return
    this.closeReason = reason
    const streams = [...this.#streams.values()]
    this.#streams.clear()
    for (const stream of streams) stream.connectionClosed(reason.by !== "local")
    this.onClosed?.()
  }
}
