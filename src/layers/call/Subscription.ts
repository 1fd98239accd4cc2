/**
 * The `subscribe` of a connection: a subscription of the other node as a `Stream` (call.md sections 6 and 15).
 *
 * Each run of the stream is a request of its own, made when the stream is run and aborted when its consumer stops before the
 * end. Items reach the consumer as arrays of what has come, decoded when they are taken.
 */
import { Cause, Channel, Duration, Effect, Exit, type Schema, Scope, Stream } from "effect"
import type { CallError } from "../../protocol/call/CallError.ts"
import { type ErrorPayload, normaliseName, readError, readResponded } from "../../protocol/call/Envelope.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import type { CallConnection, CallOptions } from "../../services/CallConnection.ts"
import { encodeInput, type Forms, formatRequest, typedForms, untypedForms } from "./CallForms.ts"
import type { CallDefaults } from "./CallFunction.ts"
import { mapItems } from "./mapItems.ts"
import type { Outbound } from "./Outbound.ts"
import type { CallRequest } from "./PendingCall.ts"
import { type QueueLimits, SubscriptionQueue } from "./SubscriptionQueue.ts"

export const makeSubscribe = (
  outbound: Outbound,
  limits: QueueLimits,
  defaults: CallDefaults
): CallConnection["Service"]["subscribe"] => {
  const open = (forms: Forms, input: unknown, options: CallOptions | undefined): Stream.Stream<unknown, unknown> => {
    const token = options?.authToken ?? defaults.authToken
    const request: CallRequest = {
      name: forms.name,
      operation: forms.operation,
      timeoutMillis: options?.timeout === undefined ? undefined : Duration.toMillis(options.timeout),
      isDedicated: true,
      isUntyped: forms.operation === undefined,
      format: (id) => formatRequest(id, forms.name, input, token)
    }
    const items = openSubscription(outbound, limits, request, forms.error)
    return forms.operation === undefined ? items : mapItems(items, forms.output)
  }
  function subscribe(
    target: string | ErasedOperation,
    input: unknown,
    options?: CallOptions
  ): Stream.Stream<unknown, unknown> {
    if (typeof target === "string") return open(untypedForms(normaliseName(target)), input, options)
    return Stream.unwrap(
      Effect.map(
        Effect.suspend(() => encodeInput(target, input)),
        (encoded) => open(typedForms(target), encoded, options)
      )
    )
  }
  return subscribe as CallConnection["Service"]["subscribe"]
}

/** The items of a request as they come. `error` reads a `call.error` of the other side. */
export const openSubscription = <E>(
  outbound: Outbound,
  limits: QueueLimits,
  request: CallRequest,
  error: (payload: ErrorPayload) => E
): Stream.Stream<Schema.Json, E | CallError> =>
  Stream.fromChannel(
    Channel.fromTransform((_upstream, scope) =>
      // Between the request and the finalizer that gives it up nobody may interrupt.
      Effect.uninterruptible(
        Effect.suspend(() => {
          const queue = new SubscriptionQueue<E | CallError | Cause.Done>(limits)
          const giveUp = outbound.call(request, {
            refused: (payload) => queue.end(Exit.fail(error(readError(payload as Schema.Json)))),
            failed: (failure) => queue.end(Exit.fail(failure)),
            items: {
              offer: (payload, bytes) => queue.offer(readResponded(payload as Schema.Json), bytes),
              offerShared: (payload, bytes) => queue.offerShared(readResponded(payload as Schema.Json), bytes),
              completed: () => queue.end(Exit.fail(Cause.Done()))
            }
          })
          const leave = Effect.andThen(
            giveUp,
            Effect.sync(() => queue.close())
          )
          return Effect.as(Scope.addFinalizer(scope, leave), queue.take)
        })
      )
    )
  )
