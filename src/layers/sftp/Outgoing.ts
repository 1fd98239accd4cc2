/**
 * Packets on their way to a stream. Neighbours that are small go out with one write: a listing or a row of small files is
 * many of them.
 */

/** Packets below this are joined, up to this. */
const BATCH_BYTES = 16 * 1024

export interface Batch<A> {
  readonly bytes: Uint8Array
  /** What the bytes were made of. */
  readonly items: ReadonlyArray<A>
}

/** The packets in their order. What is not joined is not copied. */
export const batches = <A>(items: ReadonlyArray<A>, packetOf: (item: A) => Uint8Array): ReadonlyArray<Batch<A>> => {
  const all: Array<Batch<A>> = []
  let small: Array<A> = []
  let bytes = 0
  const flush = () => {
    if (small.length > 0) {
      const packets = small.map(packetOf)
      all.push({ bytes: packets.length === 1 ? packets[0]! : Buffer.concat(packets, bytes), items: small })
    }
    small = []
    bytes = 0
  }
  for (const item of items) {
    const packet = packetOf(item)
    if (bytes + packet.length > BATCH_BYTES) flush()
    small.push(item)
    bytes += packet.length
  }
  flush()
  return all
}
