import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { BatchWriter, Kind, readBatch } from "../../../../../src/layers/transport/quic/worker/Batch.ts"

type Read = readonly [kind: Kind, on: number, stream: number, value: number, payload: Uint8Array]

/** Everything that a writer posts, as the other thread reads it. */
const written = () => {
  const batches: Array<ArrayBuffer> = []
  const writer = new BatchWriter((batch) => batches.push(batch))
  const read = () => {
    const records: Array<Read> = []
    for (const batch of batches) {
      readBatch(batch, {
        record: (...record) => records.push(record),
        udp: (socket, port, host, datagram) => records.push([Kind.Udp, socket, port, host.length, datagram])
      })
    }
    return records
  }
  return { batches, writer, read }
}

const turn = Effect.callback<void>((resume) => {
  setImmediate(() => setImmediate(() => resume(Effect.void)))
})

describe("a batch", () => {
  it.live("carries what one turn wrote as one message, in order", () =>
    Effect.gen(function* () {
      const { batches, read, writer } = written()
      writer.add(Kind.Stream, 7, 4, 0)
      writer.addBytes(Kind.Data, 7, 4, new Uint8Array([1, 2, 3]))
      writer.addBytes(Kind.Last, 7, 4, new Uint8Array(0))
      writer.add(Kind.Reset, 4_294_967_295, 2 ** 53 - 1, 2 ** 62)
      writer.addUdp(3, 65_535, "fe80::1%eth0", new Uint8Array([9]))
      assert.lengthOf(batches, 0)
      yield* turn
      assert.lengthOf(batches, 1)
      assert.deepStrictEqual(
        read().map(([kind, on, stream, value, payload]) => [kind, on, stream, value, [...payload]]),
        [
          [Kind.Stream, 7, 4, 0, []],
          [Kind.Data, 7, 4, 3, [1, 2, 3]],
          [Kind.Last, 7, 4, 0, []],
          [Kind.Reset, 4_294_967_295, 2 ** 53 - 1, 2 ** 62, []],
          [Kind.Udp, 3, 65_535, 12, [9]]
        ]
      )
    })
  )

  it.live("that is full is posted at once, and nothing is lost at its edge", () =>
    Effect.gen(function* () {
      const { batches, read, writer } = written()
      const sizes = Array.from({ length: 200 }, (_, index) => (index * 997) % 65_537)
      for (const [index, size] of sizes.entries()) {
        writer.addBytes(Kind.Data, index, 0, new Uint8Array(size).fill(index))
      }
      assert.isAbove(batches.length, 10)
      yield* turn
      const records = read()
      assert.deepStrictEqual(
        records.map(([, on, , , payload]) => [on, payload.length]),
        sizes.map((size, index) => [index, size])
      )
      for (const [, on, , , payload] of records) assert.isTrue(payload.every((byte) => byte === on))
    })
  )

  it.live("lets go of its memory when only a short part of it is kept", () =>
    Effect.gen(function* () {
      const { read, writer } = written()
      writer.addBytes(Kind.Data, 1, 0, new Uint8Array(10))
      writer.addBytes(Kind.Data, 1, 0, new Uint8Array(60_000))
      yield* turn
      const [short] = read()
      assert.strictEqual(short?.[4].buffer.byteLength, 10)
    })
  )
})
