/**
 * One request from the gates to its answer: admission, input, context, handler, output, errors (call.md sections 4 and 7).
 *
 * Frames and gateways alike come through here, so that equal view, name and input have equal outcomes (CALL-R128). The
 * result never dies: what breaks becomes `INTERNAL` with an incident id. Where nothing has to wait, the result is a
 * finished `Exit`, and a refusal costs no fiber.
 */
import { Cause, Effect, Exit, type Schema, type SchemaIssue } from "effect"
import { CallError, invalidOperationType } from "../../protocol/call/CallError.ts"
import type { ForwardedFor } from "../../protocol/call/Envelope.ts"
import { invalidInputOf } from "../../protocol/call/OperationCodec.ts"
import type { CallConnection } from "../../services/CallConnection.ts"
import type { Principal } from "../../services/Identity.ts"
import type { OperationContext } from "../../services/OperationContext.ts"
import type { CallerView, OperationRegistry, Registration } from "../../services/OperationRegistry.ts"
import { attempt, goOn } from "./Eager.ts"
import { reportIncident } from "./Incident.ts"

export interface DispatchRequest {
  readonly view: CallerView
  readonly requestId: string
  /** Normalised. */
  readonly name: string
  readonly input: Schema.Json
  readonly forwardedFor: ForwardedFor | undefined
  readonly deadline: number
  readonly connection: CallConnection["Service"] | undefined
}

const noMetadata: Readonly<Record<string, string>> = Object.freeze({})

/** Answers a query or mutation with its encoded output, or with the error that is ready to send. */
export const dispatch = (
  registry: OperationRegistry["Service"],
  request: DispatchRequest
): Effect.Effect<Schema.Json, CallError> =>
  goOn(
    attempt(() => registry.admit(request.view, request.name)),
    (exit) => {
      if (Exit.isFailure(exit)) return incident("a gate broke", request.name, exit.cause)
      const admission = exit.value
      return admission._tag === "Refused"
        ? Effect.fail(admission.error)
        : decodeAndRun(admission.registration, admission.caller, request)
    }
  )

const incident = (what: string, operation: string, cause: Cause.Cause<unknown>, code?: string) =>
  Effect.flatMap(reportIncident(what, operation, cause, code), Effect.fail)

const decodeAndRun = (
  registration: Registration,
  caller: Principal | undefined,
  request: DispatchRequest
): Effect.Effect<Schema.Json, CallError> => {
  if (registration.operation.kind === "subscription") {
    return Effect.fail(invalidOperationType("a subscription has no single answer", request.name))
  }
  return goOn(
    attempt(() => registration.codec.decodeInput(request.input)),
    (decoded) =>
      Exit.isSuccess(decoded)
        ? runHandler(registration, decoded.value, contextOf(registration, caller, request))
        : refuseInput(request.name, decoded.cause)
  )
}

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
): OperationContext["Service"] => ({
  requestId: request.requestId,
  parentRequestId: undefined,
  identity: caller,
  authority: registration.authority,
  originator: caller,
  forwardedFor: request.forwardedFor,
  capabilities: registration.capabilities,
  metadata: noMetadata,
  deadline: request.deadline,
  abortPolicy: "AbortDependents",
  internal: false,
  connection: request.connection,
  view: request.view
})

const runHandler = (
  registration: Registration,
  input: unknown,
  context: OperationContext["Service"]
): Effect.Effect<Schema.Json, CallError> =>
  goOn(
    attempt(() => registration.run(input, context)),
    (exit) => (Exit.isSuccess(exit) ? encodeOutput(registration, exit.value) : explain(registration, exit.cause))
  )

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
