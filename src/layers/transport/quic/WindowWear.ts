/**
 * How much of a connection's receive window was lost to streams that the peer reset.
 *
 * When a reset comes before the data in front of it was read, the stack drops that data and never gives its bytes back to the
 * window of the connection. Half of the smallest window is 24 KiB; with more than that gone the window would never open
 * again, and the peer would wait for ever. A worn connection is therefore ended when it is quiet and has no
 * streams: who needs it dials again.
 *
 * What a flush received but could not read, beside packet headers, is what a reset in the same flush may have taken.
 */
const WORN_BYTES = 16 * 1024

/** Headers, acknowledgements and the authentication of a packet. */
const OVERHEAD_BYTES_PER_DATAGRAM = 60

export interface Totals {
  readonly receivedBytes: number
  readonly receivedDatagrams: number
  readonly deliveredBytes: number
}

export class WindowWear {
  #receivedBytes = 0
  #receivedDatagrams = 0
  #deliveredBytes = 0
  #resetBytes = 0
  #hasReset = false
  #lostBytes = 0

  get isWorn(): boolean {
    return this.#lostBytes > WORN_BYTES
  }

  /** A reset was seen in this flush; `unreadBytes` were certainly held back in front of it. */
  reset(unreadBytes: number): void {
    this.#hasReset = true
    this.#resetBytes += unreadBytes
  }

  /** The streams were read: what the totals are now. */
  flushed(totals: Totals): void {
    if (this.#hasReset) {
      const received = totals.receivedBytes - this.#receivedBytes
      const headers = (totals.receivedDatagrams - this.#receivedDatagrams) * OVERHEAD_BYTES_PER_DATAGRAM
      const delivered = totals.deliveredBytes - this.#deliveredBytes
      this.#lostBytes += this.#resetBytes + Math.max(0, received - headers - delivered)
    }
    this.#hasReset = false
    this.#resetBytes = 0
    this.#receivedBytes = totals.receivedBytes
    this.#receivedDatagrams = totals.receivedDatagrams
    this.#deliveredBytes = totals.deliveredBytes
  }
}
