/** The metric of live connections, `alknet.connections`, by ALPN, side and transport. Ids and addresses are no labels. */
import { Context, Metric } from "effect"
import type { Connection } from "../services/Transport.ts"

/** Combinations with a series of their own; a program may dial any name. More share `_OTHER`. */
const SERIES_MAX = 256

interface Count {
  value: number
}

type Counted = (connection: Pick<Connection, "alpn" | "side" | "transport">, by: 1 | -1) => void

const ofRegistry = new WeakMap<Metric.MetricRegistry, Counted>()

/** Counts in the registry of an environment. */
export const connectionMetrics = (context: Context.Context<never>): Counted => {
  const registry = Context.get(context, Metric.MetricRegistry)
  const known = ofRegistry.get(registry)
  if (known !== undefined) return known
  const own = Context.make(Metric.MetricRegistry, registry)
  const counts = new Map<string, Count>()
  const countOf: (alpn: string, side: string, transport: string) => Count = (alpn, side, transport) => {
    const key = `${side} ${transport} ${alpn}`
    const found = counts.get(key)
    if (found !== undefined) return found
    if (counts.size >= SERIES_MAX && alpn !== "_OTHER") return countOf("_OTHER", side, transport)
    const count = { value: 0 }
    counts.set(key, count)
    const attributes = { alpn, side, transport, unit: "{connection}" }
    Metric.registerUnsafe(Metric.gauge("alknet.connections", { description: "Live connections", attributes }), own, {
      get: () => ({ value: count.value }),
      update: () => undefined,
      modify: () => undefined
    })
    return count
  }
  const counted: Counted = ({ alpn, side, transport }, by) => {
    countOf(alpn, side, transport).value += by
  }
  ofRegistry.set(registry, counted)
  return counted
}
