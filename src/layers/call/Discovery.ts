/**
 * The operations of discovery: what this caller may call on this connection, and nothing else (call.md section 12). They
 * judge with the view that the dispatcher put into the context, so they cannot use another filter than dispatch.
 *
 * | operation | input | output |
 * |---|---|---|
 * | `services/list` | ignored | `{"operations": [{"name", "namespace", "op_type"}]}`, sorted by name |
 * | `services/schema` | `{"name"}`, one leading slash tolerated | the whole description of one operation |
 * | `services/list-peers`, where it is wanted | ignored | `{"peers": [{"peer_id", "operations"}]}`, this node first |
 */
import { Context, Effect, Schema } from "effect"
import { AccessControl, refusalOf } from "../../protocol/call/AccessControl.ts"
import { invalidInput, notFound } from "../../protocol/call/CallError.ts"
import { normaliseName } from "../../protocol/call/Envelope.ts"
import { query } from "../../protocol/call/Operation.ts"
import { listEntryOf, schemaDocumentOf } from "../../protocol/call/OperationSpec.ts"
import { type Implementation, Operation } from "../../services/Operation.ts"
import { OperationContext } from "../../services/OperationContext.ts"
import { anyInput, type OperationRegistry } from "../../services/OperationRegistry.ts"
import type { PeerGraph } from "../../services/PeerGraph.ts"

/** The namespace that applications cannot use, and that is never listed. */
export const DISCOVERY_NAMESPACE = "services"

export const isDiscovery = (name: string): boolean => name.startsWith(`${DISCOVERY_NAMESPACE}/`)

// Safe for every peer: they show only what the caller may call.
const open = { access: AccessControl.open, visibility: "external", remoteSafe: true } as const

const Operations = Schema.Array(
  Schema.Struct({ name: Schema.String, namespace: Schema.String, op_type: Schema.String })
)

export const ServicesList = query("services/list", {
  description: "The operations that you may call.",
  output: Schema.Struct({ operations: Operations }),
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
      const admission = yield* registry.admit(view, name, anyInput)
      return admission._tag === "Admitted" ? schemaDocumentOf(admission.registration.spec) : yield* notFound(name)
    })
  )
]

export const ServicesListPeers = query("services/list-peers", {
  description: "The peers of this node and what of theirs you may use.",
  output: Schema.Struct({ peers: Schema.Array(Schema.Struct({ peer_id: Schema.String, operations: Operations })) }),
  ...open,
  remoteSafe: false
})

/** How this node itself is named among its peers. */
const LOCAL = "local"

type Extra = (registry: OperationRegistry["Service"]) => Implementation<unknown>

/** What layers below a registry's want to have in it beside its own operations of discovery. */
export const ExtraDiscovery = Context.Reference<ReadonlyArray<Extra>>("alknet/ExtraDiscovery", {
  defaultValue: () => []
})

/** Own operations as `services/list` gives them, those of peers by the access control that they were imported with. */
export const listPeers =
  (graph: PeerGraph["Service"], options: { readonly remoteSafe?: boolean }): Extra =>
  (registry) =>
    Operation.implement(
      ServicesListPeers,
      Effect.gen(function* () {
        const { identity, view } = yield* OperationContext
        const local = (yield* registry.visible(view)).map(listEntryOf)
        const peers = graph.peers().map(({ overlay, peerId }) => ({
          peer_id: peerId,
          operations: overlay
            .names()
            .flatMap((name) => overlay.get(name) ?? [])
            .filter(({ operation }) => refusalOf(operation.access, identity) === undefined)
            .map(({ spec }) => listEntryOf(spec))
        }))
        return { peers: local.length === 0 ? peers : [{ peer_id: LOCAL, operations: local }, ...peers] }
      }),
      options
    )

const nameOf = (input: Schema.Json): string | undefined => {
  if (typeof input !== "object" || input === null || !("name" in input)) return undefined
  return typeof input.name === "string" ? input.name : undefined
}
