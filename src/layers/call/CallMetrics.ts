/**
 * The metrics of calls (docs/telemetry.md has the table): durations by operation and outcome, calls in flight, items, bytes.
 *
 * They are counted whether or not somebody reads them, with plain synchronous code, once for each metric registry: the
 * dispatchers of a process share them. Labels are bounded: whatever a peer
 * sends, no series is made for a name that this node does not know or a code that nobody declared. No label holds an id, a
 * peer, a token or a payload.
 */
import { Context, Metric } from "effect"
import { isProtocolCode } from "../../protocol/call/CallError.ts"

/** `server`: requests that this node serves. `client`: requests that it makes. */
export type CallSide = "server" | "client"

/** Stands for a name or a code that gets no series of its own. */
export const OTHER = "_OTHER"

/** How a call ended: `ok`, `aborted`, or the code of its error. The two words cannot be codes, which are upper case. */
export const Outcome = { Ok: "ok", Aborted: "aborted" } as const

/** Operations with series of their own, on each side; more share `_OTHER`. */
export const NAMES_MAX = 2048

/** Seconds. Calls inside a machine take tenths of a millisecond; deadlines are 30 s. */
const DURATIONS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

const SYSTEM = { "rpc.system.name": "alknet" } as const

const DESCRIPTIONS = {
  server: "How long requests were served, from their frame to their answer, by operation and outcome",
  client: "How long own requests took, from their start to their end, by operation and outcome",
  active: "Calls that have not ended",
  items: "Items of subscriptions",
  bytes: "Frames of calls"
} as const

/** The codes that an operation declares, or undefined where nobody here knows its name. */
export type Declared = (name: string) => ReadonlyArray<string> | undefined

/** The series of one operation on one side. */
export class OperationSeries {
  /** `_OTHER` where it has no series of its own. */
  readonly name: string
  readonly #side: CallSide
  readonly #context: Context.Context<never>
  readonly #durations = new Map<string, Durations>()
  #items: Count | undefined = undefined

  constructor(name: string, side: CallSide, context: Context.Context<never>) {
    this.name = name
    this.#side = side
    this.#context = context
  }

  /** The outcome as a label. */
  labelOf(outcome: string, declared: Declared): string {
    if (this.#durations.has(outcome) || isOutcome(outcome)) return outcome
    return declared(this.name)?.includes(outcome) === true ? outcome : OTHER
  }

  /** `outcome` is a label. */
  ended(outcome: string, seconds: number): void {
    let durations = this.#durations.get(outcome)
    if (durations === undefined) {
      durations = histogram(
        `rpc.${this.#side}.call.duration`,
        DESCRIPTIONS[this.#side],
        {
          ...SYSTEM,
          "rpc.method": this.name,
          "rpc.response.status_code": outcome,
          ...(outcome === Outcome.Ok ? {} : { "error.type": outcome }),
          unit: "s"
        },
        this.#context
      )
      this.#durations.set(outcome, durations)
    }
    durations.add(seconds)
  }

  items(count: number): void {
    if (this.#items === undefined) {
      const attributes = { ...SYSTEM, side: this.#side, "rpc.method": this.name, unit: "{item}" }
      this.#items = counter("alknet.call.items", DESCRIPTIONS.items, attributes, this.#context)
    }
    this.#items.value += count
  }
}

const isOutcome = (text: string): boolean => text === Outcome.Ok || text === Outcome.Aborted || isProtocolCode(text)

/** A number that the registry reads when somebody asks: changing it costs nothing. */
export interface Count {
  value: number
}

const nothing = (): void => undefined

const counter = (
  id: string,
  description: string,
  attributes: Readonly<Record<string, string>>,
  context: Context.Context<never>
): Count => {
  const count = { value: 0 }
  Metric.registerUnsafe(Metric.counter(id, { description, attributes, incremental: true }), context, {
    get: () => ({ count: count.value, incremental: true }),
    update: nothing,
    modify: nothing
  })
  return count
}

/** A histogram that the registry reads when somebody asks. */
class Durations {
  readonly #counts = new Float64Array(DURATIONS.length + 1)
  #sum = 0
  #min = Number.POSITIVE_INFINITY
  #max = Number.NEGATIVE_INFINITY

  add(seconds: number): void {
    let bucket = 0
    while (bucket < DURATIONS.length && seconds > DURATIONS[bucket]!) bucket++
    this.#counts[bucket]!++
    this.#sum += seconds
    if (seconds < this.#min) this.#min = seconds
    if (seconds > this.#max) this.#max = seconds
  }

  get state(): Metric.HistogramState {
    let count = 0
    const buckets = DURATIONS.map((boundary, index): [number, number] => {
      count += this.#counts[index]!
      return [boundary, count]
    })
    return { buckets, count: count + this.#counts[DURATIONS.length]!, min: this.#min, max: this.#max, sum: this.#sum }
  }
}

const histogram = (
  id: string,
  description: string,
  attributes: Readonly<Record<string, string>>,
  context: Context.Context<never>
): Durations => {
  const durations = new Durations()
  Metric.registerUnsafe(Metric.histogram(id, { description, attributes, boundaries: DURATIONS }), context, {
    get: () => durations.state,
    update: nothing,
    modify: nothing
  })
  return durations
}

/** The metrics of one side. */
export class SideMetrics {
  readonly #side: CallSide
  readonly #context: Context.Context<never>
  readonly #operations = new Map<string, OperationSeries>()
  readonly #other: OperationSeries
  readonly active: Count = { value: 0 }

  constructor(side: CallSide, context: Context.Context<never>) {
    this.#side = side
    this.#context = context
    this.#other = new OperationSeries(OTHER, side, context)
    const attributes = { ...SYSTEM, side }
    Metric.registerUnsafe(
      Metric.gauge("alknet.call.active", {
        description: DESCRIPTIONS.active,
        attributes: { ...attributes, unit: "{call}" }
      }),
      context,
      { get: () => ({ value: this.active.value }), update: nothing, modify: nothing }
    )
  }

  /** The series of a name; `_OTHER` where nobody here knows it, and where there are too many. */
  operation(name: string, declared: Declared): OperationSeries {
    const known = this.#operations.get(name)
    if (known !== undefined) return known
    if (this.#operations.size >= NAMES_MAX || declared(name) === undefined) return this.#other
    const series = new OperationSeries(name, this.#side, this.#context)
    this.#operations.set(name, series)
    return series
  }
}

export interface CallMetrics {
  readonly server: SideMetrics
  readonly client: SideMetrics
  /** Bytes of frames, whole ones. */
  readonly received: Count
  readonly transmitted: Count
}

const ofRegistry = new WeakMap<Metric.MetricRegistry, CallMetrics>()

/** The metrics in the registry of an environment. */
export const callMetrics = (context: Context.Context<never>): CallMetrics => {
  const registry = Context.get(context, Metric.MetricRegistry)
  let metrics = ofRegistry.get(registry)
  if (metrics === undefined) {
    // No more of the environment than that: it may hold much.
    const own = Context.make(Metric.MetricRegistry, registry)
    const bytes = (direction: "receive" | "transmit") => {
      const attributes = { ...SYSTEM, "network.io.direction": direction, unit: "bytes" }
      return counter("alknet.call.bytes", DESCRIPTIONS.bytes, attributes, own)
    }
    metrics = {
      server: new SideMetrics("server", own),
      client: new SideMetrics("client", own),
      received: bytes("receive"),
      transmitted: bytes("transmit")
    }
    ofRegistry.set(registry, metrics)
  }
  return metrics
}
