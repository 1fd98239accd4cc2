/** Operations that echo, wait and call back, and waiting for what a connection shows. */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Queue, Schema } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { turns } from "../transport/provider.ts"

export const external = { visibility: "external", access: AccessControl.open } as const
export const Echo = Operation.query("t/echo", { input: Schema.Json, output: Schema.Json, ...external })
export const Slow = Operation.query("t/slow", { input: Schema.Json, output: Schema.Json, ...external })
export const Back = Operation.query("t/back", { input: Schema.Json, output: Schema.Json, ...external })

/** An operation that echoes, one that waits for a gate, one that calls back. */
export const operations = () => {
  const started = Effect.runSync(Queue.unbounded<Schema.Json>())
  const interrupted = Effect.runSync(Queue.unbounded<Schema.Json>())
  const gate = Deferred.makeUnsafe<void>()
  const group = OperationGroup.make(
    Operation.implement(Echo, (input) => Effect.succeed(input)),
    Operation.implement(Slow, (input) =>
      Queue.offer(started, input).pipe(
        Effect.andThen(Deferred.await(gate)),
        Effect.as(input),
        Effect.onInterrupt(() => Queue.offer(interrupted, input))
      )
    ),
    Operation.implement(Back, (input) =>
      Effect.flatMap(OperationContext, ({ connection }) => Effect.orDie(connection!.call(Echo, input)))
    )
  )
  return { started, interrupted, open: Deferred.succeed(gate, undefined), group }
}

export const messageOf = <A, E extends { readonly code: string; readonly message: string }>(
  call: Effect.Effect<A, E>
) => Effect.map(Effect.flip(call), (error) => `${error.code} ${error.message}`)

/** How long the state may take: a datagram that the machine loses comes again after a probe timeout. */
const STATE_MILLIS = 10_000

/** Waits until a connection shows this; every turn something may have changed. */
export const until = (
  connection: CallConnection["Service"],
  want: Partial<Record<"pending" | "inbound" | "waiting", number>>
) =>
  Effect.gen(function* () {
    const end = performance.now() + STATE_MILLIS
    while (performance.now() < end) {
      const stats = yield* connection.stats
      if (Object.entries(want).every(([key, value]) => stats[key as keyof typeof stats] === value)) return
      yield* turns(1)
    }
    assert.deepInclude(yield* connection.stats, want)
  })
