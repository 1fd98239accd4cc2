import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber } from "effect"
import { SubscriptionQueue } from "../../../src/layers/call/SubscriptionQueue.ts"

const limits = (subscriptionQueue: number, items = 4, bytes = 1000) => ({
  subscriptionQueue,
  sharedOverflow: { items, bytes }
})
const make = (...of: Parameters<typeof limits>) => new SubscriptionQueue<string>(limits(...of))
const begin = <A, E>(effect: Effect.Effect<A, E>) => Effect.forkChild(effect, { startImmediately: true })

/** Offers what an array holds, as a reader does: it waits where it is told to. */
const read = (queue: SubscriptionQueue<string>, items: ReadonlyArray<number>) =>
  Effect.forEach(items, (item) => queue.offer(item, 1) ?? Effect.void, { discard: true })

describe("SubscriptionQueue", () => {
  it.effect("gives what is there as one array, then the end", () =>
    Effect.gen(function* () {
      const queue = make(8)
      yield* read(queue, [1, 2, 3])
      queue.end(Exit.fail("end"))
      queue.end(Exit.fail("a second end"))
      assert.deepStrictEqual(yield* queue.take, [1, 2, 3])
      assert.strictEqual(yield* Effect.flip(queue.take), "end")
      assert.strictEqual(yield* Effect.flip(queue.take), "end")
    })
  )

  it.effect("a consumer that waits gets the items of one turn together", () =>
    Effect.gen(function* () {
      const queue = make(8)
      const taken = yield* begin(queue.take)
      yield* read(queue, [1, 2, 3])
      assert.deepStrictEqual(yield* Fiber.join(taken), [1, 2, 3])
    })
  )

  it.effect("CALL-122 the reader waits when the queue is full, what the consumer is busy with included", () =>
    Effect.gen(function* () {
      const queue = make(4)
      const reader = yield* begin(read(queue, [1, 2, 3, 4, 5, 6, 7, 8, 9]))
      assert.isUndefined(reader.pollUnsafe())
      assert.deepStrictEqual(yield* queue.take, [1, 2, 3, 4])
      // The consumer has not come back: nothing was read for it.
      assert.isUndefined(reader.pollUnsafe())
      assert.deepStrictEqual(yield* queue.take, [5, 6, 7, 8])
      assert.isUndefined(reader.pollUnsafe())
      assert.deepStrictEqual(yield* queue.take, [9])
      yield* Fiber.join(reader)
    })
  )

  it.effect("an end, or a consumer that is gone, lets the reader go on", () =>
    Effect.gen(function* () {
      const ended = make(1)
      const first = yield* begin(read(ended, [1, 2]))
      ended.end(Exit.fail("end"))
      yield* Fiber.join(first)
      const left = make(1)
      const second = yield* begin(read(left, [1]))
      left.close()
      yield* Fiber.join(second)
    })
  )

  it.effect("CALL-123 on a stream with other requests the overflow has a bound in items and one in bytes", () =>
    Effect.gen(function* () {
      const counted = make(2, 3)
      const offered = [1, 2, 3, 4, 5, 6].map((item) => counted.offerShared(item, 1))
      assert.deepStrictEqual(offered, [true, true, true, true, true, false])
      assert.deepStrictEqual(yield* counted.take, [1, 2])
      // The consumer still has two: the others are beyond the queue.
      assert.isFalse(counted.offerShared(6, 1))
      assert.deepStrictEqual(yield* counted.take, [3, 4])
      assert.isTrue(counted.offerShared(7, 1))
      const weighed = make(1, 100, 1000)
      assert.isTrue(weighed.offerShared(1, 5000), "in the queue, not beyond it")
      assert.isTrue(weighed.offerShared(2, 600))
      assert.isFalse(weighed.offerShared(3, 401))
      assert.isTrue(weighed.offerShared(3, 400))
      assert.deepStrictEqual(yield* weighed.take, [1])
      assert.deepStrictEqual(yield* weighed.take, [2])
      assert.isTrue(weighed.offerShared(4, 600))
    })
  )

  it.effect("a consumer that gives up waiting takes nothing with it", () =>
    Effect.gen(function* () {
      const queue = make(4)
      const gone = yield* begin(queue.take)
      yield* Fiber.interrupt(gone)
      yield* read(queue, [1])
      assert.deepStrictEqual(yield* queue.take, [1])
    })
  )
})
