import { createServer } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect, Exit, Layer, Logger, Metric, Queue, Redacted, Scope } from "effect"
import * as OtlpExport from "../../../src/layers/telemetry/OtlpExport.ts"
import { startCollector } from "./Collector.ts"

const SECRET = "the-payload-of-somebody"

/** An exporter to this URL, its log lines as they come, and effects inside it. */
const exporting = (url: string, more: Partial<OtlpExport.OtlpOptions> = {}) =>
  Effect.gen(function* () {
    const logs = yield* Queue.unbounded<string>()
    const logger = Logger.layer([
      Logger.make(({ message }) => {
        Queue.offerUnsafe(logs, JSON.stringify(message))
      })
    ])
    const layer = OtlpExport.layer({
      url,
      serviceName: "alknet",
      serviceVersion: "1.2.3",
      interval: "20 millis",
      ...more
    }).pipe(Layer.provideMerge(Layer.merge(logger, Layer.succeed(Metric.MetricRegistry, new Map()))))
    const scope = yield* Scope.fork(yield* Effect.scope)
    const context = yield* Layer.build(layer).pipe(Scope.provide(scope))
    return {
      logs,
      run: <A, E>(effect: Effect.Effect<A, E>) => Effect.provideContext(effect, context),
      close: Scope.close(scope, Exit.void)
    }
  })

const failing = Effect.exit(Effect.withSpan(Effect.fail(new Error(SECRET)), "work"))

describe("the OTLP exporter", () => {
  it.live("sends spans and metrics with the name of the service, and of a failure no text", () =>
    Effect.gen(function* () {
      const collector = yield* startCollector()
      const { run } = yield* exporting(`${collector.url}/base/`, {
        instanceId: "me",
        headers: Redacted.make({ authorization: "Bearer t" })
      })
      yield* run(Metric.update(Metric.counter("things"), 3))
      yield* run(Effect.andThen(Effect.exit(Effect.withSpan(Effect.logError(SECRET), "quiet")), failing))
      yield* collector.until(() => collector.spans().length >= 2 && collector.metrics().length > 0)
      assert.includeMembers([...collector.paths], ["/base/v1/traces", "/base/v1/metrics"])
      assert.isTrue(collector.headers.every(({ authorization }) => authorization === "Bearer t"))
      const [quiet, work] = collector.spans()
      assert.deepStrictEqual([quiet?.name, work?.name], ["quiet", "work"])
      assert.deepStrictEqual(work?.status, { code: 2, message: "Error" })
      assert.deepStrictEqual(quiet?.events, [])
      const all = collector.bodies.join("")
      assert.notInclude(all, SECRET)
      for (const text of ['"alknet"', '"1.2.3"', '"me"', '"things"']) assert.include(all, text)
    })
  )

  it.live("a collector that is not there is told once, and what is recorded goes on", () =>
    Effect.gen(function* () {
      const { url } = yield* Effect.scoped(startCollector())
      const { logs, run } = yield* exporting(url)
      yield* run(failing)
      const said = [yield* Queue.take(logs), yield* Queue.take(logs)].join("")
      assert.include(said, "ECONNREFUSED")
      for (let span = 0; span < 5000; span++) yield* run(failing)
      assert.strictEqual(yield* Queue.size(logs), 0)
    })
  )

  it.live("a collector that never answers holds up neither the work nor the end", () =>
    Effect.gen(function* () {
      const collector = yield* startCollector(() => undefined)
      const { close, run } = yield* exporting(collector.url)
      yield* run(failing)
      yield* collector.until(() => collector.paths.includes("/v1/traces"))
      yield* run(failing)
      const started = yield* Clock.currentTimeMillis
      yield* close
      assert.isBelow((yield* Clock.currentTimeMillis) - started, 4000)
    })
  )

  it.live("errors, redirects, endless and broken answers are not taken, not followed and not read", () =>
    Effect.gen(function* () {
      const elsewhere = yield* startCollector()
      const answers: ReadonlyArray<Parameters<typeof startCollector>[0]> = [
        (response) => void response.writeHead(503, { "retry-after": "86400" }).end(),
        (response) => void response.writeHead(307, { location: `${elsewhere.url}/v1/traces` }).end(),
        (response) => {
          response.writeHead(500)
          const more = () => {
            if (!response.destroyed) response.write("x".repeat(65_536), more)
          }
          more()
        }
      ]
      for (const answer of answers) {
        const collector = yield* startCollector(answer)
        const { close, logs, run } = yield* exporting(collector.url)
        yield* run(failing)
        assert.match(yield* Queue.take(logs), /not taken.*status (?:503|307|500)/)
        yield* close
      }
      const garbage = createServer((socket) => void socket.resume().end("no HTTP at all\r\n\r\n"))
      yield* Effect.acquireRelease(
        Effect.callback<void>((resume) => void garbage.listen(0, "127.0.0.1", () => resume(Effect.void))),
        () => Effect.callback<void>((resume) => void garbage.close(() => resume(Effect.void)))
      )
      const address = garbage.address()
      const port = typeof address === "object" ? address?.port : undefined
      const { logs, run } = yield* exporting(`http://127.0.0.1:${port}`)
      yield* run(failing)
      assert.match(yield* Queue.take(logs), /not taken.*HTTPParserError/)
      assert.deepStrictEqual(elsewhere.paths, [])
    })
  )

  it.live("wrong variables of the environment are not read", () =>
    Effect.gen(function* () {
      const collector = yield* startCollector()
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          process.env["OTEL_RESOURCE_ATTRIBUTES"] = "%%%=%%%,a"
        }),
        () => Effect.sync(() => void delete process.env["OTEL_RESOURCE_ATTRIBUTES"])
      )
      const { run } = yield* exporting(collector.url)
      yield* run(failing)
      yield* collector.until(() => collector.spans().length > 0)
      assert.notInclude(collector.bodies.join(""), "%%%")
    })
  )
})
