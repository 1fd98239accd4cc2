/**
 * The `call` of a connection: typed with a declaration, or untyped with a name and JSON (call.md sections 4 and 10).
 *
 * A typed caller gets the decoded output or a declared error as an instance of its class; an untyped one gets everything as
 * received. Input that does not encode fails here with `INVALID_INPUT`, and nothing is sent.
 */
import { Cause, Duration, Effect, Exit, Redacted, Result, type Schema } from "effect"
import { type CallError, internal, invalidInput, remoteError } from "../../protocol/call/CallError.ts"
import { formatRequested, normaliseName, readError, readResponded } from "../../protocol/call/Envelope.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import { badResponseOf, codecOf, invalidInputOf } from "../../protocol/call/OperationCodec.ts"
import type { CallConnection, CallOptions } from "../../services/CallConnection.ts"
import { goOn } from "./Eager.ts"
import type { Outbound } from "./Outbound.ts"

export interface CallDefaults {
  readonly timeoutMillis: number
  readonly authToken: Redacted.Redacted<string> | undefined
}

/** How the two ends of a call are read and written. */
interface Forms {
  readonly name: string
  readonly output: (json: Schema.Json) => Effect.Effect<unknown, unknown>
  readonly error: (payload: ReturnType<typeof readError>) => unknown
}

export const makeCall = (outbound: Outbound, defaults: CallDefaults): CallConnection["Service"]["call"] => {
  const send = (forms: Forms, input: unknown, options: CallOptions | undefined): Effect.Effect<unknown, unknown> => {
    const timeoutMillis = options?.timeout === undefined ? defaults.timeoutMillis : Duration.toMillis(options.timeout)
    const token = options?.authToken ?? defaults.authToken
    return Effect.callback((resume) =>
      outbound.call(
        {
          name: forms.name,
          timeoutMillis,
          isDedicated: options?.stream === "dedicated",
          format: (id) => formatRequest(id, forms.name, input, token)
        },
        {
          responded: (payload) => resume(forms.output(readResponded(payload as Schema.Json))),
          refused: (payload) => resume(Effect.fail(forms.error(readError(payload as Schema.Json)))),
          failed: (error) => resume(Effect.fail(error))
        }
      )
    )
  }
  const untyped = (name: string): Forms => ({
    name,
    output: Effect.succeed,
    error: (payload) => remoteError(payload, name)
  })
  function call(
    target: string | ErasedOperation,
    input: unknown,
    options?: CallOptions
  ): Effect.Effect<unknown, unknown> {
    if (typeof target === "string") return send(untyped(normaliseName(target)), input, options)
    return Effect.suspend(() =>
      goOn(codecOf(target).encodeInput(input), (encoded) => {
        if (Exit.isSuccess(encoded)) return send(typed(target), encoded.value, options)
        const issue = Cause.findErrorOption(encoded.cause)
        return issue._tag === "Some"
          ? Effect.fail(invalidInputOf(issue.value, target.name))
          : Effect.failCause(encoded.cause)
      })
    )
  }
  return call as CallConnection["Service"]["call"]
}

const formsOf = new WeakMap<ErasedOperation, Forms>()

const typed = (operation: ErasedOperation): Forms => {
  const known = formsOf.get(operation)
  if (known !== undefined) return known
  const codec = codecOf(operation)
  const forms: Forms = {
    name: operation.name,
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

const formatRequest = (
  id: string,
  name: string,
  input: unknown,
  token: Redacted.Redacted<string> | undefined
): string | CallError => {
  const authToken = token === undefined ? undefined : Redacted.value(token)
  const text = formatRequested(id, { name, input, authToken })
  return Result.isSuccess(text) ? text.success : invalidInput(`invalid input: ${text.failure.hint}`, name)
}
