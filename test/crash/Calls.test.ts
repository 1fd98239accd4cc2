/**
 * Two processes, one of which is killed in the middle of 64 calls: the other ends every call once, keeps nothing, and goes on.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import type { CallStats } from "../../src/services/CallConnection.ts"
import type { Calls, Settled } from "./CallingNode.ts"
import { DEADLINE_MILLIS, IDLE_MILLIS, KEEP_ALIVE_MILLIS } from "./CrashNode.ts"
import { type Program, startCaller, startServing } from "./Program.ts"
import type { Report } from "./ServingNode.ts"

const CALLS = 64
/** A machine with other things to do runs timers later, and tells later. */
const BUSY_MACHINE_MILLIS = 3000
const PATIENT = 120_000

const call = (caller: Program, calls: Calls) => caller.ask("call", JSON.stringify(calls))

/** Each of the calls has ended once, because its connection did, and in the time that the idle time allows. */
const assertAllEnded = Effect.fnUntraced(function* (caller: Program, killedAt: number) {
  const settled = yield* caller.heard<Settled>("settled", CALLS)
  const stats = yield* caller.ask<CallStats>("stats")
  for (const { answer, defect, error } of settled) {
    assert.deepStrictEqual([error?.code, error?.message, error?.origin], ["INTERNAL", "connection closed", "local"])
    assert.deepStrictEqual([answer, defect], [undefined, undefined])
  }
  assert.strictEqual(new Set(settled.map(({ index }) => index)).size, CALLS)
  const last = Math.max(...settled.map(({ at }) => at)) - killedAt
  assert.isBelow(last, IDLE_MILLIS + KEEP_ALIVE_MILLIS + BUSY_MACHINE_MILLIS)
  assert.deepStrictEqual(stats, { pending: 0, inbound: 0, waiting: 0 })
  assert.strictEqual(caller.heardSoFar("settled"), CALLS)
  return last
})

for (const carrier of ["quic", "tls"] as const) {
  it.live(
    `TR-017 over ${carrier}, the server killed in the middle of 64 calls: each ends once with INTERNAL "connection closed"`,
    () =>
      Effect.gen(function* () {
        const server = yield* startServing
        const caller = yield* startCaller(server, carrier)
        yield* call(caller, { kind: "waiting", count: CALLS })
        yield* server.ask("began", String(CALLS))
        const last = yield* assertAllEnded(caller, yield* server.kill)
        assert.strictEqual(yield* caller.ask<number>("connections"), 0)
        console.log(`${carrier}: the last of ${CALLS} calls ended ${last} ms after the kill`)
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    `TR-017 over ${carrier}, the server killed while 64 callers get answers: each gets one error, and it is the same`,
    () =>
      Effect.gen(function* () {
        const server = yield* startServing
        const caller = yield* startCaller(server, carrier)
        yield* call(caller, { kind: "echoes", count: CALLS })
        yield* caller.heard("echo", 10 * CALLS)
        yield* assertAllEnded(caller, yield* server.kill)
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    `TR-017 over ${carrier}, the caller killed in the middle of 64 calls: their handlers end, nothing is kept, the next is served`,
    () =>
      Effect.gen(function* () {
        const server = yield* startServing
        const before = yield* server.ask<Report>("report")
        const caller = yield* startCaller(server, carrier)
        yield* call(caller, { kind: "waiting", count: CALLS })
        const during = yield* server.ask<Report>("began", String(CALLS))
        assert.deepStrictEqual([during.inbound, during.connections, during.ended], [CALLS, 1, 0])
        assert.isAtLeast(during.fibers, before.fibers + CALLS)

        const killedAt = yield* caller.kill
        const quiet = yield* server.ask<Report>("quiet", "0")
        const took = Date.now() - killedAt
        // The system ends the TCP connections of a killed process as it ends those of one that has no more to ask.
        const bound = carrier === "quic" ? IDLE_MILLIS : DEADLINE_MILLIS
        assert.isBelow(took, bound + BUSY_MACHINE_MILLIS)
        assert.deepStrictEqual([quiet.ended, quiet.interrupted, quiet.inbound], [CALLS, CALLS, 0])

        const next = yield* startCaller(server, carrier)
        assert.strictEqual(yield* next.ask<number>("echo", "7"), 7)
        yield* next.kill
        yield* server.ask("quiet", "0")
        const after = yield* server.ask<Report>("settled", JSON.stringify(before))
        assert.isAtMost(after.handles, before.handles)
        assert.isAtMost(after.fibers, before.fibers)
        assert.strictEqual(after.held, 0)
        console.log(`${carrier}: the caller's calls were over ${took} ms after the kill`)
      }).pipe(Effect.scoped),
    PATIENT
  )
}
