/** One operation of each sort behind one spy, and what a call comes to. */
import { Effect, Schema } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { spy } from "./kit.ts"

export const text = { input: Schema.Struct({ text: Schema.String }), output: Schema.String } as const
export const external = { visibility: "external" } as const

/** One operation of each sort, all behind the same spy. */
export const gallery = () => {
  const ran = spy()
  const decoded = spy()
  const input = Schema.Struct({ text: Schema.String.check(Schema.makeFilter(() => ++decoded.state.count > 0)) })
  const handler = () => Effect.as(ran.touch(), "done")
  const group = OperationGroup.make(
    Operation.implement(
      Operation.query("a/open", { ...text, input, ...external, access: AccessControl.open }),
      handler
    ),
    Operation.implement(Operation.query("a/scoped", { ...text, input, ...external }), handler),
    Operation.implement(
      Operation.query("a/safe", { ...text, input, ...external, remoteSafe: true, access: AccessControl.scopes("x:y") }),
      handler
    ),
    Operation.implement(Operation.query("a/inside", { ...text, input }), handler)
  )
  return { group, ran, decoded }
}

/** What an untyped call comes to. */
export const outcome = (call: Effect.Effect<Schema.Json, CallError>) =>
  Effect.match(call, {
    onSuccess: (output) => `ok ${JSON.stringify(output)}`,
    onFailure: (error) => `${error.code} ${error.message}`
  })
