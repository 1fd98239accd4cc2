import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { stagger } from "../../../src/layers/transport/stagger.ts"

const longer = (a: string, b: string) => (b.length > a.length ? b : a)

/** An attempt that notes when it starts, when it is interrupted and when its resource is released. */
const attempt = (log: Array<string>, name: string, millis: number, outcome: Effect.Effect<string, string>) =>
  Effect.gen(function* () {
    log.push(`${name} start`)
    yield* Effect.acquireRelease(Effect.void, () => Effect.sync(() => log.push(`${name} release`)))
    yield* Effect.sleep(millis)
    return yield* outcome
  })

it.effect("the first alone where it answers within its head start", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const attempts = [attempt(log, "a", 100, Effect.succeed("a")), attempt(log, "b", 1, Effect.succeed("b"))] as const
    const fiber = yield* Effect.forkChild(stagger(attempts, { moreTelling: longer }))
    yield* TestClock.adjust("100 millis")
    assert.strictEqual(yield* Fiber.join(fiber), "a")
    assert.deepStrictEqual(log, ["a start"])
  })
)

it.effect("the second starts after 250 ms, wins, and the first is released", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const attempts = [attempt(log, "a", 9000, Effect.succeed("a")), attempt(log, "b", 50, Effect.succeed("b"))] as const
    const fiber = yield* Effect.forkChild(stagger(attempts, { moreTelling: longer }))
    yield* TestClock.adjust("249 millis")
    assert.deepStrictEqual(log, ["a start"])
    yield* TestClock.adjust("51 millis")
    assert.strictEqual(yield* Fiber.join(fiber), "b")
    assert.deepStrictEqual(log, ["a start", "b start", "a release"])
  })
)

it.effect(
  "a failure starts the next at once; when all fail, the most telling error comes out and all is released",
  () =>
    Effect.gen(function* () {
      const log: Array<string> = []
      const attempts = [
        attempt(log, "a", 10, Effect.fail("long error")),
        attempt(log, "b", 10, Effect.fail("short"))
      ] as const
      const fiber = yield* Effect.forkChild(Effect.flip(stagger(attempts, { moreTelling: longer })))
      yield* TestClock.adjust("20 millis")
      assert.strictEqual(yield* Fiber.join(fiber), "long error")
      assert.sameMembers(log, ["a start", "b start", "a release", "b release"])
    })
)

it.effect("a final error ends the race", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const attempts = [attempt(log, "a", 10, Effect.fail("final")), attempt(log, "b", 10, Effect.succeed("b"))] as const
    const options = { moreTelling: longer, isFinal: (error: string) => error === "final" }
    const fiber = yield* Effect.forkChild(Effect.flip(stagger(attempts, options)))
    yield* TestClock.adjust("10 millis")
    assert.strictEqual(yield* Fiber.join(fiber), "final")
    assert.include(log, "a release")
  })
)

it.effect("an interrupted race releases what it started", () =>
  Effect.gen(function* () {
    const log: Array<string> = []
    const attempts = [
      attempt(log, "a", 9000, Effect.succeed("a")),
      attempt(log, "b", 9000, Effect.succeed("b"))
    ] as const
    const fiber = yield* Effect.forkChild(stagger(attempts, { moreTelling: longer }))
    yield* TestClock.adjust("300 millis")
    yield* Fiber.interrupt(fiber)
    assert.sameMembers(log, ["a start", "b start", "a release", "b release"])
  })
)
