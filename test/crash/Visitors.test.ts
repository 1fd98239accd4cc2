/**
 * Visitors that join by invite, connect, call, and are killed at any point of it: the node goes on serving, lists who is
 * there, keeps no half of an invite, and does not grow.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { Dice } from "../hostile/Attackers.ts"
import type { Calls } from "./CallingNode.ts"
import { type Program, spawnCalling, startCaller, startServing } from "./Program.ts"
import type { Report } from "./ServingNode.ts"

const VISITORS = 20
/** These warm the node up: what they take once is no leak. */
const WARM_UP = 4
const CALLERS = 16
const MEMORY_MARGIN = 20 * 1024 * 1024
/** A run that fails can be run again: put its seed here. */
const SEED = Date.now() >>> 0

/** How far a visitor comes before it is killed: the number of its step, and some milliseconds into the next. */
interface End {
  readonly steps: number
  readonly millis: number
}

const visit = (server: Program, carrier: "quic" | "tls", end: End) =>
  Effect.gen(function* () {
    const where = JSON.stringify(yield* server.ask("where"))
    const ticket = yield* server.ask<string>("invite")
    const visitor = yield* spawnCalling(carrier)
    const calls: Calls = { kind: "echoes", count: CALLERS }
    const steps = [
      visitor.heard("ready", 1),
      visitor.ask("join", ticket),
      visitor.ask("connect", where),
      Effect.andThen(visitor.ask("call", JSON.stringify(calls)), visitor.heard("echo", CALLERS)),
      Effect.never
    ]
    for (const step of steps.slice(0, end.steps)) yield* step
    // The next step is under way when it ends. Nothing waits for it: this is the moment of its death.
    yield* Effect.raceFirst(steps[end.steps]!, Effect.sleep(end.millis))
    yield* visitor.kill
  }).pipe(Effect.scoped)

it.live(
  `${VISITORS} visitors killed at random points leave nothing: the node serves on (seed ${SEED})`,
  () =>
    Effect.gen(function* () {
      const dice = new Dice(SEED)
      const server = yield* startServing
      const regulars = [yield* startCaller(server, "quic"), yield* startCaller(server, "tls")]
      const rounds = (count: number) =>
        Effect.gen(function* () {
          for (let round = 0; round < count; round++) {
            // Each step as often as the others, and half of them early in it.
            const end = { steps: round % 5, millis: dice.below(dice.below(2) === 0 ? 8 : 80) }
            yield* visit(server, dice.below(2) === 0 ? "quic" : "tls", end)
            for (const regular of regulars) {
              assert.strictEqual(yield* regular.ask<number>("echo", String(round)), round)
            }
          }
          return yield* server.ask<Report>("quiet", String(regulars.length))
        })
      yield* rounds(WARM_UP)
      const before = yield* server.ask<Report>("report")
      yield* rounds(VISITORS)
      const after = yield* server.ask<Report>("settled", JSON.stringify(before))
      assert.strictEqual(after.connections, regulars.length)
      assert.strictEqual(after.halfRedeemed, 0)
      assert.isAtMost(after.handles, before.handles)
      assert.isAtMost(after.fibers, before.fibers)
      const growth = after.residentBytes - before.residentBytes
      assert.isBelow(growth, MEMORY_MARGIN)
      const next = yield* startCaller(server, "quic")
      assert.strictEqual(yield* next.ask<number>("echo", "1"), 1)
      console.log(`${after.redeemed} invites used, memory ${(growth / 1024 / 1024).toFixed(1)} MiB more, seed ${SEED}`)
    }).pipe(Effect.scoped),
  240_000
)
