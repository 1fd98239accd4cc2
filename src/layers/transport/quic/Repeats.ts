/**
 * Datagrams that are sent again without the stack.
 *
 * Two defects of the stack are repaired here. The end of a stream that travels alone may never be repeated when its packet
 * is lost: `RepeatedDatagrams` sends a few copies, which a receiver that got the first one ignores as duplicates. And a
 * connection that we closed says so only once: `ClosedConnections` keeps its last datagram and answers with it whatever
 * still arrives (RFC 9000 section 10.2.1), while the connection itself is already freed.
 */
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"

export type SendDatagram = (datagram: Uint8Array, remote: SocketAddress) => void

/** When copies follow: soon, for a busy path whose receiver forgets old packet numbers, and later, to outlive a burst. */
const COPIES_AFTER_MILLIS = [3, 30, 250]

/** Copies that wait at a time; beyond, an end goes without. */
const WAITING_MAX = 2048

export class RepeatedDatagrams {
  readonly #send: SendDatagram
  readonly #waiting = new Set<NodeJS.Timeout>()

  constructor(send: SendDatagram) {
    this.#send = send
  }

  /** Sends copies of the datagram later. The bytes are kept as they are. */
  repeat(datagram: Uint8Array, remote: SocketAddress): void {
    for (const millis of COPIES_AFTER_MILLIS) {
      if (this.#waiting.size >= WAITING_MAX) return
      const timer = setTimeout(() => {
        this.#waiting.delete(timer)
        this.#send(datagram, remote)
      }, millis)
      this.#waiting.add(timer)
    }
  }

  clear(): void {
    for (const timer of this.#waiting) clearTimeout(timer)
    this.#waiting.clear()
  }
}

interface Closed {
  readonly datagram: Uint8Array
  readonly remote: SocketAddress
  readonly until: number
  received: number
}

/** Closed connections that are remembered at a time; beyond, the oldest are forgotten. */
const CLOSED_MAX = 4096

export class ClosedConnections {
  readonly #send: SendDatagram
  readonly #drainMillis: number
  readonly #byKey = new Map<string, Closed>()

  constructor(send: SendDatagram, drainMillis: number) {
    this.#send = send
    this.#drainMillis = drainMillis
  }

  remember(keys: ReadonlyArray<string>, datagram: Uint8Array, remote: SocketAddress, nowMillis: number): void {
    const closed: Closed = { datagram, remote, until: nowMillis + this.#drainMillis, received: 0 }
    for (const key of keys) {
      if (this.#byKey.size >= CLOSED_MAX) {
        for (const oldest of this.#byKey.keys()) {
          this.#byKey.delete(oldest)
          break
        }
      }
      this.#byKey.set(key, closed)
    }
  }

  /** Answers a datagram for a closed connection: the 1st, 2nd, 4th, 8th ... one. False: no such connection. */
  answer(key: string): boolean {
    const closed = this.#byKey.get(key)
    if (closed === undefined) return false
    closed.received++
    if ((closed.received & (closed.received - 1)) === 0) this.#send(closed.datagram, closed.remote)
    return true
  }

  /** Forgets what is older than the drain time. */
  expire(nowMillis: number): void {
    for (const [key, closed] of this.#byKey) {
      // The map is in the order of time.
      if (closed.until > nowMillis) return
      this.#byKey.delete(key)
    }
  }

  get size(): number {
    return this.#byKey.size
  }
}
