/**
 * How the two ends of an own request are written and read: typed with a declaration, or untyped as JSON (call.md sections 4
 * and 10).
 *
 * A typed caller gets decoded outputs and a declared error as an instance of its class; an untyped one gets everything as
 * received. Input that does not encode is `INVALID_INPUT`, and nothing is sent.
 */
import { Cause, Effect, Exit, Redacted, Result, type Schema } from "effect"
import { type CallError, internal, invalidInput, remoteError } from "../../protocol/call/CallError.ts"
import { type ErrorPayload, type ForwardedFor, formatRequested } from "../../protocol/call/Envelope.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import { badResponseOf, codecOf, invalidInputOf } from "../../protocol/call/OperationCodec.ts"
import { goOn } from "./Eager.ts"

export interface Forms {
  readonly name: string
  /** None for an untyped caller. */
  readonly operation: ErasedOperation | undefined
  readonly output: (json: Schema.Json) => Effect.Effect<unknown, unknown>
  readonly error: (payload: ErrorPayload) => unknown
}

export const untypedForms = (name: string): Forms => ({
  name,
  operation: undefined,
  output: Effect.succeed,
  error: (payload) => remoteError(payload, name)
})

const formsOf = new WeakMap<ErasedOperation, Forms>()

export const typedForms = (operation: ErasedOperation): Forms => {
  const known = formsOf.get(operation)
  if (known !== undefined) return known
  const codec = codecOf(operation)
  const forms: Forms = {
    name: operation.name,
    operation,
    error: codec.decodeError,
    output: (json) =>
      goOn(codec.decodeOutput(json), (decoded): Effect.Effect<unknown, unknown> => {
        if (Exit.isSuccess(decoded)) return decoded
        const issue = Cause.findErrorOption(decoded.cause)
        return Effect.fail(
          issue._tag === "Some" ? badResponseOf(issue.value, operation.name) : internal("bad response", operation.name)
        )
      })
  }
  formsOf.set(operation, forms)
  return forms
}

/** The input of a typed caller as JSON. */
export const encodeInput = (operation: ErasedOperation, input: unknown): Effect.Effect<unknown, CallError> =>
  goOn(codecOf(operation).encodeInput(input), (encoded): Effect.Effect<unknown, CallError> => {
    if (Exit.isSuccess(encoded)) return Exit.succeed(encoded.value)
    const issue = Cause.findErrorOption(encoded.cause)
    return issue._tag === "Some"
      ? Effect.fail(invalidInputOf(issue.value, operation.name))
      : Effect.die(Cause.squash(encoded.cause))
  })

/** The text of a request, or why there is none. */
export const formatRequest = (
  id: string,
  name: string,
  input: unknown,
  token: Redacted.Redacted<string> | undefined,
  forwardedFor?: ForwardedFor
): string | CallError => {
  const authToken = token === undefined ? undefined : Redacted.value(token)
  const text = formatRequested(id, { name, input, authToken, forwardedFor })
  return Result.isSuccess(text) ? text.success : invalidInput(`invalid input: ${text.failure.hint}`, name)
}
