/**
 * A known peer that means harm, over each transport: what it makes the node hold is bounded, other connections go on, and
 * when it is gone everything is given back.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { heldBytes, residentBytes } from "./Attackers.ts"
import {
  type Attack,
  announceMuch,
  answerMuch,
  floodRequests,
  floodSubscriptions,
  lieAboutOperations,
  openAllStreams,
  reuseIds
} from "./Intruders.ts"
import { type RunningNode, runNode } from "./RunningNode.ts"
import { memoryIsBack, whileServing } from "./WhileServing.ts"

const MEBIBYTE = 1024 * 1024

/**
 * What one connection may hold while it does its worst, the intruder's own buffers in this process included: the requests in
 * flight with their answers, and the windows of its streams on both sides.
 */
const HELD_MAX = 96 * MEBIBYTE
/** What may be left afterwards: code that was compiled meanwhile. */
const LEFT_MAX = 8 * MEBIBYTE

/** For an attack to come to where the node stands still before it. */
const ATTACK_TIMEOUT = "30 seconds"

/** The attack in a scope of its own: afterwards the intruder is gone. Gives what was held at its height. */
const suffer = (node: RunningNode, transport: "quic" | "tls", attack: Attack) =>
  Effect.gen(function* () {
    const before = heldBytes()
    let held = 0
    // Before the others come: the node's side of it is the connection that was not there.
    const intruder = yield* node.intruder(transport)
    const { said } = yield* whileServing(
      node,
      Effect.gen(function* () {
        yield* Effect.timeout(attack(intruder), ATTACK_TIMEOUT)
        held = heldBytes() - before
        // It leaves without a word of what it still has under way.
        yield* intruder.connection.close(0, "")
        yield* intruder.atNode.closed
        assert.deepInclude(yield* intruder.atNode.stats, { pending: 0, waiting: 0 })
      }).pipe(Effect.scoped)
    )
    return { held, said }
  }).pipe(Effect.scoped)

const attackOver = (transport: "quic" | "tls", name: string, attack: Attack) =>
  it.live(
    `${name}, over ${transport}`,
    () =>
      Effect.gen(function* () {
        const node = yield* runNode
        // A round warms everything up: what it takes once is no leak.
        yield* suffer(node, transport, attack)
        const before = heldBytes()
        const { held, said } = yield* suffer(node, transport, attack)
        const left = yield* memoryIsBack(before, heldBytes, LEFT_MAX)
        const [mebibytes, resident] = [held, residentBytes()].map((bytes) => (bytes / MEBIBYTE).toFixed(1))
        console.log(
          `${name}, over ${transport}: ${said}; held ${mebibytes} MiB, ${left} MiB afterwards, process ${resident} MiB`
        )
        assert.isBelow(held, HELD_MAX)
      }).pipe(Effect.scoped),
    120_000
  )

for (const transport of ["quic", "tls"] as const) {
  attackOver(transport, "CALL-057 20,000 requests whose answers are never read", floodRequests)
  attackOver(transport, "CALL-006 headers that announce 64 MiB on every stream", announceMuch)
  attackOver(transport, "CALL-052 all streams opened, each with half a header", openAllStreams)
  attackOver(transport, "CALL-056 CALL-111 one id 20,000 times, and as many aborts for nobody", reuseIds)
  attackOver(transport, "CALL-120 CALL-122 1,000 subscriptions that are never read", floodSubscriptions)
  attackOver(transport, "CALL-099 CALL-100 lists and descriptions of operations that are lies", lieAboutOperations)
  attackOver(transport, "CALL-066 CALL-127 a thousand answers to a call, items and ends for nobody", answerMuch)
}
