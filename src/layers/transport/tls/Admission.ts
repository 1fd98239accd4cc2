/**
 * Which TCP connections a listener admits: plain counters, asked before the first byte is read.
 *
 * Bounds: new connections a second and half-open handshakes for each address (an IPv4 address, an IPv6 /64), half-open
 * handshakes and established connections in all. What is over is cut off without an answer. At most `ADDRESSES_MAX`
 * addresses are remembered for the rate; beyond that the oldest are forgotten.
 */
import { isIPv6 } from "node:net"

export interface AdmissionLimits {
  readonly newPerSecondPerAddress: number
  readonly halfOpenPerAddress: number
  readonly halfOpen: number
  readonly established: number
}

export const ADDRESSES_MAX = 65_536

export class Admission {
  readonly #limits: AdmissionLimits
  readonly #halfOpenOf = new Map<string, number>()
  readonly #recent = new Map<string, { second: number; count: number }>()
  #halfOpen = 0
  #established = 0

  constructor(limits: AdmissionLimits) {
    this.#limits = limits
  }

  get halfOpen(): number {
    return this.#halfOpen
  }

  get established(): number {
    return this.#established
  }

  /** Addresses that are remembered for their rate. */
  get remembered(): number {
    return this.#recent.size
  }

  /** A slot for a handshake, or undefined where a limit is reached. `now` is in milliseconds. */
  admit(address: string, now: number): Slot | undefined {
    const group = addressGroup(address)
    if (!this.#countNew(group, Math.floor(now / 1_000))) return undefined
    const ofAddress = this.#halfOpenOf.get(group) ?? 0
    const { established, halfOpen, halfOpenPerAddress } = this.#limits
    if (ofAddress >= halfOpenPerAddress || this.#halfOpen >= halfOpen) return undefined
    if (this.#halfOpen + this.#established >= established + halfOpen) return undefined
    this.#halfOpenOf.set(group, ofAddress + 1)
    this.#halfOpen++
    let state: "half-open" | "established" | "gone" = "half-open"
    const leaveHalfOpen = () => {
      this.#halfOpen--
      const left = (this.#halfOpenOf.get(group) ?? 1) - 1
      if (left === 0) this.#halfOpenOf.delete(group)
      else this.#halfOpenOf.set(group, left)
    }
    return {
      establish: () => {
        if (state !== "half-open") return false
        leaveHalfOpen()
        state = this.#established >= this.#limits.established ? "gone" : "established"
        if (state === "gone") return false
        this.#established++
        return true
      },
      leave: () => {
        if (state === "half-open") leaveHalfOpen()
        if (state === "established") this.#established--
        state = "gone"
      }
    }
  }

  #countNew(group: string, second: number): boolean {
    const known = this.#recent.get(group)
    if (known !== undefined && known.second === second) {
      known.count++
      return known.count <= this.#limits.newPerSecondPerAddress
    }
    // Deleted and set again, so that the map is in order of age.
    this.#recent.delete(group)
    this.#recent.set(group, { second, count: 1 })
    for (const [oldest, { second: when }] of this.#recent) {
      if (when === second && this.#recent.size <= ADDRESSES_MAX) break
      this.#recent.delete(oldest)
    }
    return this.#limits.newPerSecondPerAddress >= 1
  }
}

/** The place of one connection in the counters. */
export interface Slot {
  /** The handshake is complete. False: there are too many connections. */
  readonly establish: () => boolean
  /** The connection is gone. Again: no effect. */
  readonly leave: () => void
}

/** What counts as one address: an IPv4 address, also when it is written inside an IPv6 one; a /64 of IPv6. */
export const addressGroup = (address: string): string => {
  if (!isIPv6(address)) return address
  const mapped = /^::ffff:(\d+\.\d+\.\d+\.\d+)$/i.exec(address)
  if (mapped?.[1] !== undefined) return mapped[1]
  const [head = "", tail] = (address.split("%")[0] ?? "").toLowerCase().split("::")
  const first = head === "" ? [] : head.split(":")
  const last = tail === undefined || tail === "" ? [] : tail.split(":")
  const zeros = tail === undefined ? [] : Array.from({ length: Math.max(0, 8 - first.length - last.length) }, () => "0")
  return [...first, ...zeros, ...last]
    .slice(0, 4)
    .map((part) => part.replace(/^0+(?=.)/, ""))
    .join(":")
}
