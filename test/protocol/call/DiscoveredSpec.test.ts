import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import fc from "fast-check"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { readDiscoveredSpec, readListedNames } from "../../../src/protocol/call/DiscoveredSpec.ts"
import { mutation, query, subscription } from "../../../src/protocol/call/Operation.ts"
import { listEntryOf, schemaDocumentOf, specOf } from "../../../src/protocol/call/OperationSpec.ts"

class Gone extends Schema.TaggedError<Gone>()("Gone", { path: Schema.String }) {
  static readonly code = "GONE"
  static readonly httpStatus = 410
  static readonly description = "It was there."
}

const rulesOf = ({ requiredScopes, requiredScopesAny, resourceAction, resourceType }: AccessControl) => ({
  requiredScopes,
  requiredScopesAny,
  resourceAction,
  resourceType
})

describe("what another node says of its operations", () => {
  it("CALL-097 the documents of this node are read as what they describe", () => {
    const accesses = [
      AccessControl.open,
      AccessControl.scopes("a:b", "c:d"),
      AccessControl.anyScope(),
      AccessControl.scopes("a").and(AccessControl.anyScope("b", "c")).and(AccessControl.resource("box", "open")),
      AccessControl.resource("box"),
      AccessControl.resourceAction("open")
    ]
    for (const declare of [query, mutation, subscription]) {
      for (const access of accesses) {
        const input = Schema.Struct({ path: Schema.String })
        const spec = specOf(
          declare("fs/read", { input, output: Schema.Uint8Array, errors: [Gone], access, visibility: "external" })
        )
        const read = Result.getOrThrow(readDiscoveredSpec(schemaDocumentOf(spec), "fs/read"))
        assert.deepStrictEqual({ ...read, access: rulesOf(read.access) }, { ...spec, access: rulesOf(spec.access) })
        assert.deepStrictEqual(readListedNames({ operations: [listEntryOf(spec)] }), ["fs/read"])
      }
    }
  })

  it("CALL-100 property: whatever comes is read or refused, and what is read asks for no less than was said", () =>
    fc.assert(
      fc.property(
        fc.oneof(
          fc.jsonValue(),
          fc.record({
            op_type: fc.constantFrom<unknown>("query", "mutation", "subscription", "other", null, 5),
            access_control: fc.oneof(
              fc.jsonValue(),
              fc.record({
                required_scopes: fc.oneof(fc.jsonValue(), fc.array(fc.string())),
                required_scopes_any: fc.oneof(fc.jsonValue(), fc.array(fc.string())),
                resource_type: fc.oneof(fc.jsonValue(), fc.string()),
                resource_action: fc.oneof(fc.jsonValue(), fc.string())
              })
            ),
            error_schemas: fc.jsonValue()
          })
        ),
        (value) => {
          const json = JSON.parse(JSON.stringify(value)) as Schema.Json
          readListedNames(json)
          const read = readDiscoveredSpec(json, "a/b")
          if (Result.isFailure(read)) return
          const said = (json as { access_control?: Record<string, unknown> | null }).access_control ?? {}
          const rules = rulesOf(read.success.access)
          assert.deepStrictEqual(rules, {
            requiredScopes: [...new Set((said["required_scopes"] ?? []) as Array<string>)],
            requiredScopesAny: (said["required_scopes_any"] ?? null) as Array<string> | null,
            resourceType: (said["resource_type"] ?? null) as string | null,
            resourceAction: (said["resource_action"] ?? null) as string | null
          })
        }
      ),
      { numRuns: 2_000 }
    ))
})
