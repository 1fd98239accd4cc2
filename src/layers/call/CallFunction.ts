/** The `call` of a connection: one answer, typed or untyped, within a time (call.md section 6). */
import { Duration, Effect, Exit, type Redacted, type Schema } from "effect"
import { normaliseName, readError, readResponded } from "../../protocol/call/Envelope.ts"
import type { ErasedOperation } from "../../protocol/call/Operation.ts"
import type { CallConnection, CallOptions } from "../../services/CallConnection.ts"
import { encodeInput, type Forms, formatRequest, typedForms, untypedForms } from "./CallForms.ts"
import { goOn } from "./Eager.ts"
import type { Outbound } from "./Outbound.ts"

export interface CallDefaults {
  readonly timeoutMillis: number
  readonly authToken: Redacted.Redacted<string> | undefined
}

export const makeCall = (outbound: Outbound, defaults: CallDefaults): CallConnection["Service"]["call"] => {
  const send = (forms: Forms, input: unknown, options: CallOptions | undefined): Effect.Effect<unknown, unknown> => {
    const timeoutMillis = options?.timeout === undefined ? defaults.timeoutMillis : Duration.toMillis(options.timeout)
    const token = options?.authToken ?? defaults.authToken
    return Effect.callback((resume) =>
      outbound.call(
        {
          name: forms.name,
          operation: forms.operation,
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
  function call(
    target: string | ErasedOperation,
    input: unknown,
    options?: CallOptions
  ): Effect.Effect<unknown, unknown> {
    if (typeof target === "string") return send(untypedForms(normaliseName(target)), input, options)
    return Effect.suspend(() =>
      goOn(encodeInput(target, input), (encoded) =>
        Exit.isSuccess(encoded) ? send(typedForms(target), encoded.value, options) : encoded
      )
    )
  }
  return call as CallConnection["Service"]["call"]
}
