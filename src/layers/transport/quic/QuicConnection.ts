/**
 * One QUIC connection over the native stack: its streams, its timer, its end.
 *
 * Plain synchronous code. The driver hands in datagrams (`receive`) and calls `flush` once a turn for every connection that
 * is dirty: new streams are announced, data is read, blocked writes are retried, packets are sent, the timer is armed.
 * Callbacks run inside `flush` and may call anything here.
 *
 * Calls of the binding cost: `streamReadable` 0.1 us, the `readable()` iterator 9 us. So open streams and the next expected
 * stream of the peer are probed, and the iterator is used only where that does not explain `isReadable`.
 */

import type { Alpn } from "../../../protocol/Alpn.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import type { CloseReason, ConnectionStats } from "../../../services/Transport.ts"
import { type QuicheConnection, streamFailureOf } from "./Binding.ts"
import { REASON_BYTES_MAX, reasonOfStack, TOO_MUCH_BEFORE_HANDSHAKE } from "./CloseReasons.ts"
import { DroppedBytes } from "./DroppedBytes.ts"
import type { QuicLimits } from "./Limits.ts"
import { QuicStream } from "./QuicStream.ts"
import type { ReadBuffers } from "./ReadBuffers.ts"
import { SendCapacity } from "./SendCapacity.ts"
import { StackTimer } from "./StackTimer.ts"

/** What a connection needs of the driver that owns its socket. */
export interface ConnectionHost {
  readonly limits: QuicLimits
  readonly buffers: ReadBuffers
  readonly local: SocketAddress
  /** Has `flush` called in this turn. */
  readonly markDirty: (connection: QuicConnection) => void
  /** Sends what the stack has to send now. */
  readonly transmit: (connection: QuicConnection) => void
  /** Sends at once, and copies later: the end of a stream travels alone. */
  readonly transmitLoneEnd: (connection: QuicConnection) => void
  /** Sends the close packet, and keeps it for whoever does not hear it. */
  readonly transmitClose: (connection: QuicConnection) => void
  /** The connection ended: its ids are free. Called before anybody else hears of it. */
  readonly forget: (connection: QuicConnection) => void
  /** An exception of the binding that nobody expected. The connection ends. */
  readonly bindingFailed: (connection: QuicConnection) => void
}

/** What happens to a connection, by the side that made it: accepting or dialing. */
export interface ConnectionRole {
  /** The handshake is complete and the peer has proven the key of its certificate. Before any stream. */
  readonly established: (connection: QuicConnection) => void
  /** It ended, established or not. */
  readonly ended: (connection: QuicConnection, reason: CloseReason) => void
}

/** Above this many open streams the iterator is cheaper than probing each. */
const PROBED_STREAMS_MAX = 96

let connections = 0

export class QuicConnection {
  readonly id = `quic-${++connections}`
  readonly host: ConnectionHost
  readonly q: QuicheConnection
  readonly isServer: boolean
  readonly remote: SocketAddress
  readonly role: ConnectionRole
  /** Keys under which the driver finds the connection. */
  readonly connectionIds: Array<string> = []
  /** Set by the role once the handshake is complete. */
  peer: NodeId | undefined = undefined
  alpn: Alpn | undefined = undefined
  isEstablished = false
  closeReason: CloseReason | undefined = undefined
  isDirty = false
  /** A close was given to the stack: it may send only a few datagrams more. */
  isClosing = false
  /** Number of the current flush; data and end of a stream that are written in the same one share a packet. */
  turn = 0
  readonly capacity: SendCapacity
  readonly dropped = new DroppedBytes()
  readonly streams = new Map<number, QuicStream>()
  readonly blocked = new Set<QuicStream>()
  /** Streams of the peer that nobody has accepted. Bounded by the limit of concurrent streams. */
  readonly #incoming: Array<QuicStream> = []
  /** Called when `accept` has something new. */
  onIncoming: (() => void) | undefined = undefined
  /** Called when `open` may succeed again. */
  onOpenable: (() => void) | undefined = undefined
  /** Called when `receiveDatagram` may have something new. */
  onDatagram: (() => void) | undefined = undefined
  /** Called once, when the connection has ended. */
  onClosed: (() => void) | undefined = undefined
  /** Says whether somebody waits for the peer beside the readers of streams. */
  isAwaited: (() => boolean) | undefined = undefined
  /** Milliseconds of `performance.now` at the last packet. */
  lastReceived = 0
  readonly startedAt: number
  receivedBytes = 0
  deliveredBytes = 0
  receivedDatagrams = 0
  sentDatagrams = 0
  /** Bytes that may have been received and dropped because we stopped their stream. */
  stoppedBytes = 0
  /** Computing time inside the stack in milliseconds. */
  cpuMillis = 0
  readonly #info: { readonly to: SocketAddress; readonly from: SocketAddress }
  #nextOwn: number
  #nextPeer: number
  /** Streams of the peer below `#nextPeer` that have not shown up: packets come out of order. */
  #gaps: Set<number> | undefined = undefined
  #ownLimit = 0
  /** How many streams of ours the stack counts: up to the highest that was written to. */
  #openedOwn = 0
  /** What was read last is acknowledged in the next turn. */
  #holdsBack = false
  readonly #timer: StackTimer

  constructor(
    host: ConnectionHost,
    q: QuicheConnection,
    remote: SocketAddress,
    isServer: boolean,
    role: ConnectionRole,
    now: number
  ) {
    this.host = host
    this.q = q
    this.remote = remote
    this.isServer = isServer
    this.role = role
    this.startedAt = now
    this.lastReceived = now
    this.capacity = new SendCapacity(q)
    this.#timer = new StackTimer(q, () => this.#onTimeout())
    this.#info = { to: host.local, from: remote }
    this.#nextOwn = isServer ? 1 : 0
    this.#nextPeer = isServer ? 0 : 1
  }

  get isClosed(): boolean {
    return this.closeReason !== undefined
  }

  /** A connection that is in use is kept alive by the side that dialed it. */
  get isInUse(): boolean {
    return this.streams.size > 0 || this.isAwaited?.() === true
  }

  touch(): void {
    if (this.isDirty || this.closeReason !== undefined) return
    this.isDirty = true
    this.host.markDirty(this)
  }

  /** Takes one datagram, `from` another address than the known one. The stack closes where the peer misbehaves. */
  receive(datagram: Uint8Array, from: SocketAddress | undefined): void {
    this.receivedBytes += datagram.length
    this.receivedDatagrams++
    this.capacity.receiving()
    if (!this.isEstablished && this.receivedBytes > this.host.limits.handshakeBytes) {
      this.abandon(TOO_MUCH_BEFORE_HANDSHAKE)
      return
    }
    try {
      this.q.recv(datagram, from === undefined ? this.#info : { to: this.host.local, from })
    } catch {
      // An undecryptable or malformed packet; a fatal one has put the stack into its closing state.
    }
    this.capacity.received()
    this.touch()
  }

  /** The next stream of the peer; undefined when there is none yet. */
  accept(): QuicStream | undefined {
    return this.#incoming.shift()
  }

  /** A new stream of ours; undefined while the peer's limit is reached. Nothing is sent before the first write. */
  open(): QuicStream | undefined {
    const id = this.#nextOwn
    if (id >> 2 >= this.#ownLimit) {
      this.#ownLimit = this.ownStreamLimit
      if (id >> 2 >= this.#ownLimit) return undefined
    }
    this.#nextOwn += 4
    const stream = new QuicStream(this, id, false)
    this.streams.set(id, stream)
    return stream
  }

  /** How many streams of ours the peer has allowed until now, those that are over included. */
  get ownStreamLimit(): number {
    return this.#openedOwn + this.q.peerStreamsLeftBidi()
  }

  /** A stream was given to the stack for the first time. */
  streamExists(id: number): void {
    if ((id & 1) !== (this.#nextPeer & 1)) this.#openedOwn = Math.max(this.#openedOwn, (id >> 2) + 1)
  }

  /**
   * Takes everything out of the stack that nobody wants, so that an ended stream is freed. True: the peer's direction is
   * over.
   */
  discard(id: number): boolean {
    try {
      for (;;) {
        const received = this.q.streamRecv(id, this.host.buffers.room)
        if (received === null) return false
        this.deliveredBytes += received[0]
        if (received[1]) return true
      }
    } catch (thrown) {
      return streamFailureOf(thrown).kind === "reset"
    }
  }

  sendDatagram(message: Uint8Array): void {
    try {
      this.q.dgramSend(message)
    } catch {
      // Too large, or the queue is full: a datagram may be lost anyway.
    }
    this.touch()
  }

  receiveDatagram(): Uint8Array | undefined {
    try {
      const message = this.q.dgramRecvVec() ?? undefined
      this.deliveredBytes += message?.length ?? 0
      return message
    } catch {
      return undefined
    }
  }

  get datagramBytesMax(): number {
    return this.q.dgramMaxWritableLen() ?? 0
  }

  /** Ends the connection for both sides; what was written in this turn is sent first, as far as the windows allow. */
  close(code: number, reason: string): void {
    this.#close(true, code, "local", "app", reason)
  }

  /** Ends the connection with a transport error, as the TLS stack itself would. */
  refuse(code: number, reason: string): void {
    this.#close(false, code, "local", "transport", reason)
  }

  /** Ends the connection without a word to the peer. */
  abandon(reason: CloseReason): void {
    this.#finish(reason)
  }

  flush(): void {
    this.isDirty = false
    if (this.closeReason !== undefined) return
    try {
      this.#flush()
    } catch {
      this.host.bindingFailed(this)
    }
  }

  askStats(answer: (stats: ConnectionStats) => void): void {
    answer(this.stats())
  }

  stats(): ConnectionStats {
    const stats = this.q.stats()
    const path = this.q.pathStats().find((candidate) => candidate.active)
    return {
      rttMillis: path?.rtt,
      bytesSent: stats.sentBytes,
      bytesReceived: stats.recvBytes,
      packetsSent: stats.sent,
      packetsReceived: stats.recv,
      packetsLost: stats.lost,
      congestionWindow: path?.cwnd
    }
  }

  /** Has the peer answer something. */
  keepAlive(): void {
    this.q.sendAckEliciting()
    this.touch()
  }

  #flush(): void {
    const { q } = this
    if (!this.isEstablished && q.isEstablished()) {
      this.isEstablished = true
      this.role.established(this)
      if (this.isClosed) return
    }
    if (this.isEstablished) {
      const delivered = this.deliveredBytes
      if (q.isReadable()) this.#readStreams()
      this.dropped.flushed(this)
      if (this.blocked.size > 0) for (const stream of this.blocked) stream.flushWrites()
      else this.capacity.unwatch()
      this.onDatagram?.()
      this.onOpenable?.()
      if (this.isClosed) return
      // Most readers answer at once: what they write leaves together with the acknowledgement, in a datagram less.
      if (this.deliveredBytes !== delivered && !this.#holdsBack && !q.isDraining() && !q.isClosed()) {
        this.#holdsBack = true
        this.touch()
        return
      }
    }
    this.#holdsBack = false
    this.host.transmit(this)
    // What callbacks wrote above has left with this flush.
    this.isDirty = false
    if (q.isDraining() || q.isClosed()) this.#finish(reasonOfStack(q))
    else this.#timer.arm()
  }

  #readStreams(): void {
    const { q } = this
    if (this.streams.size <= PROBED_STREAMS_MAX) {
      for (const [id, stream] of this.streams) {
        if (stream.wantsData && q.streamReadable(id)) stream.receive()
        if (this.isClosed) return
      }
      while (q.streamReadable(this.#nextPeer)) {
        this.#announce(this.#nextPeer)
        if (this.isClosed) return
      }
      if (!q.isReadable()) return
    }
    for (const id of q.readable()) {
      const stream = this.streams.get(id)
      if (stream !== undefined) {
        if (stream.wantsData) stream.receive()
        else if (stream.readEnd !== undefined) this.discard(id)
      } else if ((id & 1) === (this.#nextPeer & 1) && (id >= this.#nextPeer || this.#gaps?.has(id) === true)) {
        this.#announce(id)
      } else {
        this.discard(id)
      }
      if (this.isClosed) return
    }
  }

  #announce(id: number): void {
    if (id >= this.#nextPeer) {
      for (let gap = this.#nextPeer; gap < id; gap += 4) {
        this.#gaps ??= new Set()
        this.#gaps.add(gap)
      }
      this.#nextPeer = id + 4
    } else {
      this.#gaps!.delete(id)
    }
    const stream = new QuicStream(this, id, true)
    this.streams.set(id, stream)
    this.#incoming.push(stream)
    stream.receive()
    this.onIncoming?.()
  }

  #onTimeout(): void {
    if (this.isClosed) return
    try {
      this.q.onTimeout()
    } catch {
      this.host.bindingFailed(this)
      return
    }
    this.capacity.forget()
    this.flush()
  }

  #close(isApp: boolean, code: number, by: "local", kind: "app" | "transport", reason: string): void {
    if (this.isClosed) return
    const bytes = Buffer.from(reason).subarray(0, REASON_BYTES_MAX)
    try {
      this.host.transmit(this)
      this.q.close(isApp, code, bytes)
      this.isClosing = true
      this.host.transmitClose(this)
    } catch {
      // `Done`: the stack is closing already. Whatever else it is, the connection ends here.
    }
    this.#finish({ by, code, kind, reason: bytes.toString() })
  }

  #finish(reason: CloseReason): void {
    if (this.closeReason !== undefined) return
    this.closeReason = reason
    this.#timer.clear()
    this.host.forget(this)
    const byPeer = reason.by !== "local"
    for (const stream of [...this.streams.values()]) stream.connectionClosed(byPeer)
    this.streams.clear()
    this.blocked.clear()
    this.role.ended(this, reason)
    this.onClosed?.()
  }
}
