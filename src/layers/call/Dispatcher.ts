/**
 * The dispatcher: one for all connections of a node, whichever side dialed them (CALL-R129).
 *
 * Limits come from the reference `CallLimits`, rejected tokens go to the `AuditLog` where there is one.
 */
import { randomUUID } from "node:crypto"
import { Clock, Duration, Effect, Exit, FiberSet, Layer, Option, type Schema, Stream } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { type CallError, timedOut } from "../../protocol/call/CallError.ts"
import { normaliseName } from "../../protocol/call/Envelope.ts"
import { AuditLog } from "../../services/AuditLog.ts"
import { CallLimits } from "../../services/CallLimits.ts"
import { type CallCarrier, Dispatcher, type RunOptions } from "../../services/Dispatcher.ts"
import { Identity } from "../../services/Identity.ts"
import { type CallerView, OperationRegistry } from "../../services/OperationRegistry.ts"
import { PeerGraph } from "../../services/PeerGraph.ts"
import { SessionSource } from "../../services/SessionSource.ts"
import { currentSpan, outcomeOf } from "./CallSpans.ts"
import { type DispatchRequest, dispatchCall, dispatchStream } from "./Dispatch.ts"
import { Composition } from "./Env.ts"
import { type SessionParts, startSession } from "./Session.ts"
import { carrierOf } from "./SessionCarrier.ts"
import { type CallRecord, CallTelemetry } from "./Telemetry.ts"

export const layer: Layer.Layer<Dispatcher, never, OperationRegistry | Identity> = Layer.effect(
  Dispatcher,
  Effect.gen(function* () {
    const parts: SessionParts = {
      registry: yield* OperationRegistry,
      identity: yield* Identity,
      audit: Option.getOrUndefined(yield* Effect.serviceOption(AuditLog)),
      limits: yield* CallLimits,
      graph: Option.getOrUndefined(yield* Effect.serviceOption(PeerGraph)),
      sessions: Option.getOrUndefined(yield* Effect.serviceOption(SessionSource)),
      telemetry: new CallTelemetry(yield* Effect.context<never>(), yield* Clock.Clock, yield* OperationRegistry)
    }
    // What children of a gateway's requests leave behind lives as long as the dispatcher.
    const left = yield* FiberSet.make<unknown, unknown>()
    const keep = yield* FiberSet.runtime(left)<never>()
    const gateways: Gateways = {
      composition: new Composition({ ...parts, own: undefined }),
      keeper: { keep: (effect) => keep(effect) }
    }
    const start = (carrier: CallCarrier, options: RunOptions) =>
      Effect.acquireRelease(startSession(parts, carrierOf(carrier, parts.identity), options), (session) =>
        session.shutdown(CloseCode.NoError, "")
      )
    return Dispatcher.of({
      run: (carrier, options) => Effect.scoped(Effect.flatMap(start(carrier, options), (session) => session.done)),
      attach: (carrier, options) => Effect.map(start(carrier, options), (session) => session.connection),
      invoke: (view, name, input) =>
        Effect.suspend(() => {
          const asked = ask(parts.telemetry, view, name, input)
          return Effect.onExit(answerInTime(parts, gateways, asked, dispatchCall), (exit) =>
            Effect.sync(() => asked.record.end(outcomeOf(exit)))
          )
        }),
      stream: (view, name, input) =>
        Stream.suspend(() => {
          const asked = ask(parts.telemetry, view, name, input)
          return asked.record.withinStream(Stream.unwrap(answerInTime(parts, gateways, asked, dispatchStream)))
        })
    })
  })
)

/** What requests of gateways compose with: there is no connection to call back. */
type Gateways = Pick<DispatchRequest, "composition" | "keeper">

/** A request of a gateway. */
interface Asked extends Pick<DispatchRequest, "view" | "name" | "requestId" | "input"> {
  readonly record: CallRecord
}

const ask = (telemetry: CallTelemetry, view: CallerView, text: string, input: Schema.Json): Asked => {
  const requestId = randomUUID()
  const name = normaliseName(text)
  const connection = telemetry.connection(view.connection, view.peer.identity?.id)
  const record = connection.served(requestId, name, telemetry.now(), currentSpan() || undefined)
  return { view, name, requestId, input, record }
}

/** Answers at the deadline at the latest, also where the handler's cleanup takes longer (CALL-R113). */
const answerInTime = <A>(
  { limits, registry }: SessionParts,
  gateways: Gateways,
  { record, ...asked }: Asked,
  dispatch: (registry: OperationRegistry["Service"], request: DispatchRequest) => Effect.Effect<A, CallError>
): Effect.Effect<A, CallError> =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const duration = Duration.fromInputUnsafe(limits.dispatchDeadline)
    const deadline = Number(clock.monotonicTimeNanosUnsafe()) / 1e6 + Duration.toMillis(duration)
    const request = {
      ...asked,
      forwardedFor: undefined,
      deadline,
      connection: undefined,
      ...gateways
    }
    const fork = Effect.runForkWith(yield* Effect.context<never>())
    return yield* Effect.callback<A, CallError>((resume) => {
      const handler = fork(record.within(dispatch(registry, request)))
      const timer = fork(clock.sleep(duration))
      handler.addObserver((exit) => {
        timer.interruptUnsafe()
        resume(exit)
      })
      timer.addObserver((exit) => {
        if (Exit.isFailure(exit)) return
        resume(Effect.fail(timedOut(asked.name)))
        handler.interruptUnsafe()
      })
      return Effect.sync(() => {
        timer.interruptUnsafe()
        handler.interruptUnsafe()
      })
    })
  })
