/**
 * A tracer in front of the one that exports: it lets through so many spans a second and no text of failures.
 *
 * Spans leave the machine, and every library that runs here may make some. How a span failed is told by the name of the
 * error; messages, stacks and causes may quote a payload or a path, and log lines that Effect would add as events may too.
 * Attributes are what whoever made the span chose to say.
 */
import { type Clock, type Context, Data, Exit, Metric, type Option, Tracer } from "effect"
import { withoutStack } from "../../protocol/withoutStack.ts"
import { CallFailed } from "../call/CallSpans.ts"

/** What is beyond is not exported, and counted in `alknet.telemetry.spans.dropped`. */
export const SPANS_PER_SECOND_MAX = 2000

/** How a span failed. */
class SpanFailed extends Data.TaggedError("SpanFailed")<{ readonly error: string }> {
  override get message() {
    return this.error
  }
}

export const guardedTracer = (
  inner: Tracer.Tracer,
  clock: Clock.Clock,
  context: Context.Context<never>
): Tracer.Tracer => {
  const dropped = Metric.counter("alknet.telemetry.spans.dropped", {
    description: "Spans that were not exported because there were too many in a second",
    incremental: true,
    attributes: { unit: "{span}" }
  })
  let second = -1
  let left = 0
  const isOneTooMany = (): boolean => {
    const now = Math.floor(clock.currentTimeMillisUnsafe() / 1000)
    if (now !== second) {
      second = now
      left = SPANS_PER_SECOND_MAX
    }
    left--
    return left < 0
  }
  return Tracer.make({
    span: (options) => {
      if (!options.sampled) return new Tracer.NativeSpan(options)
      if (isOneTooMany()) {
        dropped.updateUnsafe(1, context)
        return new Tracer.NativeSpan({ ...options, sampled: false })
      }
      return new GuardedSpan(inner.span(options))
    }
  })
}

class GuardedSpan implements Tracer.Span {
  readonly _tag = "Span"
  readonly #span: Tracer.Span

  constructor(span: Tracer.Span) {
    this.#span = span
  }

  get name(): string {
    return this.#span.name
  }
  get spanId(): string {
    return this.#span.spanId
  }
  get traceId(): string {
    return this.#span.traceId
  }
  get parent(): Option.Option<Tracer.AnySpan> {
    return this.#span.parent
  }
  get annotations(): Context.Context<never> {
    return this.#span.annotations
  }
  get status(): Tracer.SpanStatus {
    return this.#span.status
  }
  get attributes(): ReadonlyMap<string, unknown> {
    return this.#span.attributes
  }
  get links(): ReadonlyArray<Tracer.SpanLink> {
    return this.#span.links
  }
  get sampled(): boolean {
    return this.#span.sampled
  }
  get kind(): Tracer.SpanKind {
    return this.#span.kind
  }

  end(endTime: bigint, exit: Exit.Exit<unknown, unknown>): void {
    this.#span.end(endTime, withoutText(exit))
  }
  attribute(key: string, value: unknown): void {
    this.#span.attribute(key, value)
  }
  event(): void {}
  addLinks(links: ReadonlyArray<Tracer.SpanLink>): void {
    this.#span.addLinks(links)
  }
}

const withoutText = (exit: Exit.Exit<unknown, unknown>): Exit.Exit<void, CallFailed | SpanFailed> => {
  if (Exit.isSuccess(exit)) return Exit.void
  const reason = exit.cause.reasons.find(({ _tag }) => _tag !== "Interrupt")
  if (reason === undefined || reason._tag === "Interrupt") return Exit.interrupt()
  const error = reason._tag === "Fail" ? reason.error : reason.defect
  return Exit.fail(error instanceof CallFailed ? error : withoutStack(() => new SpanFailed({ error: nameOf(error) })))
}

const NAME = /^[A-Za-z][A-Za-z0-9_.-]{0,63}$/

/** The tag of an error or its name, where that looks like one. */
const nameOf = (error: unknown): string => {
  if (typeof error !== "object" || error === null) return "Error"
  const name = "_tag" in error ? error._tag : "name" in error ? error.name : undefined
  return typeof name === "string" && NAME.test(name) ? name : "Error"
}
