/**
 * Spans of calls: `call.server` for a request that is served, `call.client` for one that is made, `call.composed` for one
 * that a handler makes inside this node.
 *
 * Nothing of tracing goes on the wire (CALL-R14, CALL-R19): the two sides of a call are linked by the request id, which both
 * spans carry. A failure is named by its code; messages, causes, tokens and payloads stay out (CALL-R32).
 */
import { Clock, Context, Data, Effect, Exit, Fiber, Option, References, Stream, Tracer } from "effect"
import { CallError, ProtocolCode } from "../../protocol/call/CallError.ts"
import { isErrorCode } from "../../protocol/call/Operation.ts"
import { withoutStack } from "../../protocol/withoutStack.ts"
import { OTHER, Outcome } from "./CallMetrics.ts"

/** Characters of a request id that are kept: an own one has 36, a peer's may be of any length. */
export const REQUEST_ID_MAX = 128

/** What a failed span ends with: a code and nothing else. */
export class CallFailed extends Data.TaggedError("CallFailed")<{ readonly code: string }> {
  override get message() {
    return this.code
  }
}

export interface SpanStart {
  readonly name: "call.server" | "call.client" | "call.composed"
  readonly kind: Tracer.SpanKind
  readonly parent: Tracer.AnySpan | undefined
  /** A label: bounded. */
  readonly method: string
  readonly requestId: string
  readonly attributes: Readonly<Record<string, string>>
}

/** The tracer of an environment, unless it is the one that nobody reads. */
export const installedTracer = (context: Context.Context<never>): Tracer.Tracer | undefined => {
  const tracer = Context.get(context, Tracer.Tracer)
  return tracer === Tracer.nativeTracer || !Context.get(context, References.TracerEnabled) ? undefined : tracer
}

/** The span that the running fiber is in; false where it wants none. */
export const currentSpan = (): Tracer.AnySpan | undefined | false => {
  const fiber = Fiber.getCurrent()
  if (fiber === undefined) return undefined
  if (!fiber.getRef(References.TracerEnabled)) return false
  return Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
}

export const startSpan = (tracer: Tracer.Tracer, clock: Clock.Clock, start: SpanStart): Tracer.Span => {
  const { attributes, kind, method, name, parent, requestId } = start
  const span = tracer.span({
    name,
    kind,
    parent: Option.fromUndefinedOr(parent),
    annotations: Context.empty(),
    links: [],
    startTime: clock.currentTimeNanosUnsafe(),
    root: false,
    sampled: parent?.sampled ?? true
  })
  span.attribute("rpc.system.name", "alknet")
  span.attribute("rpc.method", method)
  span.attribute("alknet.request.id", requestId.slice(0, REQUEST_ID_MAX))
  for (const [key, value] of Object.entries(attributes)) span.attribute(key, value)
  return span
}

/** `outcome` is a label: bounded. */
export const endSpan = (span: Tracer.Span, clock: Clock.Clock, outcome: string): void => {
  span.attribute("rpc.response.status_code", outcome)
  const exit =
    outcome === Outcome.Ok
      ? Exit.void
      : outcome === Outcome.Aborted
        ? Exit.interrupt()
        : Exit.fail(withoutStack(() => new CallFailed({ code: outcome })))
  if (Exit.isFailure(exit)) span.attribute("error.type", outcome)
  span.end(clock.currentTimeNanosUnsafe(), exit)
}

/** Runs an effect inside a span; what is finished already is not changed. */
export const within = <A, E>(effect: Effect.Effect<A, E>, span: Tracer.Span | undefined): Effect.Effect<A, E> =>
  span === undefined || Exit.isExit(effect) ? effect : Effect.provideService(effect, Tracer.ParentSpan, span)

/** The span of one context, for a handler that runs in another. */
export const withSpanOf = <R>(from: Context.Context<never>, to: Context.Context<R>): Context.Context<R> => {
  const span = Context.getOrUndefined(from, Tracer.ParentSpan)
  return span === undefined ? to : Context.add(to, Tracer.ParentSpan, span)
}

export interface ComposedCall {
  readonly name: string
  readonly requestId: string
  readonly parentRequestId: string
}

/** Runs a call that a handler makes inside this node. */
export interface Composing {
  readonly run: <A, E>(make: () => Effect.Effect<A, E>) => Effect.Effect<A, E>
  readonly stream: <A, E>(make: () => Stream.Stream<A, E>) => Stream.Stream<A, E>
}

const untraced: Composing = { run: (make) => make(), stream: (make) => make() }

/** In a span that is a child of the one that the running fiber is in, wherever the call itself runs. */
export const composing = (call: ComposedCall): Composing => {
  const fiber = Fiber.getCurrent()
  const tracer = fiber === undefined ? undefined : installedTracer(fiber.context)
  if (fiber === undefined || tracer === undefined) return untraced
  const clock = fiber.getRef(Clock.Clock)
  const parent = Context.getOrUndefined(fiber.context, Tracer.ParentSpan)
  const { name: method, parentRequestId, requestId } = call
  const attributes = { "alknet.request.parent_id": parentRequestId }
  const start = () =>
    startSpan(tracer, clock, { name: "call.composed", kind: "internal", parent, method, requestId, attributes })
  const end = (span: Tracer.Span) => (exit: Exit.Exit<unknown, unknown>) =>
    Effect.sync(() => endSpan(span, clock, outcomeOf(exit)))
  return {
    run: (make) =>
      Effect.suspend(() => {
        const span = start()
        const traced = Effect.provideService(Effect.suspend(make), Tracer.ParentSpan, span)
        return Effect.onExit(traced, end(span))
      }),
    stream: (make) =>
      Stream.suspend(() => {
        const span = start()
        return Stream.onExit(Stream.provideService(make(), Tracer.ParentSpan, span), end(span))
      })
  }
}

/** Characters of the code of a composed call: the node that an operation was imported from chooses it. */
const CODE_MAX = 64

/** The code of an exit; what has none is `INTERNAL`. */
export const outcomeOf = (exit: Exit.Exit<unknown, unknown>): string => {
  if (Exit.isSuccess(exit)) return Outcome.Ok
  if (exit.cause.reasons.every((reason) => reason._tag === "Interrupt")) return Outcome.Aborted
  const failure = exit.cause.reasons.find((reason) => reason._tag === "Fail")?.error
  const code = failure instanceof CallError ? failure.code : codeOfClass(failure)
  return code.length <= CODE_MAX && isErrorCode(code) ? code : OTHER
}

const codeOfClass = (failure: unknown): string => {
  const code = typeof failure === "object" && failure !== null ? Reflect.get(failure.constructor, "code") : undefined
  return typeof code === "string" ? code : ProtocolCode.Internal
}
