/**
 * `services/list` and `services/schema`: what this caller may call on this connection, and nothing else (call.md section
 * 12). Both judge with the view that the dispatcher put into the context, so they cannot use another filter than dispatch.
 *
 * | operation | input | output |
 * |---|---|---|
 * | `services/list` | ignored | `{"operations": [{"name", "namespace", "op_type"}]}`, sorted by name |
 * | `services/schema` | `{"name"}`, one leading slash tolerated | the whole description of one operation |
 */
import { Effect, Schema } from "effect"
import { AccessControl } from "../../protocol/call/AccessControl.ts"
import { invalidInput, notFound } from "../../protocol/call/CallError.ts"
import { normaliseName } from "../../protocol/call/Envelope.ts"
import { query } from "../../protocol/call/Operation.ts"
import { listEntryOf, schemaDocumentOf } from "../../protocol/call/OperationSpec.ts"
import { type Implementation, Operation } from "../../services/Operation.ts"
import { OperationContext } from "../../services/OperationContext.ts"
import type { OperationRegistry } from "../../services/OperationRegistry.ts"

/** The namespace that applications cannot use, and that is never listed. */
export const DISCOVERY_NAMESPACE = "services"

export const isDiscovery = (name: string): boolean => name.startsWith(`${DISCOVERY_NAMESPACE}/`)

// Safe for every peer: they show only what the caller may call.
const open = { access: AccessControl.open, visibility: "external", remoteSafe: true } as const

export const ServicesList = query("services/list", {
  description: "The operations that you may call.",
  output: Schema.Struct({
    operations: Schema.Array(Schema.Struct({ name: Schema.String, namespace: Schema.String, op_type: Schema.String }))
  }),
  ...open
})

export const ServicesSchema = query("services/schema", {
  description: "What one operation takes and gives.",
  // Anything: a missing name has a message of its own.
  input: Schema.Json,
  output: Schema.Json,
  ...open
})

export const discovery = (registry: OperationRegistry["Service"]): ReadonlyArray<Implementation<unknown>> => [
  Operation.implement(
    ServicesList,
    Effect.gen(function* () {
      const { view } = yield* OperationContext
      return { operations: (yield* registry.visible(view)).map(listEntryOf) }
    })
  ),
  Operation.implement(ServicesSchema, (input) =>
    Effect.gen(function* () {
      const { view } = yield* OperationContext
      const asked = nameOf(input)
      if (asked === undefined) return yield* invalidInput("missing required field: name", ServicesSchema.name)
      const name = normaliseName(asked)
      if (isDiscovery(name)) return yield* notFound(name)
      const admission = yield* registry.admit(view, name)
      return admission._tag === "Admitted" ? schemaDocumentOf(admission.registration.spec) : yield* notFound(name)
    })
  )
]

const nameOf = (input: Schema.Json): string | undefined => {
  if (typeof input !== "object" || input === null || !("name" in input)) return undefined
  return typeof input.name === "string" ? input.name : undefined
}
