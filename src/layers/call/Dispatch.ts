/**
 * One request from the gates to its answer or its items: admission, input, context, handler, output, errors (call.md
 * sections 4, 7 and 15). The kind of the operation decides which of the two it is (CALL-R59).
 *
 * Frames and gateways alike come through here, so that equal view, name and input have equal outcomes (CALL-R128). The
 * result never dies: what breaks becomes `INTERNAL` with an incident id. Where nothing has to wait, the result is a
 * finished `Exit`, and a refusal costs no fiber.
 */
import { Cause, Effect, Exit, type Schema, type SchemaIssue, Stream } from "effect"
import { CallError, invalidOperationType } from "../../protocol/call/CallError.ts"
import type { ForwardedFor } from "../../protocol/call/Envelope.ts"
import { invalidInputOf } from "../../protocol/call/OperationCodec.ts"
import type { CallConnection } from "../../services/CallConnection.ts"
import type { Principal } from "../../services/Identity.ts"
import type { OperationContext } from "../../services/OperationContext.ts"
import type { CallerView, OperationRegistry, Registration } from "../../services/OperationRegistry.ts"
import { attempt, goOn } from "./Eager.ts"
import type { Composition, Keeper } from "./Env.ts"
import { reportIncident } from "./Incident.ts"
import type { EncodeItem } from "./ItemWriter.ts"
import { mapItems } from "./mapItems.ts"
import { rootContext } from "./RequestContext.ts"

export interface DispatchRequest {
  readonly view: CallerView
  readonly requestId: string
  /** Normalised. */
  readonly name: string
  readonly input: Schema.Json
  readonly forwardedFor: ForwardedFor | undefined
  /** Counts until there is an answer; for a subscription until its handler starts. */
  readonly deadline: number
  readonly connection: CallConnection["Service"] | undefined
  /** What its handler composes with. */
  readonly composition: Composition
  /** Holds what its handler started and what outlives it. */
  readonly keeper: Keeper
}

/** Where the items of a subscription go. */
export interface ItemSink {
  /** The handler starts: from now on there is no deadline (CALL-R119). */
  readonly begin: () => void
  /** Completes when all of them were accepted. */
  readonly write: (items: ReadonlyArray<unknown>, encode: EncodeItem) => Effect.Effect<void, CallError>
}

/** The end of a subscription, in the place of an output. */
export const COMPLETED: unique symbol = Symbol("completed")

/**
 * Serves a request of any kind: gives the encoded output, or writes the items and gives `COMPLETED`. The error is ready to
 * send.
 */
export const dispatch = (
  registry: OperationRegistry["Service"],
  request: DispatchRequest,
  sink: ItemSink
): Effect.Effect<Schema.Json | typeof COMPLETED, CallError> =>
  admit<Schema.Json | typeof COMPLETED>(registry, request, (registration, makeContext) =>
    isStreamed(registration)
      ? prepare(registration, request.name, request.input, makeContext, (input, context) =>
          writeItems(registration, input, context, sink)
        )
      : serve(registration, request.name, request.input, makeContext)
  )

/** Answers a query or mutation for a gateway. */
export const dispatchCall = (
  registry: OperationRegistry["Service"],
  request: DispatchRequest
): Effect.Effect<Schema.Json, CallError> =>
  admit(registry, request, (registration, makeContext) =>
    isStreamed(registration)
      ? Effect.fail(invalidOperationType("a subscription has no single answer", request.name))
      : serve(registration, request.name, request.input, makeContext)
  )

/** The items of a subscription for a gateway, once the gates have said yes. */
export const dispatchStream = (
  registry: OperationRegistry["Service"],
  request: DispatchRequest
): Effect.Effect<Stream.Stream<Schema.Json, CallError>, CallError> =>
  admit(registry, request, (registration, makeContext) =>
    isStreamed(registration)
      ? Effect.succeed(serveStream(registration, request.name, request.input, makeContext))
      : Effect.fail(invalidOperationType(`a ${registration.operation.kind} is no stream`, request.name))
  )

const isStreamed = (registration: Registration): boolean => registration.operation.kind === "subscription"

type MakeContext = () => Effect.Effect<OperationContext["Service"], CallError>

const admit = <A>(
  registry: OperationRegistry["Service"],
  request: DispatchRequest,
  next: (registration: Registration, makeContext: MakeContext) => Effect.Effect<A, CallError>
): Effect.Effect<A, CallError> =>
  goOn(
    attempt(() => registry.admit(request.view, request.name, request.input)),
    (exit) => {
      if (Exit.isFailure(exit)) return incident("a gate broke", request.name, exit.cause)
      const admission = exit.value
      if (admission._tag === "Refused") return Effect.fail(admission.error)
      const { caller, registration } = admission
      return next(registration, () => contextOf(registration, caller, request))
    }
  )

const incident = (what: string, operation: string, cause: Cause.Cause<unknown>, code?: string) =>
  Effect.flatMap(reportIncident(what, operation, cause, code), Effect.fail)

/** The way from the input on, for requests from outside and for composed children alike. */
export const serve = (
  registration: Registration,
  name: string,
  input: Schema.Json,
  makeContext: MakeContext
): Effect.Effect<Schema.Json, CallError> =>
  prepare(registration, name, input, makeContext, (decoded, context) => runHandler(registration, decoded, context))

/** The same for a subscription: its encoded items, as one stream that fails with what is ready to send. */
export const serveStream = (
  registration: Registration,
  name: string,
  input: Schema.Json,
  makeContext: MakeContext
): Stream.Stream<Schema.Json, CallError> =>
  Stream.unwrap(
    prepare(registration, name, input, makeContext, (decoded, context) =>
      Effect.succeed(mapItems(itemsOf(registration, decoded, context), (item) => encodeOutput(registration, item)))
    )
  )

/** Input and context, in this order. */
const prepare = <A>(
  registration: Registration,
  name: string,
  input: Schema.Json,
  makeContext: MakeContext,
  run: (decoded: unknown, context: OperationContext["Service"]) => Effect.Effect<A, CallError>
): Effect.Effect<A, CallError> =>
  goOn(
    attempt(() => registration.codec.decodeInput(input)),
    (decoded) =>
      Exit.isFailure(decoded)
        ? refuseInput(name, decoded.cause)
        : goOn(attempt(makeContext), (context): Effect.Effect<A, CallError> => {
            if (Exit.isSuccess(context)) return run(decoded.value, context.value)
            return Cause.hasDies(context.cause)
              ? incident("the context broke", name, context.cause)
              : Effect.failCause(context.cause)
          })
  )

const refuseInput = (name: string, cause: Cause.Cause<SchemaIssue.Issue>): Effect.Effect<never, CallError> => {
  const issue = Cause.findErrorOption(cause)
  return issue._tag === "Some"
    ? Effect.fail(invalidInputOf(issue.value, name))
    : incident("decoding the input broke", name, cause)
}

const contextOf = (
  registration: Registration,
  caller: Principal | undefined,
  request: DispatchRequest
): Effect.Effect<OperationContext["Service"]> => {
  const { composition, connection, forwardedFor, keeper, requestId, view } = request
  const deadline = isStreamed(registration) ? undefined : request.deadline
  const asked = { requestId, identity: caller, view }
  return goOn(composition.envFor(asked, keeper), (exit) =>
    Exit.map(exit, (env) => rootContext(registration, { ...asked, forwardedFor, env, deadline, connection }))
  )
}

const runHandler = (
  registration: Registration,
  input: unknown,
  context: OperationContext["Service"]
): Effect.Effect<Schema.Json, CallError> =>
  goOn(
    attempt(() => registration.run(input, context)),
    (exit) => (Exit.isSuccess(exit) ? encodeOutput(registration, exit.value) : explain(registration, exit.cause))
  )

/** What the handler's stream gives, with errors that are ready to send. */
const itemsOf = (
  registration: Registration,
  input: unknown,
  context: OperationContext["Service"]
): Stream.Stream<unknown, CallError> =>
  Stream.catchCause(
    Stream.suspend(() => registration.stream(input, context)),
    (cause) => Stream.fromEffect(explain(registration, cause))
  )

const writeItems = (
  registration: Registration,
  input: unknown,
  context: OperationContext["Service"],
  sink: ItemSink
): Effect.Effect<typeof COMPLETED, CallError> => {
  const encode: EncodeItem = (item) => encodeOutput(registration, item)
  sink.begin()
  return Effect.as(
    Stream.runForEachArray(itemsOf(registration, input, context), (items) => sink.write(items, encode)),
    COMPLETED
  )
}

const encodeOutput = (registration: Registration, output: unknown): Effect.Effect<Schema.Json, CallError> =>
  goOn(
    attempt(() => registration.codec.encodeOutput(output)),
    (encoded) =>
      Exit.isSuccess(encoded)
        ? Effect.succeed(encoded.value as Schema.Json)
        : // The issue may quote the output, which no log may hold: that it does not fit is said, not how.
          incident("the output does not fit its Schema", registration.spec.name, Cause.empty)
  )

const explain = (registration: Registration, cause: Cause.Cause<unknown>): Effect.Effect<never, CallError> => {
  const name = registration.spec.name
  if (Cause.hasDies(cause)) return incident("the handler died", name, cause)
  const found = Cause.findErrorOption(cause)
  if (found._tag === "None") return incident("the handler was interrupted", name, cause)
  const failure = found.value
  if (registration.isMachinery && failure instanceof CallError) return Effect.fail(failure)
  const declared = registration.codec.encodeError(failure)
  if (declared !== undefined) return Effect.fail(declared)
  return incident("the handler failed with what its operation does not declare", name, cause, codeOf(failure))
}

/** The code of a failure that has one: a `CallError` of an inner call, or an error class of another operation. */
const codeOf = (failure: unknown): string | undefined => {
  if (typeof failure !== "object" || failure === null) return undefined
  if (failure instanceof CallError) return failure.code
  const code = "code" in failure.constructor ? failure.constructor.code : undefined
  return typeof code === "string" ? code : undefined
}
