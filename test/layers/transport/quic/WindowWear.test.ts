import { assert, it } from "@effect/vitest"
import { WindowWear } from "../../../../src/layers/transport/quic/WindowWear.ts"

it("only what came with a reset and was not read counts as lost", () => {
  const wear = new WindowWear()
  // Data without a reset, whether read or not.
  wear.flushed({ receivedBytes: 100_000, receivedDatagrams: 80, deliveredBytes: 10_000 })
  assert.isFalse(wear.isWorn)
  // A reset, and everything was read but the headers.
  wear.reset(0)
  wear.flushed({ receivedBytes: 140_000, receivedDatagrams: 112, deliveredBytes: 48_080 })
  assert.isFalse(wear.isWorn)
  // A reset took 20 KB away.
  wear.reset(0)
  wear.flushed({ receivedBytes: 180_000, receivedDatagrams: 144, deliveredBytes: 66_160 })
  assert.isTrue(wear.isWorn)
})

it("what a full queue held back counts at once", () => {
  const wear = new WindowWear()
  wear.reset(2 ** 20)
  wear.flushed({ receivedBytes: 0, receivedDatagrams: 0, deliveredBytes: 0 })
  assert.isTrue(wear.isWorn)
})
