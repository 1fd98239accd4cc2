/**
 * Connections that were closed while their congestion window was full: the stack sends the close packet only when there is
 * room, so they are kept until acknowledgements of the peer have made some, or for the drain time. Without this the peer
 * would learn of the close only by its idle timeout. (It does where the handshake was not even confirmed: the stack then
 * sends nothing but acknowledgements.)
 */
import type { QuicConnection } from "./QuicConnection.ts"

/** Connections that are kept at a time; beyond, the oldest are forgotten. */
const UNSENT_MAX = 256

/** How often one connection is tried. */
const ATTEMPTS_MAX = 64

/** The stack is asked again after this long at the latest. */
const LONGEST_WAIT_MILLIS = 100

interface Unsent {
  readonly connection: QuicConnection
  readonly until: number
  timer: NodeJS.Timeout | undefined
  attempts: number
}

export class UnsentCloses {
  /** Sends what the stack has; true when the close packet was in it. */
  readonly #send: (connection: QuicConnection) => boolean
  readonly #drainMillis: number
  readonly #unsent = new Map<QuicConnection, Unsent>()
  readonly #byKey = new Map<string, Unsent>()

  constructor(send: (connection: QuicConnection) => boolean, drainMillis: number) {
    this.#send = send
    this.#drainMillis = drainMillis
  }

  add(connection: QuicConnection, nowMillis: number): void {
    for (const oldest of this.#unsent.values()) {
      if (this.#unsent.size < UNSENT_MAX) break
      this.#forget(oldest)
    }
    const unsent: Unsent = { connection, until: nowMillis + this.#drainMillis, timer: undefined, attempts: 0 }
    this.#unsent.set(connection, unsent)
    for (const key of connection.connectionIds) this.#byKey.set(key, unsent)
    this.#arm(unsent)
  }

  /** Takes a datagram for one of the connections. False: for none of them. */
  receive(key: string, datagram: Uint8Array): boolean {
    const unsent = this.#byKey.get(key)
    if (unsent === undefined) return false
    const { connection } = unsent
    try {
      connection.q.recv(datagram, { to: connection.host.local, from: connection.remote })
    } catch {
      // Undecryptable, or the peer has closed as well: the next line sees what is left to do.
    }
    this.#try(unsent)
    return true
  }

  clear(): void {
    for (const unsent of [...this.#unsent.values()]) this.#forget(unsent)
  }

  /** Has the stack probe the peer when it is time, which it may do beyond its window. */
  #arm(unsent: Unsent): void {
    const { q } = unsent.connection
    const timeout = Math.min(q.timeout() ?? LONGEST_WAIT_MILLIS, LONGEST_WAIT_MILLIS)
    unsent.timer = setTimeout(() => {
      try {
        q.onTimeout()
      } catch {
        this.#forget(unsent)
        return
      }
      if (unsent.until <= performance.now()) this.#forget(unsent)
      else if (this.#try(unsent)) this.#arm(unsent)
    }, timeout + 1).unref()
  }

  /** False: it is over, one way or the other. */
  #try(unsent: Unsent): boolean {
    let isOver = true
    try {
      isOver = unsent.connection.q.isClosed() || this.#send(unsent.connection)
    } catch {
      // The stack is in a state in which it cannot serve us.
    }
    if (isOver || ++unsent.attempts >= ATTEMPTS_MAX) {
      this.#forget(unsent)
      return false
    }
    return true
  }

  #forget(unsent: Unsent): void {
    clearTimeout(unsent.timer)
    this.#unsent.delete(unsent.connection)
    for (const key of unsent.connection.connectionIds) this.#byKey.delete(key)
  }
}
