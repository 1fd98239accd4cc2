/** Innocent peers that call while something goes on, and what must be true afterwards. */
import { assert } from "@effect/vitest"
import { Effect, Fiber, type Scope } from "effect"
import { residentBytes } from "./Attackers.ts"
import { type Client, HANDSHAKE_MILLIS, type RunningNode } from "./RunningNode.ts"

const MEBIBYTE = 1024 * 1024
const MEMORY_MARGIN = 20 * MEBIBYTE
/** A call that takes longer has lost against the attack. */
export const CALL_TIMEOUT = "20 seconds"

/** Calls one after another until interrupted; gives what each took. A call that fails ends the test. */
const keepCalling = (client: Client) =>
  Effect.gen(function* () {
    const took: Array<number> = []
    const fiber = yield* Effect.forkScoped(
      Effect.forever(
        Effect.gen(function* () {
          const message = `call ${took.length}`
          const start = performance.now()
          assert.strictEqual(yield* Effect.timeout(client.call(message), CALL_TIMEOUT), message)
          took.push(performance.now() - start)
          // Leaves the loop to the others: a caller in the same process would otherwise be a flood of its own.
          yield* Effect.sleep("1 millis")
        })
      )
    )
    return Effect.gen(function* () {
      // A fiber that failed has failed the calls: its error is the test's.
      if (fiber.pollUnsafe() !== undefined) yield* Fiber.join(fiber)
      yield* Fiber.interrupt(fiber)
      return took
    })
  })

/** A new peer of each kind gets in. */
export const letsIn = (node: RunningNode) =>
  Effect.forEach(["quic", "tls"] as const, (transport) =>
    Effect.gen(function* () {
      const client = yield* Effect.timeout(node.client(transport), CALL_TIMEOUT)
      assert.strictEqual(yield* Effect.timeout(client.call("new"), CALL_TIMEOUT), "new")
    })
  )

/**
 * Both kinds of clients call while the attack runs, and new ones get in while it runs and afterwards. Gives what the calls
 * took, in words.
 */
export const whileServing = <E>(node: RunningNode, attack: Effect.Effect<void, E, Scope.Scope>) =>
  Effect.gen(function* () {
    const stops = yield* Effect.forEach(["quic", "tls"] as const, (transport) =>
      Effect.flatMap(node.client(transport), keepCalling)
    )
    yield* Effect.all([attack, letsIn(node)], { concurrency: 2 })
    const answered = yield* Effect.all(stops)
    yield* letsIn(node)
    for (const took of answered) assert.isAbove(took.length, 0)
    return { said: `${describe("QUIC", answered[0]!)} and ${describe("TLS", answered[1]!)}` }
  }).pipe(Effect.scoped)

const describe = (kind: string, took: ReadonlyArray<number>): string => {
  const sorted = [...took].sort((one, other) => one - other)
  const [median, last] = [sorted[sorted.length >> 1]!, sorted.at(-1)!]
  return `${took.length} ${kind} calls (${median.toFixed(1)} ms, at most ${last.toFixed(0)} ms)`
}

/** Waits until the memory is back, at most for the time of a handshake and some collections. */
export const memoryIsBack = (before: number, measure = residentBytes, margin = MEMORY_MARGIN) =>
  Effect.gen(function* () {
    let growth = measure() - before
    for (let left = 30; left > 0 && growth > margin; left--) {
      yield* Effect.sleep(HANDSHAKE_MILLIS / 10)
      growth = measure() - before
    }
    assert.isBelow(growth, margin, `${(growth / MEBIBYTE).toFixed(1)} MiB more than before`)
    return (growth / MEBIBYTE).toFixed(1)
  })
