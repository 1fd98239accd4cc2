/**
 * What a peer says of its operations: the list, and the description of each. It shows what this node may call and no more.
 */
import { Effect, Option, Schema } from "effect"
import type { AccessRules } from "./AccessText.ts"
import type { Calls } from "./Calls.ts"
import { type Failure, failed } from "./Failure.ts"

const ANSWER_WITHIN = "30 seconds"

/** So many descriptions are asked for at a time. */
const DESCRIBE_AT_ONCE = 8

/** No node has more operations than this that a command could show or write. */
const OPERATIONS_MAX = 10_000

const Entry = Schema.Struct({ name: Schema.String, namespace: Schema.String, op_type: Schema.String })
export type Entry = typeof Entry.Type

const decodeList = Schema.decodeUnknownOption(Schema.Struct({ operations: Schema.Array(Entry) }))

/** Entries of `services/list`, in the peer's order. */
export const listOperations = ({ call }: Calls): Effect.Effect<ReadonlyArray<Entry>, Failure> =>
  Effect.flatMap(call("services/list", {}, ANSWER_WITHIN), (answer) => {
    const list = decodeList(answer)
    if (Option.isNone(list)) {
      return Effect.fail(failed("BAD_RESPONSE", "the peer answered with something that is no list of operations"))
    }
    const { operations } = list.value
    return operations.length > OPERATIONS_MAX
      ? Effect.fail(failed("BAD_RESPONSE", `the peer lists more than ${OPERATIONS_MAX} operations`))
      : Effect.succeed(operations)
  })

/** The document of `services/schema`. */
export const describeOperation = ({ call }: Calls, name: string): Effect.Effect<Schema.Json, Failure> =>
  call("services/schema", { name }, ANSWER_WITHIN)

/** The documents of these operations, in this order; what is gone since it was listed is left out. */
export const describeOperations = (
  calls: Calls,
  names: ReadonlyArray<string>
): Effect.Effect<ReadonlyArray<Schema.Json>, Failure> =>
  Effect.map(
    Effect.forEach(
      names,
      (name) =>
        Effect.catch(Effect.map(describeOperation(calls, name), Option.some), (error) =>
          error.code === "NOT_FOUND" ? Effect.succeed(Option.none()) : Effect.fail(error)
        ),
      { concurrency: DESCRIBE_AT_ONCE }
    ),
    (found) => found.flatMap((one) => (Option.isSome(one) ? [one.value] : []))
  )

/** What people are shown of a description. */
export interface Description {
  readonly name: string
  readonly kind: string
  readonly access: AccessRules
  readonly input: Schema.Json
  readonly output: Schema.Json
  readonly errors: ReadonlyArray<{
    readonly code: string
    readonly description: string | null
    readonly schema: Schema.Json
    readonly httpStatus: number | null
  }>
}

const texts = Schema.Array(Schema.String)
const absent = Schema.Null
const decodeDocument = Schema.decodeUnknownOption(
  Schema.Struct({
    name: Schema.String,
    op_type: Schema.String,
    input_schema: Schema.Json,
    output_schema: Schema.Json,
    error_schemas: Schema.Array(
      Schema.Struct({
        code: Schema.String,
        description: Schema.optional(Schema.Union([Schema.String, absent])),
        schema: Schema.optional(Schema.Json),
        http_status: Schema.optional(Schema.Union([Schema.Finite, absent]))
      })
    ),
    access_control: Schema.Struct({
      required_scopes: texts,
      required_scopes_any: Schema.Union([texts, absent]),
      resource_type: Schema.Union([Schema.String, absent]),
      resource_action: Schema.Union([Schema.String, absent])
    })
  })
)

/** Undefined where a document is not what the protocol says. */
export const descriptionOf = (document: Schema.Json): Description | undefined => {
  const decoded = decodeDocument(document)
  if (Option.isNone(decoded)) return undefined
  const { access_control: access, error_schemas: errors, input_schema, name, op_type, output_schema } = decoded.value
  return {
    name,
    kind: op_type,
    access: {
      requiredScopes: access.required_scopes,
      requiredScopesAny: access.required_scopes_any,
      resourceType: access.resource_type,
      resourceAction: access.resource_action
    },
    input: input_schema,
    output: output_schema,
    errors: errors.map(({ code, description = null, http_status = null, schema = null }) => ({
      code,
      description,
      schema,
      httpStatus: http_status
    }))
  }
}
