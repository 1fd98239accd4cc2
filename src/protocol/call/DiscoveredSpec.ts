/**
 * What another node says of its operations: the answers of `services/list` and `services/schema` -> values (call.md sections
 * 12 and 13). The reverse is in OperationSpec.ts.
 *
 * The answers are a stranger's. Lenient where nothing hangs on it: schemas that are missing are null, errors without a code
 * are dropped. Strict about what decides: the kind, and who may call. Access that is missing is open, as the other node
 * checks for itself; access that is there and cannot be understood refuses the operation instead of opening it.
 */
import { Result, type Schema } from "effect"
import { AccessControl } from "./AccessControl.ts"
import { namespaceOf, type OperationKind } from "./Operation.ts"
import type { ErrorSpec, OperationSpec } from "./OperationSpec.ts"

type Members = Readonly<Record<string, Schema.Json>>

const asMembers = (value: Schema.Json | undefined): Members | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Members) : undefined

/** An own member; what is absent and what is null are the same. */
const member = (members: Members, name: string): Schema.Json | undefined =>
  Object.hasOwn(members, name) ? (members[name] ?? undefined) : undefined

/** The names that `services/list` gave, in its order; undefined where it is no list. */
export const readListedNames = (answer: Schema.Json): ReadonlyArray<string> | undefined => {
  const members = asMembers(answer)
  const operations = members === undefined ? undefined : member(members, "operations")
  if (!Array.isArray(operations)) return undefined
  const names = operations.map((entry: Schema.Json) => {
    const of = asMembers(entry)
    return of === undefined ? undefined : member(of, "name")
  })
  return names.every((name) => typeof name === "string") ? names : undefined
}

const kinds: ReadonlySet<unknown> = new Set<OperationKind>(["query", "mutation", "subscription"])

const isKind = (value: unknown): value is OperationKind => kinds.has(value)

/** The description of one operation as `services/schema` gave it, under the name that it was asked for; or what is wrong. */
export const readDiscoveredSpec = (document: Schema.Json, name: string): Result.Result<OperationSpec, string> => {
  const members = asMembers(document)
  if (members === undefined) return Result.fail("its description is no object")
  const kind = member(members, "op_type")
  if (!isKind(kind)) return Result.fail("its op_type is neither query nor mutation nor subscription")
  return Result.map(readAccess(member(members, "access_control")), (access) => ({
    name,
    namespace: namespaceOf(name),
    kind,
    description: undefined,
    visibility: member(members, "visibility") === "external" ? "external" : "internal",
    access,
    inputSchema: member(members, "input_schema") ?? null,
    outputSchema: member(members, "output_schema") ?? null,
    errors: readErrors(member(members, "error_schemas"))
  }))
}

const readErrors = (value: Schema.Json | undefined): ReadonlyArray<ErrorSpec> => {
  if (!Array.isArray(value)) return []
  return value.flatMap((entry: Schema.Json): ReadonlyArray<ErrorSpec> => {
    const members = asMembers(entry)
    const code = members === undefined ? undefined : member(members, "code")
    if (members === undefined || typeof code !== "string") return []
    const description = member(members, "description")
    const httpStatus = member(members, "http_status")
    return [
      {
        code,
        description: typeof description === "string" ? description : undefined,
        schema: member(members, "schema") ?? null,
        httpStatus: typeof httpStatus === "number" ? httpStatus : 500
      }
    ]
  })
}

const isStrings = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((item) => typeof item === "string")

const readAccess = (value: Schema.Json | undefined): Result.Result<AccessControl, string> => {
  if (value === undefined) return Result.succeed(AccessControl.open)
  const members = asMembers(value)
  if (members === undefined) return Result.fail("its access_control is no object")
  const scopes = member(members, "required_scopes") ?? []
  const anyScope = member(members, "required_scopes_any")
  const type = member(members, "resource_type")
  const action = member(members, "resource_action")
  if (!isStrings(scopes) || (anyScope !== undefined && !isStrings(anyScope))) {
    return Result.fail("its access_control names scopes that are no strings")
  }
  if (!isText(type) || !isText(action)) return Result.fail("its access_control names a resource that is no string")
  const rules = [AccessControl.scopes(...scopes)]
  if (anyScope !== undefined) rules.push(AccessControl.anyScope(...anyScope))
  if (type !== undefined) rules.push(AccessControl.resource(type, action))
  else if (action !== undefined) rules.push(AccessControl.resourceAction(action))
  return Result.succeed(rules.reduce((all, rule) => all.and(rule)))
}

const isText = (value: Schema.Json | undefined): value is string | undefined =>
  value === undefined || typeof value === "string"
