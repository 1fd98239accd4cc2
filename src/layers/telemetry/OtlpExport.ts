/**
 * Spans and metrics to a collector, by OTLP over HTTP (`/v1/traces` and `/v1/metrics` below a base URL, as JSON).
 *
 * The node never waits for it and never fails by it. A batch is sent once; where the collector is not there, is slow or does
 * not take it, the batch is dropped, one line is logged, and nothing is sent for a minute. What waits is bounded: spans by
 * their number a second (GuardedTracer) and by the batches under way.
 */
import { Clock, ConfigProvider, Duration, Effect, Layer, Redacted, Tracer } from "effect"
import * as FetchHttpClient from "effect/http/FetchHttpClient"
import * as OtlpExporter from "effect/observability/OtlpExporter"
import * as OtlpMetrics from "effect/observability/OtlpMetrics"
import * as OtlpSerialization from "effect/observability/OtlpSerialization"
import * as OtlpTracer from "effect/observability/OtlpTracer"
import { guardedTracer } from "./GuardedTracer.ts"

/** How long the collector may take for a batch. */
const ANSWER_WITHIN_MILLIS = 5000

/** Batches under way to one URL. A batch has at most 1,000 spans. */
const BATCHES_MAX = 4

/** What is left may take this long when the node ends, for spans and for metrics. */
const FLUSH_WITHIN = Duration.millis(250)

export interface OtlpOptions {
  /** `http://127.0.0.1:4318`: without `/v1/...`. */
  readonly url: string
  readonly serviceName: string
  readonly serviceVersion: string
  /** Tells this node from others of the service: its node id. */
  readonly instanceId?: string
  /** Of every request; a collector that asks for a token. */
  readonly headers?: Redacted.Redacted<Readonly<Record<string, string>>>
  /** Default 5 s for spans, 10 s for metrics. */
  readonly interval?: Duration.Input
}

/** Installs the tracer and exports the metrics, for what is built over it. */
export const layer = (options: OtlpOptions): Layer.Layer<never> => {
  const base = options.url.replace(/\/+$/, "")
  const shared = {
    resource: {
      serviceName: options.serviceName,
      serviceVersion: options.serviceVersion,
      ...(options.instanceId === undefined ? {} : { attributes: { "service.instance.id": options.instanceId } })
    },
    shutdownTimeout: FLUSH_WITHIN,
    ...(options.headers === undefined ? {} : { headers: Redacted.value(options.headers) }),
    ...(options.interval === undefined ? {} : { exportInterval: options.interval })
  }
  const tracer = Layer.effect(
    Tracer.Tracer,
    Effect.gen(function* () {
      const clock = yield* Clock.Clock
      const context = yield* Effect.context<never>()
      return guardedTracer(yield* OtlpTracer.make({ url: `${base}/v1/traces`, ...shared }), clock, context)
    })
  )
  return Layer.mergeAll(
    tracer,
    Layer.effectDiscard(OtlpMetrics.make({ url: `${base}/v1/metrics`, ...shared, temporality: "cumulative" }))
  ).pipe(
    Layer.provide([OtlpExporter.layerFlusher, OtlpSerialization.layerJson, FetchHttpClient.layer]),
    Layer.provide(Layer.effect(FetchHttpClient.Fetch, makeFetch)),
    // What is sent is what the options say: the exporter would read variables of the environment too, and die of wrong ones.
    Layer.provide(ConfigProvider.layer(ConfigProvider.fromUnknown({})))
  )
}

/**
 * A `fetch` for a collector that is not trusted to behave: it follows no redirect, reads no body, and gives up. What is not
 * taken is told as 400 whatever the cause was, because the exporter would repeat anything else and keep it meanwhile.
 */
const makeFetch = Effect.gen(function* () {
  const fork = Effect.runForkWith(yield* Effect.context<never>())
  const underWay = new Map<string, number>()
  const failing = new Set<string>()
  const tell = (url: string, reason: string | undefined): Response => {
    if (reason !== undefined && !failing.has(url)) {
      failing.add(url)
      fork(Effect.logWarning("telemetry was not taken; the next try is in a minute", { url, reason }))
    }
    if (reason === undefined && failing.delete(url)) fork(Effect.logInfo("telemetry is taken again", { url }))
    return new Response(null, { status: reason === undefined ? 200 : 400 })
  }
  const send: typeof globalThis.fetch = (input, init) => {
    const url = input instanceof Request ? input.url : String(input)
    const count = underWay.get(url) ?? 0
    if (count >= BATCHES_MAX) return Promise.resolve(tell(url, "too many batches are under way"))
    underWay.set(url, count + 1)
    const timeout = AbortSignal.timeout(ANSWER_WITHIN_MILLIS)
    const signal = init?.signal == null ? timeout : AbortSignal.any([init.signal, timeout])
    return globalThis
      .fetch(url, { ...init, redirect: "manual", signal })
      .then((response) => {
        response.body?.cancel().catch(() => undefined)
        return tell(url, response.ok ? undefined : `status ${response.status}`)
      })
      .catch((error: unknown) => tell(url, reasonOf(error)))
      .finally(() => underWay.set(url, (underWay.get(url) ?? 1) - 1))
  }
  return send
})

/** `ECONNREFUSED` and the like; the message would tell no more. */
const reasonOf = (error: unknown): string => {
  const cause = error instanceof Error && error.cause !== undefined ? error.cause : error
  if (typeof cause !== "object" || cause === null) return "unknown"
  if ("code" in cause && typeof cause.code === "string") return cause.code
  return cause instanceof Error ? cause.name : "unknown"
}
