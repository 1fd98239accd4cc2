/** The published documents against the codecs (call.md section 10). */
import { assert, describe, it } from "@effect/vitest"
import { Arbitrary, Effect, Exit, Schema } from "effect"
import fc from "fast-check"
import { type OperationSchema, query } from "../../../src/protocol/call/Operation.ts"
import { codecOf } from "../../../src/protocol/call/OperationCodec.ts"
import { specOf } from "../../../src/protocol/call/OperationSpec.ts"
import { isValid } from "./JsonSchema.ts"

interface Tree {
  readonly value: number
  readonly kids: ReadonlyArray<Tree>
}
const Tree: OperationSchema<Tree> & Schema.Codec<Tree, Tree> = Schema.Struct({
  value: Schema.Finite,
  kids: Schema.Array(Schema.suspend((): Schema.Codec<Tree, Tree> => Tree))
}).annotate({ identifier: "Tree" })

class Point extends Schema.Class<Point>("Point")({ x: Schema.Int, y: Schema.optionalKey(Schema.Finite) }) {}

type Any = Schema.Codec<unknown, unknown>

const leaves: ReadonlyArray<Schema.Codec<never, unknown> | Any> = [
  Schema.String,
  Schema.Number,
  Schema.Finite,
  Schema.Int,
  Schema.Boolean,
  Schema.Null,
  Schema.Uint8Array,
  Schema.BigInt,
  Schema.Date,
  Schema.Duration,
  Schema.FiniteFromString,
  Schema.Literals(["a", 1, true]),
  Schema.Enum({ A: "a", B: 2 }),
  Schema.TemplateLiteral(["a-", Schema.Int]),
  Schema.String.check(Schema.isMinLength(2), Schema.isMaxLength(4)),
  Schema.String.check(Schema.isPattern(/^[a-f]+$/)),
  Schema.Int.check(Schema.isBetween({ minimum: -3, maximum: 9 })),
  Schema.Array(Schema.Int).check(Schema.isMinLength(1)),
  Schema.UniqueArray(Schema.Int),
  Schema.TaggedUnion({ A: { n: Schema.Int }, B: { s: Schema.String } }),
  Schema.Option(Schema.Int),
  Tree,
  Point
]

/** Any Schema that a declaration may use, a few levels deep. */
const schemas = fc.letrec<{ schema: Any; leaf: Any }>((tie) => ({
  leaf: fc.constantFrom(...(leaves as ReadonlyArray<Any>)),
  schema: fc.oneof(
    { maxDepth: 3, withCrossShrink: true },
    tie("leaf"),
    tie("schema").map((one) => Schema.Array(one) as Any),
    tie("schema").map((one) => Schema.NullOr(one) as Any),
    tie("schema").map((one) => Schema.NonEmptyArray(one) as Any),
    tie("schema").map((one) => Schema.Record(Schema.String, one) as Any),
    fc.tuple(tie("schema"), tie("schema")).map((both) => Schema.Union(both) as Any),
    fc.tuple(tie("schema"), tie("schema")).map(([a, b]) => Schema.Tuple([a, Schema.optionalKey(b)]) as Any),
    fc
      .tuple(tie("schema"), tie("schema"), tie("schema"))
      .map(
        ([a, b, c]) =>
          Schema.Struct({ a, b: Schema.optionalKey(b), c: Schema.optional(c), d: Schema.UndefinedOr(c) }) as Any
      )
  )
})).schema

/** What a peer may send instead: members left out, added, changed. */
const mutations = fc.array(fc.tuple(fc.nat(40), fc.oneof(fc.jsonValue(), fc.constant(undefined))), { maxLength: 3 })

const UNKNOWN = "unknown-member"

/** The value with some of its parts replaced, taken out or extended, counted in the order in which they are visited. */
const mutate = (value: Schema.Json, changes: ReadonlyArray<readonly [number, unknown]>): Schema.Json => {
  let at = 0
  const walk = (part: Schema.Json): Schema.Json | undefined => {
    const change = changes.find(([index]) => index === at)
    at++
    if (change !== undefined) return change[1] as Schema.Json | undefined
    if (Array.isArray(part)) return part.map(walk).filter((one) => one !== undefined)
    if (typeof part !== "object" || part === null) return part
    const members = Object.entries(part).flatMap(([name, one]) => {
      const walked = walk(one)
      return walked === undefined ? [] : [[name, walked] as const]
    })
    return Object.fromEntries(members)
  }
  return walk(value) ?? null
}

const declared = (input: Any) => query("a/b", { input, output: Schema.Void })

const samplesOf = (schema: Any, seed: number) =>
  Effect.runSync(Arbitrary.sampleEffect(Arbitrary.schema(schema), { count: 3, size: 4, seed }))

const decoded = (schema: Any, json: Schema.Json) => Effect.runSyncExit(codecOf(declared(schema)).decodeInput(json))
const encoded = (schema: Any, value: unknown) =>
  Effect.runSync(codecOf(declared(schema)).encodeInput(value)) as Schema.Json

describe("the description of an operation", () => {
  it("CALL-081 property: the document lets through whatever the codec accepts", () => {
    let accepted = 0
    fc.assert(
      fc.property(schemas, fc.integer(), mutations, (schema, seed, changes) => {
        const { inputSchema } = specOf(declared(schema))
        for (const value of samplesOf(schema, seed)) {
          const json = JSON.parse(JSON.stringify(encoded(schema, value))) as Schema.Json
          for (const one of [json, mutate(json, changes)]) {
            if (Exit.isFailure(decoded(schema, one))) continue
            accepted++
            const said = `${JSON.stringify(inputSchema)} refuses ${JSON.stringify(one)}`
            assert.isTrue(isValid(one, inputSchema as Record<string, unknown>), said)
          }
        }
      }),
      { numRuns: 300 }
    )
    assert.isAbove(accepted, 900)
  })

  it("CALL-081 property: what the codec makes of a value, its document lets through, and nothing of it is refused", () => {
    fc.assert(
      fc.property(schemas, fc.integer(), (schema, seed) => {
        for (const value of samplesOf(schema, seed)) {
          assert.isTrue(Exit.isSuccess(decoded(schema, encoded(schema, value))))
        }
      }),
      { numRuns: 200 }
    )
  })

  it("CALL-081 unknown members are stripped on every level, and the document allows them", () => {
    const Deep = Schema.Struct({ list: Schema.Array(Schema.Struct({ a: Schema.Int })), inner: Point })
    const more = { [UNKNOWN]: 1, ["__proto__"]: 2, constructor: 3 }
    const input = { list: [{ a: 1, ...more }], inner: { x: 1, ...more }, ...more }
    assert.isTrue(isValid(input, specOf(declared(Deep)).inputSchema as Record<string, unknown>))
    const exit = decoded(Deep, input)
    assert.isTrue(Exit.isSuccess(exit))
    if (Exit.isSuccess(exit)) {
      assert.deepStrictEqual(JSON.parse(JSON.stringify(exit.value)), { list: [{ a: 1 }], inner: { x: 1 } })
    }
  })

  it("CALL-081 the validator can say no", () => {
    const document = specOf(declared(Schema.Struct({ a: Schema.Int, b: Schema.Array(Tree) }))).inputSchema
    const says = (value: unknown) => isValid(value, document as Record<string, unknown>)
    assert.isTrue(says({ a: 1, b: [{ value: 1, kids: [{ value: 2, kids: [] }] }] }))
    assert.isFalse(says({ a: 1.5, b: [] }))
    assert.isFalse(says({ b: [] }))
    assert.isFalse(says({ a: 1, b: [{ value: 1, kids: [{ value: "2", kids: [] }] }] }))
    assert.throws(() => isValid(1, { surprise: 1 }))
  })
})
