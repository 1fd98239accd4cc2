/**
 * One bidirectional QUIC stream: a read queue with a bound, and writes that wait for the peer's window.
 *
 * Plain synchronous code. Reading is pulled (`read`, and `onReadable` once when there is nothing yet). Writing takes what
 * the stack takes now (`write`); `queueWrite` holds the rest and calls back when it is gone, or failed.
 *
 * The end of the stream travels with the last data where both are written in the same turn of the event loop, because
 * packets are built once a turn. An end that comes later travels alone. The stack forgets it when an acknowledgement of
 * the data comes first, and never repeats its packet when that is lost; so it waits until the congestion window has room,
 * leaves at once, and a few copies of its datagram follow (see `Repeats.ts`).
 */
import { SHUTDOWN_READ, SHUTDOWN_WRITE, type StreamFailure, streamFailureOf } from "./Binding.ts"
import type { QuicConnection } from "./QuicConnection.ts"

/** Why nothing more can be read. `closed`: the connection ended first. */
export type ReadEnd =
  | { readonly kind: "finished" }
  | { readonly kind: "reset"; readonly code: number }
  | { readonly kind: "closed" }

/** Why nothing more can be written. `stopped`: by the peer, or reset by us. */
export type WriteEnd =
  | { readonly kind: "finished" }
  | { readonly kind: "stopped"; readonly code: number }
  | { readonly kind: "closed" }

/** A write that the stack has not taken whole. The bytes are borrowed until `done`. */
export interface PendingWrite {
  bytes: Uint8Array
  readonly end: boolean
  /** Called once: without a reason when the stack took everything. */
  readonly done: (failed: WriteEnd | undefined) => void
}

/** Room in the windows from which on a packet of its own leaves for sure. */
const LONE_END_ROOM = 1350

/** How long an end is held back. The windows may be closed for another reason, which the end itself may be able to change. */
const LONE_END_WAIT_MILLIS = 500

const FINISHED = { kind: "finished" } as const
const CLOSED = { kind: "closed" } as const
const EMPTY = new Uint8Array(0)

export class QuicStream {
  readonly connection: QuicConnection
  readonly id: number
  /** Undefined while more may come. It counts once the queue is empty. */
  readEnd: ReadEnd | undefined = undefined
  writeEnd: WriteEnd | undefined = undefined
  /** Called once, when `read` or `readEnd` has something new. */
  onReadable: (() => void) | undefined = undefined
  #queue: Array<Uint8Array> | undefined = undefined
  #queuedBytes = 0
  #wasFull = false
  #writes: Array<PendingWrite> | undefined = undefined
  /** Flush in which data was last given to the stack: an end in the same one shares its packet. */
  #dataTurn = -1
  /** When an end that travels alone was first held back. */
  #endWaitsSince: number | undefined = undefined
  /** Whether the stack knows the stream; our own begin to exist with the first write. */
  #exists: boolean

  constructor(connection: QuicConnection, id: number, exists: boolean) {
    this.connection = connection
    this.id = id
    this.#exists = exists
  }

  /** The next chunk; undefined when there is none yet, or never again (`readEnd`). */
  read(): Uint8Array | undefined {
    if (this.#queuedBytes === 0) return undefined
    const chunk = this.#queue!.shift()!
    const wasFull = !this.wantsData
    this.#queuedBytes -= chunk.length
    if (wasFull && this.wantsData) {
      this.receive()
      this.connection.touch()
    }
    return chunk
  }

  /** Whether the driver should move more from the stack into the queue. */
  get wantsData(): boolean {
    return this.readEnd === undefined && this.#queuedBytes < this.connection.host.limits.readAheadBytes
  }

  /** Moves what the stack has into the queue, up to the bound, and tells the reader. */
  receive(): void {
    const { connection } = this
    const { q, host } = connection
    const { buffers } = host
    try {
      while (this.wantsData) {
        const received = q.streamRecv(this.id, buffers.room)
        if (received === null) break
        const length = received[0]
        const isDrained = length < buffers.room.length
        if (length > 0) {
          connection.deliveredBytes += length
          this.#queuedBytes += length
          if (this.#queue === undefined) this.#queue = [buffers.take(length)]
          else this.#queue.push(buffers.take(length))
        }
        if (received[1]) this.#endReading(FINISHED)
        else if (isDrained) break
      }
    } catch (thrown) {
      const failure = streamFailureOf(thrown)
      if (failure.kind !== "done") {
        connection.dropped.reset(this.#wasFull ? host.limits.streamWindowBytes : 0)
        this.#endReading({ kind: "reset", code: failure.kind === "reset" ? failure.code : 0 })
      }
    }
    this.#wasFull = this.readEnd === undefined && !this.wantsData
    if (connection.isClosed && this.wantsData) this.readEnd = CLOSED
    this.#wakeReader()
  }

  /**
   * Gives bytes to the stack, and the end of our direction with the last of them. Answers how many were taken; fewer than
   * all: queue the rest with `queueWrite`. -1: `writeEnd` says why not. The end counts as taken with the last byte.
   */
  write(bytes: Uint8Array, end: boolean): number {
    if (this.writeEnd !== undefined) return -1
    if (this.#writes !== undefined && this.#writes.length > 0) return 0
    const taken = this.#send(bytes, end)
    if (taken >= 0) this.connection.touch()
    return taken
  }

  /** Whether writes wait for room: an end must then be queued behind them. */
  get isBlocked(): boolean {
    return this.#writes !== undefined && this.#writes.length > 0
  }

  queueWrite(write: PendingWrite): void {
    if (this.#writes === undefined) this.#writes = [write]
    else this.#writes.push(write)
    this.connection.blocked.add(this)
    this.connection.touch()
  }

  /** Forgets a queued write whose caller went away. Part of it may have been sent. */
  cancelWrite(write: PendingWrite): void {
    const index = this.#writes?.indexOf(write) ?? -1
    if (index < 0) return
    this.#writes!.splice(index, 1)
    if (this.#writes!.length === 0) this.connection.blocked.delete(this)
  }

  /** Gives queued writes to the stack, as far as it has room. */
  flushWrites(): void {
    while (this.#writes !== undefined && this.#writes.length > 0) {
      const write = this.#writes[0]!
      const taken = this.#send(write.bytes, write.end)
      if (taken < 0) return
      if (taken < write.bytes.length || (write.end && this.writeEnd === undefined)) {
        if (taken > 0) write.bytes = write.bytes.subarray(taken)
        return
      }
      this.#writes.shift()
      if (this.#writes.length === 0) this.connection.blocked.delete(this)
      write.done(undefined)
    }
  }

  /** Abandons our direction; what is unsent is dropped. */
  reset(code: number): void {
    if (this.writeEnd !== undefined && this.writeEnd.kind !== "finished") return
    const { q } = this.connection
    try {
      // The peer must hear of the stream, or its limit of streams would count this one for ever.
      if (!this.#exists) {
        q.streamSend(this.id, EMPTY, false)
        this.#begin()
      }
      q.streamShutdown(this.id, SHUTDOWN_WRITE, code)
    } catch {
      // Everything was sent and acknowledged already: there is nothing left to abandon.
    }
    this.#endWriting({ kind: "stopped", code })
    this.connection.touch()
  }

  /** Asks the peer to abandon its direction; what is queued and what still comes is dropped. */
  stop(code: number): void {
    this.#queue = undefined
    this.#queuedBytes = 0
    if (this.readEnd !== undefined) return
    const { connection } = this
    connection.stoppedBytes += connection.host.limits.streamWindowBytes
    // Read out first: a stream that the peer has ended is over then, and there is nothing to stop.
    const isOver = this.#exists && connection.discard(this.id)
    try {
      if (this.#exists && !isOver) connection.q.streamShutdown(this.id, SHUTDOWN_READ, code)
    } catch {
      // The stack has seen the end already.
    }
    this.#endReading({ kind: "reset", code })
    connection.touch()
    this.#wakeReader()
  }

  /** The connection is gone. Where the peer ended it, what it sent before is still delivered. */
  connectionClosed(byPeer: boolean): void {
    this.#endWriting(CLOSED)
    if (byPeer) {
      if (this.readEnd === undefined) this.receive()
      return
    }
    this.#queue = undefined
    this.#queuedBytes = 0
    this.readEnd = CLOSED
    this.#wakeReader()
  }

  #send(bytes: Uint8Array, end: boolean): number {
    const { connection } = this
    try {
      const isAlone = end && bytes.length === 0 && this.#dataTurn !== connection.turn
      if (isAlone && this.#exists && !this.#mayEndAlone()) return 0
      const taken = connection.q.streamSend(this.id, bytes, end) ?? 0
      // No room, or no stream: one that the peer stopped is forgotten once it knows of the end that the stack gave it.
      if (taken === 0 && bytes.length > 0 && this.#exists) connection.q.streamCapacity(this.id)
      if (!this.#exists) this.#begin()
      if (taken > 0) this.#dataTurn = connection.turn
      if (end && taken === bytes.length) {
        this.writeEnd = FINISHED
        if (isAlone) connection.host.transmitLoneEnd(connection)
        this.#release()
      }
      return taken
    } catch (thrown) {
      const failure: StreamFailure = streamFailureOf(thrown)
      if (failure.kind === "done" || failure.kind === "limit") return 0
      this.#endWriting({ kind: "stopped", code: failure.code })
      return -1
    }
  }

  /** Whether a packet with nothing but the end would leave now. Waits no longer than `LONE_END_WAIT_MILLIS` for that. */
  #mayEndAlone(): boolean {
    const { connection } = this
    connection.host.transmit(connection)
    if (connection.capacity.roomFor(this.id) >= LONE_END_ROOM) return true
    if (this.#endWaitsSince === undefined) {
      this.#endWaitsSince = performance.now()
      setTimeout(() => connection.touch(), LONE_END_WAIT_MILLIS + 1).unref()
      connection.capacity.watch()
      // Where nothing else is under way, the answer to this brings a fresh reckoning.
      connection.keepAlive()
    }
    return performance.now() - this.#endWaitsSince > LONE_END_WAIT_MILLIS - 1
  }

  #begin(): void {
    this.#exists = true
    this.connection.streamExists(this.id)
  }

  #endWriting(end: WriteEnd): void {
    this.writeEnd = end
    const writes = this.#writes
    this.#writes = undefined
    this.connection.blocked.delete(this)
    this.#release()
    if (writes !== undefined) for (const write of writes) write.done(end)
  }

  #endReading(end: ReadEnd): void {
    this.readEnd = end
    this.#release()
  }

  #release(): void {
    if (this.readEnd !== undefined && this.writeEnd !== undefined) this.connection.streams.delete(this.id)
  }

  #wakeReader(): void {
    const wake = this.onReadable
    if (wake === undefined || (this.#queuedBytes === 0 && this.readEnd === undefined)) return
    this.onReadable = undefined
    wake()
  }
}
