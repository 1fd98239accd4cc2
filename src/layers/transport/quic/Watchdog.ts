/**
 * What one connection may take over time: its handshake, its computing time, its datagrams, and bytes that never come out.
 *
 * The stack has known flaws that need a peer which completed a handshake (docs: security). This bounds what each can cost
 * from outside; an endless loop inside one call it cannot end. It is asked twice a second about every connection, and sends
 * the keep-alive of dialed ones.
 */
import { CloseCode } from "../../../protocol/CloseCode.ts"
import type { QuicLimits } from "./Limits.ts"
import type { QuicConnection } from "./QuicConnection.ts"

/** Computing time that a datagram may cost, received or sent. It takes 0.01 ms. */
const MILLIS_PER_DATAGRAM = 0.1

/** Headers, acknowledgements and the like in a datagram that are no stream data. */
const OVERHEAD_BYTES_PER_DATAGRAM = 200

/** Seconds in a row that must be over a bound: one slow second may be the machine's. */
const STRIKES = 3

const SECOND_MILLIS = 1000

interface Seen {
  at: number
  receivedDatagrams: number
  sentDatagrams: number
  cpuMillis: number
  processMillis: number
  strikes: number
}

export class Watchdog {
  readonly #limits: QuicLimits
  readonly #seen = new WeakMap<QuicConnection, Seen>()

  constructor(limits: QuicLimits) {
    this.#limits = limits
  }

  /**
   * How the connection is to be ended; undefined while it keeps its bounds. `processMillis` is the processor time that this
   * process has used: the driver reads a clock, which also runs while the machine lets this process wait.
   */
  inspect(
    connection: QuicConnection,
    now: number,
    processMillis: number
  ): ((connection: QuicConnection) => void) | undefined {
    const limits = this.#limits
    if (!connection.isEstablished) {
      return now - connection.startedAt >= limits.handshakeMillis ? endHandshake : undefined
    }
    if (this.#isOverBounds(connection, now, processMillis)) return endExcess
    if (!connection.isServer && connection.isInUse && now - connection.lastReceived >= limits.keepAliveMillis) {
      connection.keepAlive()
    }
    return undefined
  }

  #isOverBounds(connection: QuicConnection, now: number, processMillis: number): boolean {
    const limits = this.#limits
    const { receivedBytes, deliveredBytes, receivedDatagrams, sentDatagrams, cpuMillis } = connection
    const explained =
      deliveredBytes * 1.25 +
      connection.stoppedBytes +
      Math.min(connection.dropped.total, deliveredBytes + limits.unreadBytes) +
      receivedDatagrams * OVERHEAD_BYTES_PER_DATAGRAM
    if (receivedBytes - explained > limits.unreadBytes) return true
    const seen = this.#seen.get(connection)
    if (seen === undefined) {
      this.#seen.set(connection, { at: now, receivedDatagrams, sentDatagrams, cpuMillis, processMillis, strikes: 0 })
      return false
    }
    const seconds = (now - seen.at) / SECOND_MILLIS
    if (seconds < 1) return false
    const received = receivedDatagrams - seen.receivedDatagrams
    const exchanged = received + sentDatagrams - seen.sentDatagrams
    const computed = Math.min(cpuMillis - seen.cpuMillis, processMillis - seen.processMillis)
    const isOver =
      received > limits.datagramsPerSecond * seconds ||
      computed > limits.cpuMillisPerSecond * seconds + exchanged * MILLIS_PER_DATAGRAM
    this.#seen.set(connection, { at: now, receivedDatagrams, sentDatagrams, cpuMillis, processMillis, strikes: 0 })
    if (!isOver) return false
    const strikes = seen.strikes + 1
    this.#seen.get(connection)!.strikes = strikes
    return strikes >= STRIKES
  }
}

const endHandshake = (connection: QuicConnection): void =>
  connection.abandon({ by: "transport", code: 0, kind: "idle", reason: "the handshake took too long" })

const endExcess = (connection: QuicConnection): void => connection.close(CloseCode.TooMany, "")
