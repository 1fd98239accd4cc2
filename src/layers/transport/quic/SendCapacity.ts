/**
 * How much one connection may send now, for sure.
 *
 * The stack tells its capacity (`streamCapacity`), but reckons it only when it takes a datagram, and not for a duplicate.
 * While it probes for a loss the capacity is endless, and while it recovers from one a byte that is sent counts twice
 * (congestion window and PRR, RFC 6937). An end of a stream that travels alone must know better (see `QuicStream.ts`).
 */
import type { QuicheConnection } from "./Binding.ts"

/** A larger capacity is compared with the congestion window itself, which costs more to ask for. */
const TRUSTED_BYTES = 65_536

export class SendCapacity {
  readonly #q: QuicheConnection
  /** Bytes sent since the stack last reckoned; endless where nobody knows. */
  #sent = 0
  #isWatched = false
  #packetsBefore = 0
  #datagrams = 0

  constructor(q: QuicheConnection) {
    this.#q = q
  }

  /** A datagram is about to be given to the stack. */
  receiving(): void {
    if (this.#isWatched) this.#packetsBefore = this.#packets
    else this.#datagrams++
  }

  /** The stack has taken the datagram, or dropped it. */
  received(): void {
    if (!this.#isWatched || this.#packets > this.#packetsBefore) this.#sent = 0
  }

  sent(bytes: number): void {
    this.#sent += bytes
  }

  /** The window may be another one now: time has passed for the stack, and it may have found a loss. */
  forget(): void {
    this.#sent = Number.POSITIVE_INFINITY
  }

  /** From now on each datagram is looked at whether the stack took it. */
  watch(): void {
    this.#isWatched = true
  }

  unwatch(): void {
    if (!this.#isWatched) return
    this.#isWatched = false
    this.#packetsBefore = this.#packets
    this.#datagrams = 0
  }

  /** Bytes that a stream may certainly send; below 0 where that is not known. Throws what the binding throws. */
  roomFor(id: number): number {
    if (!this.#isWatched) {
      // Fewer packets than datagrams: one was dropped, and perhaps it was the last.
      const packets = this.#packets
      if (packets - this.#packetsBefore < this.#datagrams) this.forget()
      this.#packetsBefore = packets
      this.#datagrams = 0
    }
    const capacity = this.#q.streamCapacity(id)
    if (capacity > TRUSTED_BYTES && capacity > this.#congestionWindow) return 0
    return capacity - 2 * this.#sent
  }

  get #packets(): number {
    return this.#q.stats().recv
  }

  get #congestionWindow(): number {
    return this.#q.pathStats().find((path) => path.active)?.cwnd ?? 0
  }
}
