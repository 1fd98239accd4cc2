/**
 * How much of what a connection received was dropped by the stack because the peer reset a stream in front of its reader.
 *
 * The stack does not say it. What a flush received but could not read, beside packet headers, is what a reset in the same
 * flush may have taken; a reader that had waited before may have left a whole window. The watchdog takes these bytes for
 * read, as far as the connection has brought as much that was: resets alone must not explain everything.
 */

/** Headers, acknowledgements and the authentication of a packet. */
const OVERHEAD_BYTES_PER_DATAGRAM = 60

export interface Totals {
  readonly receivedBytes: number
  readonly receivedDatagrams: number
  readonly deliveredBytes: number
}

export class DroppedBytes {
  #receivedBytes = 0
  #receivedDatagrams = 0
  #deliveredBytes = 0
  #leftBytes = 0
  #hasReset = false
  /** An upper bound, since the connection began. */
  total = 0

  /** A reset was seen in this flush; at most `leftBytes` lay unread in front of it. */
  reset(leftBytes: number): void {
    this.#hasReset = true
    this.#leftBytes += leftBytes
  }

  /** The streams were read: what the totals are now. */
  flushed(totals: Totals): void {
    if (this.#hasReset) {
      const received = totals.receivedBytes - this.#receivedBytes
      const headers = (totals.receivedDatagrams - this.#receivedDatagrams) * OVERHEAD_BYTES_PER_DATAGRAM
      const delivered = totals.deliveredBytes - this.#deliveredBytes
      this.total += this.#leftBytes + Math.max(0, received - headers - delivered)
    }
    this.#hasReset = false
    this.#leftBytes = 0
    this.#receivedBytes = totals.receivedBytes
    this.#receivedDatagrams = totals.receivedDatagrams
    this.#deliveredBytes = totals.deliveredBytes
  }
}
