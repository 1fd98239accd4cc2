import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import fc from "fast-check"
import { printable } from "../../src/cli/Printable.ts"
import { schemaLine, schemaLines } from "../../src/cli/ReadableSchema.ts"
import { specOf } from "../../src/protocol/call/OperationSpec.ts"
import { Operation } from "../../src/services/Operation.ts"

const documentOf = <A>(output: Schema.Codec<A, unknown>): Schema.Json =>
  specOf(Operation.query("a/b", { output })).outputSchema

const Point = Schema.Struct({ x: Schema.Finite, y: Schema.Finite }).annotate({ identifier: "Point" })

describe("a schema for people", () => {
  it("shows names, types and what is said of them", () => {
    const document = documentOf(
      Schema.Struct({
        path: Schema.String.annotate({ description: "where it\nis" }).check(
          Schema.isMinLength(1),
          Schema.isMaxLength(80)
        ),
        limit: Schema.optionalKey(Schema.Int.check(Schema.isBetween({ minimum: 1, maximum: 9 }))),
        kind: Schema.Literals(["file", "folder"]),
        "two words": Schema.Union([Schema.String, Schema.Null]),
        points: Schema.Array(Point),
        sizes: Schema.Record(Schema.String, Schema.Int),
        data: Schema.Uint8Array,
        pair: Schema.Tuple([Schema.String, Schema.Boolean])
      })
    )
    assert.deepStrictEqual(schemaLines(document), [
      "{",
      "  path: string     where it is; 1 to 80 characters",
      "  limit?: integer  1 to 9",
      '  kind: "file" | "folder"',
      '  "two words": string | null',
      "  points: {",
      "    x: number",
      "    y: number",
      "  }[]",
      "  sizes: { [name]: integer }",
      "  data: string     base64",
      "  pair: [string, boolean]",
      "}"
    ])
    assert.strictEqual(
      schemaLine(document),
      '{ path: string, limit?: integer, kind: "file" | "folder", "two words": string | null, points: { x: number, y: number }[], sizes: { [name]: integer }, data: string, pair: [string, boolean] }'
    )
  })

  it("of nothing, of anything and of what contains itself ends", () => {
    assert.strictEqual(schemaLine({}), "any")
    assert.strictEqual(schemaLine(documentOf(Schema.Void)), "null")
    assert.strictEqual(schemaLine(null), "any")
    const tree = { $ref: "#/$defs/T", $defs: { T: { type: "object", properties: { t: { $ref: "#/$defs/T" } } } } }
    assert.include(schemaLine(tree), "…")
    const wide = {
      type: "array",
      items: { $ref: "#/$defs/T" },
      $defs: { T: { anyOf: Array(50).fill({ $ref: "#/$defs/T" }) } }
    }
    assert.isBelow(schemaLine(wide).length, 10_000)
  })

  it("is printable, bounded and never fails, whatever a peer sends", () => {
    const keys = fc.constantFrom(
      "type",
      "properties",
      "items",
      "anyOf",
      "enum",
      "$ref",
      "$defs",
      "description",
      "required",
      "const",
      "minimum",
      "prefixItems",
      "__proto__",
      "\u001b[2J"
    )
    const hostile = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 5 },
        fc.constantFrom("object", "array", "string", "\u001b[31m\n", "#/$defs/type", null, true, 7),
        fc.dictionary(keys, tie("node"), { maxKeys: 4 }),
        fc.array(tie("node"), { maxLength: 4 })
      )
    })).node
    fc.assert(
      fc.property(hostile, (schema) => {
        for (const line of [...schemaLines(schema as Schema.Json), schemaLine(schema as Schema.Json)]) {
          assert.strictEqual(line, printable(line))
        }
      })
    )
  })
})
