/** A collector of OTLP on loopback that keeps what it gets, and can be told to misbehave. */
import { createServer, type IncomingHttpHeaders, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { Effect, type Scope } from "effect"

interface Attribute {
  readonly key: string
  readonly value: { readonly stringValue?: string; readonly intValue?: number | string }
}

export interface ExportedSpan {
  readonly traceId: string
  readonly spanId: string
  readonly parentSpanId?: string
  readonly name: string
  readonly kind: number
  readonly attributes: ReadonlyArray<Attribute>
  readonly events: ReadonlyArray<unknown>
  readonly status: { readonly code: number; readonly message?: string }
}

export interface ExportedMetric {
  readonly name: string
  readonly unit: string
}

export interface Collector {
  readonly url: string
  /** Everything that came, as text. */
  readonly bodies: ReadonlyArray<string>
  readonly paths: ReadonlyArray<string>
  readonly headers: ReadonlyArray<IncomingHttpHeaders>
  readonly spans: () => ReadonlyArray<ExportedSpan>
  readonly metrics: () => ReadonlyArray<ExportedMetric>
  /** Completes when this holds; asked whenever something has come. */
  readonly until: (holds: () => boolean) => Effect.Effect<void>
}

export const attributesOf = (span: ExportedSpan): Readonly<Record<string, string>> =>
  Object.fromEntries(span.attributes.map(({ key, value }) => [key, value.stringValue ?? String(value.intValue)]))

/** `answer` says what happens to a batch; by default it is taken. */
export const startCollector = (
  answer: (response: ServerResponse) => void = (response) => void response.end("{}")
): Effect.Effect<Collector, never, Scope.Scope> =>
  Effect.gen(function* () {
    const bodies: Array<string> = []
    const paths: Array<string> = []
    const headers: Array<IncomingHttpHeaders> = []
    const watchers = new Set<() => void>()
    const server = createServer((request, response) => {
      const parts: Array<Buffer> = []
      request.on("data", (part: Buffer) => parts.push(part))
      request.on("end", () => {
        bodies.push(Buffer.concat(parts).toString("utf8"))
        paths.push(request.url ?? "")
        headers.push(request.headers)
        answer(response)
        for (const watcher of watchers) watcher()
      })
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void server.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.callback<void>((resume) => {
          server.close(() => resume(Effect.void))
          server.closeAllConnections()
        })
    )
    const parsed = () => bodies.map((body) => JSON.parse(body))
    return {
      url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
      bodies,
      paths,
      headers,
      spans: () =>
        parsed().flatMap(({ resourceSpans = [] }) =>
          resourceSpans.flatMap((one: { scopeSpans: ReadonlyArray<{ spans: ReadonlyArray<ExportedSpan> }> }) =>
            one.scopeSpans.flatMap(({ spans }) => spans)
          )
        ),
      metrics: () =>
        parsed().flatMap(({ resourceMetrics = [] }) =>
          resourceMetrics.flatMap((one: { scopeMetrics: ReadonlyArray<{ metrics: ReadonlyArray<ExportedMetric> }> }) =>
            one.scopeMetrics.flatMap(({ metrics }) => metrics)
          )
        ),
      until: (holds) =>
        Effect.callback((resume) => {
          const look = () => {
            if (!holds()) return
            watchers.delete(look)
            resume(Effect.void)
          }
          watchers.add(look)
          look()
          return Effect.sync(() => watchers.delete(look))
        })
    }
  })
