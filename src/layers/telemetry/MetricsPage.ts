/**
 * The metrics of the process as Prometheus reads them: `GET /metrics` over plain HTTP, and nothing else.
 *
 * It has no login, so it belongs on a loopback address; the config asks for a word of its own to bind another one. On a
 * loopback address it answers only to a `Host` that is an address or `localhost`, so that a web page in a browser of this
 * machine cannot read it through a name of its own (DNS rebinding).
 */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http"
import { type AddressInfo, isIP } from "node:net"
import { type Context, Effect, Result, Schema, type Scope } from "effect"
import * as PrometheusMetrics from "effect/observability/PrometheusMetrics"
import {
  formatSocketAddress,
  isLoopback,
  parseSocketAddress,
  type SocketAddress
} from "../../protocol/SocketAddress.ts"

export const METRICS_PATH = "/metrics"

/** A scraper needs one. */
const CONNECTIONS_MAX = 16
const HEADER_BYTES_MAX = 8192
/** For the head of a request, and for what follows it. */
const REQUEST_WITHIN_MILLIS = 5000

export class MetricsPageError extends Schema.TaggedError<MetricsPageError>()("MetricsPageError", {
  address: Schema.String,
  /** A code of the operating system. */
  reason: Schema.String
}) {
  override get message() {
    return `metrics cannot be served on ${this.address} (${this.reason})`
  }
  get hint() {
    return "choose another address for telemetry.prometheus in alknet.toml"
  }
}

/** Serves until the scope closes; gives the address that is bound. */
export const serve = Effect.fn("MetricsPage.serve")(function* (
  address: SocketAddress
): Effect.fn.Return<SocketAddress, MetricsPageError, Scope.Scope> {
  const context = yield* Effect.context<never>()
  const isLocal = isLoopback(address.host)
  const server = createServer(
    {
      maxHeaderSize: HEADER_BYTES_MAX,
      headersTimeout: REQUEST_WITHIN_MILLIS,
      requestTimeout: REQUEST_WITHIN_MILLIS,
      keepAliveTimeout: REQUEST_WITHIN_MILLIS,
      connectionsCheckingInterval: 1000
    },
    (request, response) => answer(context, isLocal, request, response)
  )
  server.maxConnections = CONNECTIONS_MAX
  yield* Effect.acquireRelease(
    Effect.callback<void, MetricsPageError>((resume) => {
      server.once("error", (error: NodeJS.ErrnoException) =>
        resume(
          Effect.fail(
            new MetricsPageError({ address: formatSocketAddress(address), reason: error.code ?? "unknown error" })
          )
        )
      )
      server.listen(address.port, address.host, () => resume(Effect.void))
    }),
    () =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  )
  // Nobody else has to hear of what goes wrong later.
  server.on("error", () => undefined)
  return { host: address.host, port: (server.address() as AddressInfo).port }
})

const answer = (
  context: Context.Context<never>,
  isLocal: boolean,
  { headers, method, url }: IncomingMessage,
  response: ServerResponse
): void => {
  const plain = { "content-type": "text/plain; charset=utf-8", "x-content-type-options": "nosniff" }
  const refuse = (status: number, text: string, more = {}) =>
    response.writeHead(status, { ...plain, ...more }).end(`${text}\n`)
  if (isLocal && !isOwnHost(headers.host ?? "")) return void refuse(403, "not a name of this machine")
  if (url?.split("?")[0] !== METRICS_PATH) return void refuse(404, "only /metrics is here")
  if (method !== "GET") return void refuse(405, "only GET", { allow: "GET" })
  const text = PrometheusMetrics.formatUnsafe(context, { metricNameMapper: withUnit })
  response.writeHead(200, { ...plain, "content-type": "text/plain; version=0.0.4; charset=utf-8" }).end(text)
}

const isOwnHost = (text: string): boolean => {
  const parsed = parseSocketAddress(text)
  const host = Result.isSuccess(parsed) ? parsed.success.host : text.replace(/^\[(.*)\]$/, "$1").toLowerCase()
  return isIP(host) !== 0 || host === "localhost"
}

/** Prometheus wants the unit of a time and the `total` of a count in the name. */
const withUnit = (name: string): string => {
  if (name.endsWith(".duration")) return `${name}.seconds`
  return name.startsWith("alknet.") && COUNTERS.test(name) ? `${name}.total` : name
}

const COUNTERS = /\.(?:items|bytes|dropped)$/
