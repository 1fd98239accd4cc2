/**
 * What goes wrong, how often, and the seeded random numbers that decide it: the same seed gives the same decisions.
 */
import { Duration } from "effect"

/** Probabilities are from 0 to 1 and default to 0; times default to none. */
export interface Faults {
  /** A message (or a UDP datagram) is lost. Streams do not lose bytes: see `death`. */
  readonly loss?: number
  /** A message comes twice. */
  readonly duplicate?: number
  /** A message comes after the next one. */
  readonly reorder?: number
  /** One byte of a chunk or message is changed. No real transport of ours lets that through; decoders must bear it. */
  readonly corrupt?: number
  /** Writing a chunk finds the connection dead: both sides see it as lost. */
  readonly death?: number
  /** A dial gets no answer. */
  readonly unreachable?: number
  /** What each chunk and message takes to arrive. */
  readonly delay?: Duration.Input
  /** Up to this much more. */
  readonly jitter?: Duration.Input
  /** Bytes a second that a reader takes; a chunk of 64 KiB then costs its time. Default: as fast as it can. */
  readonly readBytesPerSecond?: number
}

/** One stream of decisions. */
export class Dice {
  #state: number

  /** `lane` tells the dice of several connections of one run apart. */
  constructor(seed: number, lane: number) {
    this.#state = (Math.imul(seed | 0, 0x9e3779b1) ^ Math.imul(lane + 1, 0x85ebca6b)) >>> 0
  }

  /** From 0 up to, not including, 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }

  /** Whether something with this probability happens now. Uses a number up in any case, so that runs stay aligned. */
  happens(probability: number | undefined): boolean {
    const number = this.next()
    return probability !== undefined && number < probability
  }

  /** Milliseconds that something takes to arrive. */
  delayMillis(faults: Faults): number {
    const jitter = this.next() * Duration.toMillis(faults.jitter ?? 0)
    return Duration.toMillis(faults.delay ?? 0) + jitter
  }

  /** A copy with one byte changed, or the bytes themselves. */
  maybeCorrupt<A extends Uint8Array>(bytes: A, faults: Faults): A | Uint8Array {
    if (!this.happens(faults.corrupt) || bytes.length === 0) return bytes
    const copy = new Uint8Array(bytes)
    const index = Math.floor(this.next() * copy.length)
    copy[index] = copy[index]! ^ (1 + Math.floor(this.next() * 255))
    return copy
  }
}
