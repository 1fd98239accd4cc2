/**
 * The QUIC driver: one UDP socket, the connections on it, and when their packets are built and sent.
 *
 * Plain synchronous code with callbacks, no promises and no Effect: this is the path of every datagram. A datagram goes to
 * its connection by the destination connection id. Connections that got something are dirty and are flushed once a turn of
 * the event loop, or after `FLUSH_EVERY` datagrams. What the stack sends is written into a slab that is never written twice,
 * because the socket may still hold a view of it.
 *
 * Accepting (`Acceptor.ts`) and dialing (`Dialer.ts`) are built on top; this file knows neither TLS contexts nor limits of
 * admission. An exception of the binding ends one connection and is counted; none leaves this file.
 */
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import type { Quiche } from "./Binding.ts"
import { DATAGRAM_BYTES_MIN, type QuicLimits } from "./Limits.ts"
import { connectionKeyOf, isLongHeader } from "./Packets.ts"
import type { ConnectionHost, QuicConnection } from "./QuicConnection.ts"
import { ReadBuffers } from "./ReadBuffers.ts"
import { ClosedConnections, RepeatedDatagrams } from "./Repeats.ts"
import { type OpenUdpSocket, openUdpSocket, type UdpSocket } from "./UdpSocket.ts"
import { UnsentCloses } from "./UnsentCloses.ts"
import { Watchdog } from "./Watchdog.ts"

/** Datagrams after which dirty connections are flushed within one turn. Fewer lower the latency, more raise the throughput. */
const FLUSH_EVERY = 32

const SEND_SLAB_BYTES = 256 * 1024

/**
 * Datagrams that a closing connection may send in one flush. The stack can otherwise send packets for ever when an
 * application closes before its handshake is confirmed.
 */
const CLOSING_DATAGRAMS = 4

/** How often limits in time are looked at. */
const SWEEP_MILLIS = 500

/** Time for which the socket of a closed driver still answers. */
const SOCKET_DRAIN_MILLIS = 50

/** What happened on a socket since it was bound. */
export interface DriverCounters {
  receivedDatagrams: number
  sentDatagrams: number
  /** Datagrams for no connection, and not the beginning of one. */
  unknownDatagrams: number
  /** Datagrams of an established connection from an address that is not its own, while migration is off. */
  strayDatagrams: number
  /** Exceptions of the binding that ended a connection. */
  bindingFailures: number
  /** Connections that the watchdog ended. */
  watchdogCloses: number
}

export interface DriverOptions {
  readonly quiche: Quiche
  readonly limits: QuicLimits
  /** Largest UDP payload that is sent, in bytes. */
  readonly datagramBytes: number
  /** Whether a peer may move to another address (RFC 9000 section 9). */
  readonly migration: boolean
  /** Default: a real socket. */
  readonly openSocket?: OpenUdpSocket
}

/** Gets datagrams that belong to no connection. */
export type Stranger = (datagram: Buffer, remote: SocketAddress, key: string) => void

export class Driver implements ConnectionHost {
  readonly quiche: Quiche
  readonly limits: QuicLimits
  readonly buffers = new ReadBuffers()
  readonly counters: DriverCounters = {
    receivedDatagrams: 0,
    sentDatagrams: 0,
    unknownDatagrams: 0,
    strayDatagrams: 0,
    bindingFailures: 0,
    watchdogCloses: 0
  }
  local: SocketAddress = { host: "", port: 0 }
  /** Gets datagrams that belong to no connection; unset: they are dropped. */
  onStranger: Stranger | undefined = undefined
  readonly #options: DriverOptions
  readonly #connections = new Map<string, QuicConnection>()
  readonly #live = new Set<QuicConnection>()
  readonly #repeats: RepeatedDatagrams
  readonly #closed: ClosedConnections
  readonly #unsentCloses: UnsentCloses
  readonly #watchdog: Watchdog
  #socket: UdpSocket | undefined = undefined
  #dirty: Array<QuicConnection> = []
  #isScheduled = false
  #isHeldByConnections = false
  #sinceFlush = 0
  #slab = Buffer.allocUnsafeSlow(SEND_SLAB_BYTES)
  #slabOffset = 0
  #sweep: NodeJS.Timeout | undefined = undefined
  /** Collects what `transmit` sends, while it is an array. */
  #captured: Array<Uint8Array> | undefined = undefined

  constructor(options: DriverOptions) {
    this.#options = options
    this.quiche = options.quiche
    this.limits = options.limits
    const send = (datagram: Uint8Array, remote: SocketAddress) => this.send(datagram, remote)
    this.#repeats = new RepeatedDatagrams(send)
    this.#closed = new ClosedConnections(send, options.limits.closeDrainMillis)
    this.#unsentCloses = new UnsentCloses((connection) => this.#sendClose(connection), options.limits.closeDrainMillis)
    this.#watchdog = new Watchdog(options.limits)
  }

  /** Binds the socket. `done` gets the error code of the system where it cannot be bound. */
  bind(address: SocketAddress, done: (failedCode: string | undefined) => void): void {
    const open = this.#options.openSocket ?? openUdpSocket
    open(address, this.#onDatagram, (socket, failedCode) => {
      if (socket === undefined) {
        done(failedCode)
        return
      }
      this.local = socket.local
      this.#socket = socket
      done(undefined)
    })
  }

  /** Connections that have not ended. */
  get size(): number {
    return this.#live.size
  }

  get connections(): Iterable<QuicConnection> {
    return this.#live
  }

  /** From now on the socket keeps the process alive only while it has connections. */
  holdWhileConnected(): void {
    this.#isHeldByConnections = true
    if (this.#live.size === 0) this.#socket?.hold(false)
  }

  /**
   * From now on `hold` is called for each datagram that may begin a connection, which is judged when `hold` calls back. By
   * then its connection may have begun with another datagram.
   */
  holdStrangers(hold: (judge: () => void) => void): void {
    const judge = this.onStranger
    if (judge === undefined) return
    this.onStranger = (datagram, remote, key) => {
      if (datagram.length < DATAGRAM_BYTES_MIN || !isLongHeader(datagram)) return
      hold(() => {
        if (this.#connections.has(key)) this.#onDatagram(datagram, { address: remote.host, port: remote.port })
        else if (this.onStranger !== undefined) judge(datagram, remote, key)
      })
    }
  }

  /** A connection is on this socket from now on, under these ids. */
  add(connection: QuicConnection, keys: ReadonlyArray<string>): void {
    for (const key of keys) this.#connections.set(key, connection)
    connection.connectionIds.push(...keys)
    this.#live.add(connection)
    if (this.#isHeldByConnections && this.#live.size === 1) this.#socket?.hold(true)
    this.#sweep ??= setInterval(this.#onSweep, SWEEP_MILLIS).unref()
  }

  send(datagram: Uint8Array, remote: SocketAddress): void {
    this.counters.sentDatagrams++
    this.#socket?.send(datagram, 0, datagram.length, remote.port, remote.host)
  }

  /** Ends every connection and closes the socket a moment later. `done` is called when no handle is left. */
  close(code: number, reason: string, done: () => void): void {
    this.onStranger = undefined
    const hadConnections = this.#live.size > 0
    for (const connection of [...this.#live]) connection.close(code, reason)
    this.#repeats.clear()
    clearInterval(this.#sweep)
    this.#sweep = undefined
    const socket = this.#socket
    if (socket === undefined) {
      done()
      return
    }
    const end = () => {
      this.#socket = undefined
      this.#unsentCloses.clear()
      socket.close(done)
    }
    // In this time a peer that missed its close packet gets it again.
    if (hadConnections) setTimeout(end, Math.min(SOCKET_DRAIN_MILLIS, this.limits.closeDrainMillis))
    else end()
  }

  markDirty(connection: QuicConnection): void {
    this.#dirty.push(connection)
    if (this.#isScheduled) return
    this.#isScheduled = true
    setImmediate(this.#onTurn)
  }

  transmit(connection: QuicConnection): void {
    const socket = this.#socket
    connection.turn++
    if (socket === undefined) return
    const started = performance.now()
    const size = this.#options.datagramBytes
    const { q, remote } = connection
    let left = connection.isClosing ? CLOSING_DATAGRAMS : Number.POSITIVE_INFINITY
    while (left-- > 0) {
      if (SEND_SLAB_BYTES - this.#slabOffset < size) {
        this.#slab = Buffer.allocUnsafeSlow(SEND_SLAB_BYTES)
        this.#slabOffset = 0
      }
      const offset = this.#slabOffset
      const sent = q.send(this.#slab.subarray(offset, offset + size))
      if (sent === null) break
      const length = sent[0]
      this.#slabOffset = offset + length
      connection.sentDatagrams++
      connection.capacity.sent(length)
      this.counters.sentDatagrams++
      const to = this.#options.migration ? sent[1].to : remote
      socket.send(this.#slab, offset, length, to.port, to.host)
      if (this.#captured !== undefined) this.#captured.push(this.#slab.subarray(offset, offset + length))
    }
    connection.cpuMillis += performance.now() - started
  }

  transmitLoneEnd(connection: QuicConnection): void {
    const last = this.#capture(() => this.transmit(connection)).at(-1)
    if (last !== undefined) this.#repeats.repeat(Uint8Array.from(last), connection.remote)
  }

  forget(connection: QuicConnection): void {
    for (const key of connection.connectionIds) this.#connections.delete(key)
    this.#live.delete(connection)
    if (this.#isHeldByConnections && this.#live.size === 0) this.#socket?.hold(false)
  }

  bindingFailed(connection: QuicConnection): void {
    this.counters.bindingFailures++
    connection.abandon({ by: "transport", code: 0, kind: "lost", reason: "the QUIC stack failed" })
  }

  transmitClose(connection: QuicConnection): void {
    if (!this.#sendClose(connection)) this.#unsentCloses.add(connection, performance.now())
  }

  #sendClose(connection: QuicConnection): boolean {
    const last = this.#capture(() => this.transmit(connection)).at(-1)
    // The stack drains from the moment at which the close packet was built.
    if (last === undefined || !connection.q.isDraining()) return false
    this.#closed.remember(connection.connectionIds, Uint8Array.from(last), connection.remote, performance.now())
    return true
  }

  #capture(run: () => void): Array<Uint8Array> {
    const outer = this.#captured
    const captured: Array<Uint8Array> = []
    this.#captured = captured
    try {
      run()
    } finally {
      this.#captured = outer
    }
    return captured
  }

  readonly #onDatagram = (datagram: Buffer, remote: { readonly address: string; readonly port: number }): void => {
    this.counters.receivedDatagrams++
    const key = connectionKeyOf(datagram)
    if (key === undefined) return
    const connection = this.#connections.get(key)
    if (connection === undefined) {
      if (this.#closed.answer(key) || this.#unsentCloses.receive(key, datagram)) return
      this.counters.unknownDatagrams++
      this.onStranger?.(datagram, { host: remote.address, port: remote.port }, key)
      return
    }
    const isStray = connection.remote.port !== remote.port || connection.remote.host !== remote.address
    if (isStray && !this.#options.migration) {
      this.counters.strayDatagrams++
      return
    }
    const started = performance.now()
    connection.receive(datagram, isStray ? { host: remote.address, port: remote.port } : undefined)
    connection.lastReceived = started
    connection.cpuMillis += performance.now() - started
    if (++this.#sinceFlush >= FLUSH_EVERY) this.#flush()
  }

  readonly #onTurn = (): void => {
    this.#isScheduled = false
    this.#flush()
  }

  #flush(): void {
    this.#sinceFlush = 0
    const dirty = this.#dirty
    this.#dirty = []
    for (const connection of dirty) if (connection.isDirty) connection.flush()
  }

  readonly #onSweep = (): void => {
    const now = performance.now()
    const { system, user } = process.cpuUsage()
    const processMillis = (system + user) / 1000
    this.#closed.expire(now)
    for (const connection of this.#live) {
      try {
        const end = this.#watchdog.inspect(connection, now, processMillis)
        if (end === undefined) continue
        this.counters.watchdogCloses++
        end(connection)
      } catch {
        this.bindingFailed(connection)
      }
    }
    if (this.#live.size > 0 || this.#closed.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }
}
