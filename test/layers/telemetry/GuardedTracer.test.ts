import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Layer, Logger, Metric, Tracer } from "effect"
import { TestClock } from "effect/testing"
import { guardedTracer, SPANS_PER_SECOND_MAX } from "../../../src/layers/telemetry/GuardedTracer.ts"

/** For JSON. */
const plain = (_: string, value: unknown): unknown => (typeof value === "bigint" ? Number(value) : value)

/** The spans that got through. */
const collecting = Effect.gen(function* () {
  const spans: Array<Tracer.NativeSpan> = []
  const inner = Tracer.make({
    span: (options) => {
      const span = new Tracer.NativeSpan(options)
      spans.push(span)
      return span
    }
  })
  const registry: Metric.MetricRegistry = new Map()
  const context = yield* Layer.build(Layer.succeed(Metric.MetricRegistry, registry))
  const tracer = guardedTracer(inner, yield* Clock.Clock, context)
  const logger = Logger.layer([Logger.tracerLogger])
  const run = <A, E>(effect: Effect.Effect<A, E>) =>
    effect.pipe(Effect.exit, Effect.provideService(Tracer.Tracer, tracer), Effect.provide(logger))
  const dropped = () => Metric.snapshotUnsafe(context).map(({ id, state }) => [id, JSON.stringify(state)])
  return { spans, run, dropped }
})

describe("spans that leave the machine", () => {
  it.effect("tell the name of an error and nothing that it holds, and no log line", () =>
    Effect.gen(function* () {
      const { run, spans } = yield* collecting
      class Lost extends Error {
        readonly _tag = "Lost"
        readonly text = "secret"
      }
      yield* run(Effect.withSpan(Effect.fail(new Lost("secret", { cause: "secret" })), "fails"))
      yield* run(Effect.withSpan(Effect.die("secret"), "dies"))
      yield* run(Effect.withSpan(Effect.fail({ _tag: "a secret of 100 words" }), "odd"))
      yield* run(Effect.withSpan(Effect.interrupt, "ends"))
      yield* run(Effect.withSpan(Effect.as(Effect.logError("secret"), "secret"), "says"))
      assert.notInclude(JSON.stringify(spans, plain), "secret")
      assert.deepStrictEqual(
        spans.map(({ name, status }) => [name, /"error":"(\w+)"/.exec(JSON.stringify(status, plain))?.[1]]),
        [
          ["fails", "Lost"],
          ["dies", "Error"],
          ["odd", "Error"],
          ["ends", undefined],
          ["says", undefined]
        ]
      )
      assert.isTrue(spans.every(({ events }) => events.length === 0))
    })
  )

  it.effect("are so many a second; what is beyond is counted, and its children go with it", () =>
    Effect.gen(function* () {
      const { dropped, run, spans } = yield* collecting
      const one = Effect.withSpan(Effect.withSpan(Effect.void, "child"), "parent")
      for (let count = 0; count < SPANS_PER_SECOND_MAX; count++) yield* run(one)
      assert.strictEqual(spans.length, SPANS_PER_SECOND_MAX)
      assert.deepStrictEqual(dropped(), [
        ["alknet.telemetry.spans.dropped", JSON.stringify({ count: SPANS_PER_SECOND_MAX / 2, incremental: true })]
      ])
      yield* TestClock.adjust("1 second")
      yield* run(one)
      assert.strictEqual(spans.length, SPANS_PER_SECOND_MAX + 2)
    })
  )
})
