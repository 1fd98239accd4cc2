import { request } from "node:http"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Logger, Metric, Scope } from "effect"
import * as Telemetry from "../../../src/layers/Telemetry.ts"
import * as MetricsPage from "../../../src/layers/telemetry/MetricsPage.ts"

const LOOPBACK = { host: "127.0.0.1", port: 0 }

interface Answer {
  readonly status: number
  readonly type: string | undefined
  readonly text: string
}

const ask = (port: number, path: string, options: { readonly method?: string; readonly host?: string } = {}) =>
  Effect.callback<Answer, string>((resume) => {
    const { host, method = "GET" } = options
    const headers = host === undefined ? {} : { host }
    const sent = request({ host: "127.0.0.1", port, path, method, headers, agent: false }, (response) => {
      let text = ""
      response.on("data", (part: Buffer) => {
        text += part.toString("utf8")
      })
      response.on("end", () =>
        resume(Effect.succeed({ status: response.statusCode ?? 0, type: response.headers["content-type"], text }))
      )
    })
    sent.on("error", (error: NodeJS.ErrnoException) => resume(Effect.fail(error.code ?? error.message)))
    sent.end()
  })

const counted = Effect.gen(function* () {
  yield* Metric.update(
    Metric.counter("alknet.call.bytes", { description: "Bodies", attributes: { side: "server", unit: "bytes" } }),
    7
  )
  yield* Metric.update(
    Metric.histogram("rpc.server.call.duration", {
      boundaries: [0.1],
      attributes: { "rpc.method": 'a"b\nc', unit: "s" }
    }),
    0.05
  )
})

const emptyRegistry = Layer.sync(Metric.MetricRegistry, () => new Map())

describe("the page of metrics", () => {
  it.live("is what Prometheus reads, with units in the names and labels escaped", () =>
    Effect.gen(function* () {
      yield* counted
      const { port } = yield* MetricsPage.serve(LOOPBACK)
      const { status, text, type } = yield* ask(port, "/metrics")
      assert.deepStrictEqual([status, type], [200, "text/plain; version=0.0.4; charset=utf-8"])
      assert.deepStrictEqual(text.trim().split("\n"), [
        "# HELP alknet_call_bytes_total Bodies",
        "# TYPE alknet_call_bytes_total counter",
        'alknet_call_bytes_total{side="server"} 7',
        "# TYPE rpc_server_call_duration_seconds histogram",
        'rpc_server_call_duration_seconds_bucket{rpc_method="a\\"b\\nc",le="0.1"} 1',
        'rpc_server_call_duration_seconds_bucket{rpc_method="a\\"b\\nc",le="+Inf"} 1',
        'rpc_server_call_duration_seconds_sum{rpc_method="a\\"b\\nc"} 0.05',
        'rpc_server_call_duration_seconds_count{rpc_method="a\\"b\\nc"} 1'
      ])
    }).pipe(Effect.provide(emptyRegistry))
  )

  it.live("is one page that is read, under the machine's own names only", () =>
    Effect.gen(function* () {
      const { port } = yield* MetricsPage.serve(LOOPBACK)
      const status = (...args: [path: string, options?: Parameters<typeof ask>[2]]) =>
        Effect.map(ask(port, ...args), (answer) => answer.status)
      assert.strictEqual(yield* status("/metrics?x=1"), 200)
      assert.strictEqual(yield* status("/metrics", { host: `localhost:${port}` }), 200)
      assert.strictEqual(yield* status("/metrics", { host: "[::1]" }), 200)
      assert.strictEqual(yield* status("/metrics", { host: `rebound.example:${port}` }), 403)
      assert.strictEqual(yield* status("/"), 404)
      assert.strictEqual(yield* status("/metrics/../config"), 404)
      assert.strictEqual(yield* status("/metrics", { method: "POST" }), 405)
    })
  )

  it.live("goes with its scope, also while somebody is connected", () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      const { port } = yield* MetricsPage.serve(LOOPBACK).pipe(Scope.provide(scope))
      assert.strictEqual((yield* ask(port, "/metrics")).status, 200)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual(yield* Effect.flip(ask(port, "/metrics")), "ECONNREFUSED")
    })
  )

  it.live("an address that cannot be had is told, and the node goes on without the page", () =>
    Effect.gen(function* () {
      const taken = yield* MetricsPage.serve(LOOPBACK)
      const error = yield* Effect.flip(MetricsPage.serve(taken))
      assert.strictEqual(error.message, `metrics cannot be served on 127.0.0.1:${taken.port} (EADDRINUSE)`)
      const logs: Array<string> = []
      const logger = Logger.layer([
        Logger.make(({ logLevel, message }) => {
          logs.push(`${logLevel} ${JSON.stringify(message)}`)
        })
      ])
      yield* Layer.build(Telemetry.layer({ prometheus: taken }).pipe(Layer.provide(logger)))
      assert.strictEqual(logs.length, 1)
      assert.match(logs[0] ?? "", /^Warn .*EADDRINUSE/)
    })
  )
})
