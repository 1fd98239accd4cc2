/**
 * Consumers that are slower than what they subscribed to, over real transports: what waits for them is bounded, in the node
 * that produces and in the one that consumes, however long it goes on.
 */
import { assert, it } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import { Operation } from "../../src/services/Operation.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { both } from "../conformance/call/kit.ts"
import { Echo, external, operations } from "../conformance/call/operations.ts"
import { leavesNothing } from "../conformance/transport/provider.ts"
import { provider } from "../conformance/transport/registry.ts"
import { heldBytes } from "./Attackers.ts"

const MEBIBYTE = 1024 * 1024
const ITEMS = 10_000
/** Of 10 KiB: a hundred megabytes go through, of which no more than windows and queues may lie anywhere. */
const ITEM = "i".repeat(10 * 1024)
const HELD_MAX = 24 * MEBIBYTE
/** How often the memory is looked at, in items. */
const LOOKS_EVERY = 2000

const Numbers = Operation.subscription("slow/numbers", {
  output: Schema.Tuple([Schema.Int, Schema.String]),
  ...external
})

const producing = () => {
  const made = { count: 0 }
  // A range comes in blocks of thousands: this one counts what it is asked for.
  const items = Stream.map(Stream.rechunk(Stream.range(0, ITEMS - 1), 4), (number) => {
    made.count = number + 1
    return [number, ITEM] as const
  })
  return {
    made,
    group: OperationGroup.make(Operation.implement(Numbers, items), ...operations().group.implementations)
  }
}

it.live(
  "CALL-122 10,000 items at a consumer that takes its time, over quic: none is lost, and the memory is flat",
  () =>
    leavesNothing(
      Effect.gen(function* () {
        const { group, made } = producing()
        const { connection } = yield* both(provider("quic"), { server: { groups: [group] } })
        yield* Stream.runDrain(Stream.take(connection.subscribe(Numbers, undefined), 500))
        const before = heldBytes()
        const looks: Array<number> = []
        let next = 0
        let ahead = 0
        yield* Stream.runForEach(connection.subscribe(Numbers, undefined), ([number, text]) =>
          Effect.suspend(() => {
            assert.strictEqual(number, next++)
            assert.strictEqual(text.length, ITEM.length)
            ahead = Math.max(ahead, made.count - number)
            if (next % LOOKS_EVERY === 0) looks.push(heldBytes() - before)
            // Slower than what comes, and without a timer of its own for each item.
            return next % 20 === 0 ? Effect.sleep("5 millis") : Effect.void
          })
        )
        assert.strictEqual(next, ITEMS)
        assert.isBelow(Math.max(...looks), HELD_MAX, looks.join(" "))
        assert.isBelow(ahead, ITEMS / 4, "the handler is held back")
        const mebibytes = looks.map((bytes) => (bytes / MEBIBYTE).toFixed(1)).join(", ")
        console.log(`a slow consumer of 10,000 items: held ${mebibytes} MiB, the handler at most ${ahead} items ahead`)
      })
    ),
  60_000
)

it.live("CALL-123 a consumer that takes nothing, over tls: it is told so, the memory is bounded, calls go on", () =>
  leavesNothing(
    Effect.gen(function* () {
      const { group } = producing()
      const { connection } = yield* both(provider("tls"), { server: { groups: [group] } })
      assert.strictEqual(yield* connection.call(Echo, 0), 0)
      const before = heldBytes()
      let taken = 0
      const failure = yield* Effect.flip(
        Stream.runForEach(connection.subscribe(Numbers, undefined), () =>
          Effect.suspend(() => {
            if (++taken > 1) return Effect.void
            // Busy with the first until the rest does not fit any more: then its request is gone.
            return Effect.gen(function* () {
              let call = 0
              while ((yield* connection.stats).pending > 0) {
                assert.strictEqual(yield* connection.call(Echo, ++call), call)
                yield* Effect.sleep("1 millis")
              }
            })
          })
        )
      )
      assert.deepInclude(failure, { code: "INTERNAL", message: "subscription overflow" })
      const held = heldBytes() - before
      assert.isBelow(held, HELD_MAX)
      assert.isBelow(taken, ITEMS)
      console.log(`a consumer that stands still: ${taken} items kept, held ${(held / MEBIBYTE).toFixed(1)} MiB`)
      assert.strictEqual(yield* connection.call(Echo, "after"), "after")
    })
  )
)
