import { assert, it } from "@effect/vitest"
import { DroppedBytes } from "../../../../src/layers/transport/quic/DroppedBytes.ts"

it("only what came with a reset and was not read counts as dropped", () => {
  const dropped = new DroppedBytes()
  // Data without a reset, whether read or not.
  dropped.flushed({ receivedBytes: 100_000, receivedDatagrams: 80, deliveredBytes: 10_000 })
  assert.strictEqual(dropped.total, 0)
  // A reset, and everything was read but the headers.
  dropped.reset(0)
  dropped.flushed({ receivedBytes: 140_000, receivedDatagrams: 112, deliveredBytes: 48_080 })
  assert.strictEqual(dropped.total, 0)
  // A reset took 20 KB away.
  dropped.reset(0)
  dropped.flushed({ receivedBytes: 180_000, receivedDatagrams: 144, deliveredBytes: 66_160 })
  assert.strictEqual(dropped.total, 20_000)
})

it("what a waiting reader had left counts at once", () => {
  const dropped = new DroppedBytes()
  dropped.reset(2 ** 20)
  dropped.flushed({ receivedBytes: 0, receivedDatagrams: 0, deliveredBytes: 0 })
  assert.strictEqual(dropped.total, 2 ** 20)
})
