import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { TestClock } from "effect/testing"
import { Deadlines } from "../../../src/layers/call/Deadlines.ts"

const make = Effect.gen(function* () {
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const deadlines = new Deadlines(yield* Clock.Clock, fork)
  const fired: Array<string> = []
  const add = (millis: number, name: string) => deadlines.add(millis, () => fired.push(name))
  return { deadlines, fired, add }
})

describe("the timers of a connection", () => {
  it.effect("fire at their time, whatever order they were set in, and never before", () =>
    Effect.gen(function* () {
      const { add, fired } = yield* make
      add(30_000, "c")
      add(10, "a")
      add(500, "b")
      yield* TestClock.adjust("9 millis")
      assert.deepStrictEqual(fired, [])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(fired, ["a"])
      yield* TestClock.adjust("490 millis")
      assert.deepStrictEqual(fired, ["a", "b"])
      yield* TestClock.adjust("29499 millis")
      assert.deepStrictEqual(fired, ["a", "b"])
      yield* TestClock.adjust("1 millis")
      assert.deepStrictEqual(fired, ["a", "b", "c"])
    })
  )

  it.effect("a cancelled one does not fire, and those behind it keep their time", () =>
    Effect.gen(function* () {
      const { add, deadlines, fired } = yield* make
      const [first, second] = [add(100, "1"), add(100, "2")]
      yield* TestClock.adjust("50 millis")
      add(100, "3")
      deadlines.cancel(first)
      deadlines.cancel(second)
      deadlines.cancel(second)
      yield* TestClock.adjust("50 millis")
      assert.deepStrictEqual(fired, [])
      yield* TestClock.adjust("50 millis")
      assert.deepStrictEqual(fired, ["3"])
    })
  )

  it.effect("one that sets another while it fires, and the end, after which nothing fires", () =>
    Effect.gen(function* () {
      const { add, deadlines, fired } = yield* make
      deadlines.add(10, () => add(10, "chained"))
      yield* TestClock.adjust("20 millis")
      assert.deepStrictEqual(fired, ["chained"])
      add(10, "late")
      deadlines.close()
      add(10, "later")
      yield* TestClock.adjust("1 minutes")
      assert.deepStrictEqual(fired, ["chained"])
    })
  )

  it.effect("100,000 timers that are set and cancelled leave nothing behind", () =>
    Effect.gen(function* () {
      const { add, deadlines, fired } = yield* make
      for (let index = 0; index < 100_000; index++) deadlines.cancel(add(30_000 + (index % 100), "never"))
      yield* TestClock.adjust("1 hour")
      assert.deepStrictEqual(fired, [])
    })
  )
})
