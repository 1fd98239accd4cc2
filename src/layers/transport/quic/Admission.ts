/**
 * Who may begin a handshake, and who may keep a connection: the counters behind the limits (transport.md section 2).
 *
 * One instance is shared by all sockets of a transport, so that a second address does not double what a peer may take.
 * Memory is bounded: addresses are counted in a table that forgets each second and refuses new rows when it is full.
 */
import type { QuicLimits } from "./Limits.ts"
import { addressPrefix } from "./Packets.ts"

/** `retry`: only with a Retry token. `drop`: silently not at all. */
export type Verdict = "accept" | "retry" | "drop"

/** Addresses that are counted within one second. A spoofed flood fills the table; then everybody new needs a token. */
const COUNTED_ADDRESSES_MAX = 16_384

export class Admission {
  readonly #limits: QuicLimits
  readonly #halfOpen = new Map<string, number>()
  readonly #peers = new Map<string, number>()
  #halfOpenCount = 0
  #established = 0
  #second = 0
  #statelessThisSecond = 0
  readonly #newThisSecond = new Map<string, number>()

  constructor(limits: QuicLimits) {
    this.#limits = limits
  }

  get halfOpen(): number {
    return this.#halfOpenCount
  }

  get established(): number {
    return this.#established
  }

  /** Judges an Initial that would begin a handshake. `isProven`: it carries a valid Retry token. */
  judge(host: string, isProven: boolean, nowMillis: number): Verdict {
    const limits = this.#limits
    const prefix = addressPrefix(host)
    if (this.#halfOpenCount >= limits.halfOpen) return "drop"
    const halfOpenHere = this.#halfOpen.get(prefix) ?? 0
    if (halfOpenHere >= limits.halfOpenPerAddress) return "drop"
    this.#turnSecond(nowMillis)
    const recent = this.#newThisSecond.get(prefix)
    const count = recent ?? 0
    if (count >= limits.newPerSecondWithRetry) return "drop"
    if (!isProven) {
      // Half of an address's places are kept for those who really are there: anybody can forge a source address.
      if (halfOpenHere >= limits.halfOpenPerAddress / 2) return "retry"
      if (this.#halfOpenCount >= limits.halfOpenBeforeRetry || count >= limits.newPerSecond) return "retry"
      if (recent === undefined && this.#newThisSecond.size >= COUNTED_ADDRESSES_MAX) return "retry"
    }
    this.#newThisSecond.set(prefix, count + 1)
    return "accept"
  }

  /** Whether an answer that costs us no state may be sent to an unproven address now. */
  mayAnswer(nowMillis: number): boolean {
    this.#turnSecond(nowMillis)
    return ++this.#statelessThisSecond <= this.#limits.statelessPerSecond
  }

  /** A handshake began. */
  begin(host: string): void {
    const prefix = addressPrefix(host)
    this.#halfOpen.set(prefix, (this.#halfOpen.get(prefix) ?? 0) + 1)
    this.#halfOpenCount++
  }

  /** A handshake completed or failed. */
  end(host: string): void {
    decrease(this.#halfOpen, addressPrefix(host))
    this.#halfOpenCount--
  }

  /** Whether a peer may have one more connection; counts it if so. Anonymous clients count in the total only. */
  establish(peer: string | undefined): boolean {
    if (this.#established >= this.#limits.connections) return false
    if (peer !== undefined) {
      const count = this.#peers.get(peer) ?? 0
      if (count >= this.#limits.connectionsPerPeer) return false
      this.#peers.set(peer, count + 1)
    }
    this.#established++
    return true
  }

  /** An established connection ended. */
  release(peer: string | undefined): void {
    this.#established--
    if (peer !== undefined) decrease(this.#peers, peer)
  }

  #turnSecond(nowMillis: number): void {
    const second = Math.floor(nowMillis / 1000)
    if (second === this.#second) return
    this.#second = second
    this.#statelessThisSecond = 0
    this.#newThisSecond.clear()
  }
}

const decrease = (counts: Map<string, number>, key: string): void => {
  const count = counts.get(key) ?? 0
  if (count <= 1) counts.delete(key)
  else counts.set(key, count - 1)
}
