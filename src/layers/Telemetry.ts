/**
 * What a node tells about itself to monitoring: metrics and spans to an OTLP collector, metrics on a page for Prometheus.
 * Nothing of it is on unless it is asked for (`[telemetry]` in alknet.toml; docs/telemetry.md).
 *
 * ```ts
 * Node.layer(...).pipe(Layer.provide(Telemetry.layer({ otlp: { url: "http://127.0.0.1:4318", ... } })))
 * ```
 *
 * What is built over the layer records into it. An exporter that fails is logged; the node goes on.
 */
import { Effect, Layer } from "effect"
import { formatSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"
import * as MetricsPage from "./telemetry/MetricsPage.ts"
import * as OtlpExport from "./telemetry/OtlpExport.ts"

export type { OtlpOptions } from "./telemetry/OtlpExport.ts"

export interface TelemetryOptions {
  readonly otlp?: OtlpExport.OtlpOptions
  /** Where the page is served. It has no login: mind who reaches the address. */
  readonly prometheus?: SocketAddress
}

export const layer = ({ otlp, prometheus }: TelemetryOptions): Layer.Layer<never> =>
  Layer.mergeAll(
    otlp === undefined ? Layer.empty : OtlpExport.layer(otlp),
    prometheus === undefined ? Layer.empty : layerPage(prometheus)
  )

const layerPage = (address: SocketAddress): Layer.Layer<never> =>
  Layer.effectDiscard(
    MetricsPage.serve(address).pipe(
      Effect.flatMap((bound) =>
        Effect.logInfo(`metrics are served on http://${formatSocketAddress(bound)}${MetricsPage.METRICS_PATH}`)
      ),
      Effect.catch(({ hint, message }) => Effect.logWarning(message, { hint }))
    )
  )
