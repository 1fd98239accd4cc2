/**
 * What `Inbound`, `Outbound` and the gateways tell about calls: one record for each call, from its start to its end, and
 * the items between. It becomes metrics (CallMetrics) always, and a span (CallSpans) where a tracer is installed, which is
 * looked up once for each dispatcher.
 *
 * It only listens: nothing here can fail a call, and no peer learns of it.
 */
import { type Clock, type Context, Effect, Stream, Tracer } from "effect"
import { HEADER_BYTES } from "../../protocol/call/Frame.ts"
import { type ErasedOperation, isOperationName } from "../../protocol/call/Operation.ts"
import type { OperationRegistry } from "../../services/OperationRegistry.ts"
import type { ConnectionInfo } from "../../services/RemoteFilter.ts"
import {
  type Count,
  callMetrics,
  type Declared,
  NAMES_MAX,
  type OperationSeries,
  type SideMetrics
} from "./CallMetrics.ts"
import { currentSpan, endSpan, installedTracer, outcomeOf, startSpan, within } from "./CallSpans.ts"

/** Untyped names that own requests may bring along; more share `_OTHER`. An import makes the other node choose them. */
const UNTYPED_NAMES_MAX = 1024

export class CallTelemetry {
  readonly clock: Clock.Clock
  readonly tracer: Tracer.Tracer | undefined
  readonly server: SideMetrics
  readonly client: SideMetrics
  /** Bytes of frames. */
  readonly received: Count
  readonly transmitted: Count
  readonly #registry: OperationRegistry["Service"]
  /** Codes of the operations that own requests named, by name. */
  readonly #named = new Map<string, ReadonlyArray<string>>()
  #untypedCount = 0

  constructor(context: Context.Context<never>, clock: Clock.Clock, registry: OperationRegistry["Service"]) {
    this.clock = clock
    this.tracer = installedTracer(context)
    const { client, received, server, transmitted } = callMetrics(context)
    this.server = server
    this.client = client
    this.received = received
    this.transmitted = transmitted
    this.#registry = registry
  }

  /** `peerId` is the id of the connection identity. */
  connection(info: ConnectionInfo, peerId: string | undefined): ConnectionTelemetry {
    return new ConnectionTelemetry(this, info, peerId)
  }

  /** What this node offers. */
  readonly declaredHere: Declared = (name) => {
    const registration = this.#registry.get(name)
    return registration === undefined ? undefined : codesOf(registration.operation)
  }

  /** What own requests named. */
  readonly declaredThere: Declared = (name) => this.#named.get(name)

  /** An own request names an operation, with its declaration or without. */
  name(name: string, operation: ErasedOperation | undefined): void {
    const known = this.#named.get(name)
    if (known !== undefined && (operation === undefined || known !== NO_CODES)) return
    if (this.#named.size >= NAMES_MAX) return
    if (operation !== undefined) {
      this.#named.set(name, codesOf(operation))
    } else if (this.#untypedCount < UNTYPED_NAMES_MAX && isOperationName(name)) {
      this.#untypedCount++
      this.#named.set(name, NO_CODES)
    }
  }

  /** Milliseconds of the monotonic clock. */
  now(): number {
    return Number(this.clock.monotonicTimeNanosUnsafe()) / 1e6
  }
}

const NO_CODES: ReadonlyArray<string> = []

const codesOf = ({ errors }: ErasedOperation): ReadonlyArray<string> =>
  errors.length === 0 ? NO_CODES : errors.map((error) => error.code)

/** The calls of one connection, in both directions. */
export class ConnectionTelemetry {
  readonly #telemetry: CallTelemetry
  readonly #attributes: Readonly<Record<string, string>>

  constructor(telemetry: CallTelemetry, { carrier, id }: ConnectionInfo, peerId: string | undefined) {
    this.#telemetry = telemetry
    this.#attributes = {
      "alknet.connection.id": id,
      "alknet.carrier": carrier,
      ...(peerId === undefined ? {} : { "alknet.peer.id": peerId })
    }
  }

  /** A frame came whose body has so many bytes. */
  received(bytes: number): void {
    this.#telemetry.received.value += HEADER_BYTES + bytes
  }

  /** So many bytes of frames go out. */
  transmitted(bytes: number): void {
    this.#telemetry.transmitted.value += bytes
  }

  /** A request of the other side, or of a gateway. `startedAt` in milliseconds of the monotonic clock. */
  served(requestId: string, name: string, startedAt: number, parent?: Tracer.AnySpan): CallRecord {
    const { clock, declaredHere, server, tracer } = this.#telemetry
    const series = server.operation(name, declaredHere)
    const span =
      tracer === undefined
        ? undefined
        : startSpan(tracer, clock, {
            name: "call.server",
            kind: "server",
            parent,
            method: series.name,
            requestId,
            attributes: this.#attributes
          })
    return new CallRecord(this.#telemetry, server, declaredHere, series, startedAt, span)
  }

  /** An own request, in the fiber that makes it. */
  made(requestId: string, name: string, operation: ErasedOperation | undefined, startedAt: number): CallRecord {
    const { client, declaredThere } = this.#telemetry
    this.#telemetry.name(name, operation)
    const series = client.operation(name, declaredThere)
    const span = this.#clientSpan(requestId, series.name)
    return new CallRecord(this.#telemetry, client, declaredThere, series, startedAt, span)
  }

  #clientSpan(requestId: string, method: string): Tracer.Span | undefined {
    const { clock, tracer } = this.#telemetry
    if (tracer === undefined) return undefined
    const parent = currentSpan()
    if (parent === false) return undefined
    return startSpan(tracer, clock, {
      name: "call.client",
      kind: "client",
      parent,
      method,
      requestId,
      attributes: this.#attributes
    })
  }
}

/** One call. */
export class CallRecord {
  readonly #telemetry: CallTelemetry
  readonly #side: SideMetrics
  readonly #declared: Declared
  readonly #series: OperationSeries
  readonly #startedAt: number
  readonly #span: Tracer.Span | undefined
  #isOver = false

  constructor(
    telemetry: CallTelemetry,
    side: SideMetrics,
    declared: Declared,
    series: OperationSeries,
    startedAt: number,
    span: Tracer.Span | undefined
  ) {
    this.#telemetry = telemetry
    this.#side = side
    this.#declared = declared
    this.#series = series
    this.#startedAt = startedAt
    this.#span = span
    side.active.value++
  }

  /** What runs for the call runs in its span. */
  within<A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E> {
    return within(effect, this.#span)
  }

  /** The same for what is served as a stream: it ends the call when it ends. */
  withinStream<A, E>(stream: Stream.Stream<A, E>): Stream.Stream<A, E> {
    const counted = Stream.onExit(stream, (exit) => Effect.sync(() => this.end(outcomeOf(exit))))
    return this.#span === undefined ? counted : Stream.provideService(counted, Tracer.ParentSpan, this.#span)
  }

  /** Items of a subscription. */
  items(count: number): void {
    this.#series.items(count)
  }

  /** Once, with `Outcome.Ok`, `Outcome.Aborted` or the code of the error; what comes later is ignored. */
  end(outcome: string): void {
    if (this.#isOver) return
    this.#isOver = true
    this.#side.active.value--
    const label = this.#series.labelOf(outcome, this.#declared)
    this.#series.ended(label, Math.max(0, this.#telemetry.now() - this.#startedAt) / 1000)
    if (this.#span !== undefined) endSpan(this.#span, this.#telemetry.clock, label)
  }
}
