/** Documents of `services/schema` that want out of the text that is made of them. The same seed gives the same documents. */
import type { Schema } from "effect"

const TEXTS = [
  "a",
  "path",
  "__proto__",
  "constructor",
  "toString",
  "then",
  "kind",
  "class",
  "Schema",
  "Operation",
  "ReadonlyArray",
  "Object",
  "operations",
  "message",
  "name",
  "stack",
  "_tag",
  "",
  "1",
  " ",
  "*/ globalThis.escaped = 1 /*",
  `"); globalThis.escaped = 1; ("`,
  "${globalThis.escaped = 1}",
  "`; globalThis.escaped = 1; `",
  "'\n globalThis.escaped = 1 //",
  "\u2028globalThis.escaped = 1\u2029",
  "\r\n",
  "\\",
  '\\"',
  "\u0000",
  "é",
  "𝒳",
  "\ud800",
  "</script>",
  "x".repeat(300)
]

const NAMES = [
  "fs/readFile",
  "fs/read-file",
  "fs/read.file",
  "fs",
  "fs/fs",
  "__proto__/__proto__",
  "constructor",
  "Schema",
  "operations",
  "1/2",
  "-/-",
  "a/b/c/d",
  "FS/READ_FILE"
]

const KEYWORDS = ["type", "properties", "items", "anyOf", "oneOf", "enum", "const", "$ref", "allOf", "prefixItems"]
const TYPES = ["string", "number", "integer", "boolean", "null", "array", "object"]

/** A small generator of our own: which numbers it gives does not change with a library. */
const randomOf = (seed: number) => {
  let state = seed
  return (below: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return Math.floor((state / 2 ** 32) * below)
  }
}

export const hostileDocuments = (seed: number): ReadonlyArray<Schema.Json> => {
  const random = randomOf(seed)
  const pick = <A>(from: ReadonlyArray<A>): A => from[random(from.length)]!
  const many = <A>(make: () => A): ReadonlyArray<A> => Array.from({ length: random(4) }, make)
  const record = (value: () => Schema.Json): Schema.Json =>
    Object.fromEntries(many((): [string, Schema.Json] => [pick(TEXTS), value()]))

  const anything = (depth: number): Schema.Json =>
    pick<() => Schema.Json>([
      () => pick(TEXTS),
      () => pick([0, -1, 1e21, Number.POSITIVE_INFINITY, 0.5]),
      () => pick([true, false, null]),
      () => (depth === 0 ? [] : many(() => anything(depth - 1))),
      () => (depth === 0 ? {} : record(() => anything(depth - 1)))
    ])()

  const schema = (depth: number): Schema.Json => {
    if (depth === 0) return pick<Schema.Json>([{}, true, false, { type: pick(TYPES) }])
    const inner = () => schema(depth - 1)
    return pick<() => Schema.Json>([
      () => ({
        type: pick(TYPES),
        description: pick(TEXTS),
        default: anything(2),
        format: pick(["byte", pick(TEXTS)])
      }),
      () => ({ type: "string", format: "byte", contentEncoding: "base64" }),
      () => ({ type: "object", properties: record(inner), required: many(() => pick(TEXTS)) }),
      () => ({ type: "object", additionalProperties: inner() }),
      () => ({ type: "array", items: inner() }),
      () => ({ type: "array", prefixItems: [inner(), inner()], minItems: 2, maxItems: 2 }),
      () => ({ enum: many(() => anything(1)) }),
      () => ({ enum: many(() => pick(TEXTS)) }),
      () => ({ const: pick(TEXTS) }),
      () => ({ anyOf: [...many(inner)] }),
      () => ({ oneOf: [...many(inner)] }),
      () => ({ $ref: `#/$defs/${encodeURIComponent(pick(["A", "B", "class", "*/"]))}` }),
      () => ({ [pick(KEYWORDS)]: anything(2) }),
      () => ({ [pick(KEYWORDS)]: anything(1), [pick(KEYWORDS)]: inner() }),
      () => anything(2)
    ])()
  }

  const whole = (): Schema.Json => {
    const made = schema(3)
    if (typeof made !== "object" || made === null || Array.isArray(made)) return made
    return { ...made, $defs: { A: schema(2), B: schema(2), class: schema(2), "*/": schema(2) } }
  }

  return Array.from({ length: 1 + random(8) }, () => ({
    name: random(3) === 0 ? pick(TEXTS) : pick(NAMES),
    op_type: pick(["query", "mutation", "subscription", "subscription", pick(TEXTS)]),
    input_schema: whole(),
    output_schema: whole(),
    error_schemas: many(() => ({
      code: pick(["FILE_NOT_FOUND", "A", "A_", "HTTP_404", "INTERNAL", pick(TEXTS)]),
      description: pick(TEXTS),
      schema: whole(),
      http_status: pick<Schema.Json>([404, "404", null, Number.POSITIVE_INFINITY])
    })),
    [pick(TEXTS)]: anything(2)
  }))
}
