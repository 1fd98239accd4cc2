import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Metric, Scope } from "effect"
import { connectionMetrics } from "../../src/layers/connectionMetrics.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { ECHO, makeNode, targetOf } from "./nodeFixture.ts"

const shown = Effect.map(Metric.snapshot, (metrics) =>
  metrics.flatMap(({ attributes, id, state }) =>
    id === "alknet.connections" && "value" in state
      ? [`${attributes?.["alpn"]} ${attributes?.["side"]} ${attributes?.["transport"]} ${state.value}`]
      : []
  )
)

it.effect("live connections are counted by ALPN, side and transport", () =>
  Effect.gen(function* () {
    const server = yield* makeNode()
    const client = yield* makeNode({})
    yield* server.router.register({
      alpn: ECHO,
      access: "anonymous",
      accept: ({ closed }, _, draining) => Effect.raceFirst(Effect.asVoid(closed), draining)
    })
    const scope = yield* Scope.make()
    const connection = yield* client.endpoint.connect(targetOf(server), ECHO).pipe(Scope.provide(scope))
    // A stream that was taken shows that the other side has it, too.
    const other = yield* Effect.forkChild(Effect.flatMap(connection.open, (stream) => stream.finish))
    yield* Fiber.join(other)
    const lines = yield* Effect.repeat(shown, { until: (found) => found.length === 2 })
    assert.sameMembers([...lines], ["test/echo accepted memory 1", "test/echo dialed memory 1"])
    yield* Scope.close(scope, Exit.void)
    const after = yield* Effect.repeat(shown, { until: (found) => found.every((line) => line.endsWith(" 0")) })
    assert.sameMembers([...after], ["test/echo accepted memory 0", "test/echo dialed memory 0"])
  }).pipe(
    Effect.provideService(Metric.MetricRegistry, new Map()),
    Effect.scoped,
    Effect.provide(MemoryTransport.MemoryNetwork.layer)
  )
)

it.effect("names that a program makes up do not make series without end", () =>
  Effect.gen(function* () {
    const count = connectionMetrics(yield* Effect.context<never>())
    for (let index = 0; index < 1000; index++) {
      count({ alpn: Alpn.make(`made/up-${index}`), side: "dialed", transport: "memory" }, 1)
    }
    const lines = yield* shown
    assert.strictEqual(lines.length, 257)
    assert.include(lines, "_OTHER dialed memory 744")
  }).pipe(Effect.provideService(Metric.MetricRegistry, new Map()))
)
