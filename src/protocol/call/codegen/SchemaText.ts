/**
 * JSON Schema (draft 2020-12) -> the text of an Effect Schema, for generated clients.
 *
 * It describes shapes, not bounds: a keyword that only narrows (`minimum`, `pattern`, `format`) is left to the node that
 * serves. A part whose shape is not understood becomes `Schema.Json`, with a comment that says why, so that nothing is
 * refused or stripped which the node takes or gives. Any value is accepted as input, however hostile: all text of it goes
 * into string literals, and a document is never expanded, so the output is as long as the input.
 *
 * | JSON Schema | Effect |
 * |---|---|
 * | string, boolean, null, number | `String`, `Boolean`, `Null`, `Finite`; `Int` where the bounds are those of safe integers |
 * | string in base64 with format `byte` | `Uint8Array` |
 * | number, or one of "NaN", "Infinity", "-Infinity" | `Number` |
 * | object with `properties` | `Struct`; others `Record` |
 * | array with `items`, tuple with `prefixItems` | `Array`, `Tuple` |
 * | `enum` and `const` of primitives | `Literals` |
 * | `anyOf`, `oneOf`, several types | `Union` |
 * | `$ref` into `$defs` | a declaration of its own, shared where it is the same |
 */
import type { Schema } from "effect"
import { block, keyOf, type Names, pascalCase, quoted, typeKeyOf } from "./Names.ts"

/** The text of a schema and of the type that it decodes to. */
export interface Written {
  readonly runtime: string
  readonly type: string
}

type Node = Readonly<Record<string, Schema.Json>>
type Definitions = Readonly<Record<string, Schema.Json>>

/** Deeper than this nothing is read. */
const DEPTH_MAX = 64

/** The longest schema, as compact JSON text, that is read. */
const SCHEMA_TEXT_MAX = 256 * 1024

/** The most definitions that one schema may bring. */
const DEFINITIONS_MAX = 128

/** Keywords that change the shape in ways that this does not follow. */
const SHAPING = [
  "allOf",
  "not",
  "if",
  "then",
  "else",
  "patternProperties",
  "dependentSchemas",
  "unevaluatedProperties",
  "unevaluatedItems",
  "$dynamicRef",
  "$id"
]

/** Of these a schema is made by one at a time. */
const CHOICES = ["$ref", "anyOf", "oneOf", "enum", "const"]

const STRUCTURE = ["type", "properties", "additionalProperties", "items", "prefixItems"]

const isNode = (value: Schema.Json | undefined): value is Node =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const own = (node: Node, key: string): Schema.Json | undefined => (Object.hasOwn(node, key) ? node[key] : undefined)

const isList = (value: Schema.Json | undefined): value is ReadonlyArray<Schema.Json> => Array.isArray(value)

const json: Written = { runtime: "Schema.Json", type: "Schema.Json" }
const never: Written = { runtime: "Schema.Never", type: "never" }

/** `Schema.Json`, and why. The reason is text of ours, never of the document. */
const unknown = (why: string): Written => ({ runtime: `Schema.Json /* ${why} */`, type: "Schema.Json" })

/** A property of an object, and whether it must be there. */
export interface Property {
  readonly name: string
  readonly written: Written
  readonly isRequired: boolean
}

export class SchemaText {
  readonly #names: Names
  /** The names of the definitions that were written, by what they say. */
  readonly #written = new Map<string, string>()
  readonly #identifiers = new WeakMap<Definitions, Map<string, string | undefined>>()
  readonly #declarations: Array<string> = []
  /** How many definitions are being written: their own names may not be there yet. */
  #defining = 0

  constructor(names: Names) {
    this.#names = names
  }

  /** What the schemas refer to, in an order in which nothing is used before it is there. */
  get declarations(): ReadonlyArray<string> {
    return this.#declarations
  }

  /** The text of a whole schema; absent is anything. */
  write(schema: Schema.Json | undefined): Written {
    return this.#open(schema, (root) => this.#node(schema ?? null, root, DEPTH_MAX), unknown)
  }

  /** The properties of a schema that is a plain object, or why it is none. */
  properties(schema: Schema.Json | undefined): ReadonlyArray<Property> | string {
    return this.#open<ReadonlyArray<Property> | string>(
      schema,
      (root) => {
        if (isNode(schema) && isEmptyStruct(schema)) return []
        if (!isNode(schema) || own(schema, "type") !== "object") return "it is no object"
        const obstacle = obstacleOf(schema, [...CHOICES, ...SHAPING])
        return obstacle ?? this.#properties(schema, root, DEPTH_MAX)
      },
      (why) => why
    )
  }

  #open<A>(schema: Schema.Json | undefined, read: (root: Definitions) => A, refuse: (why: string) => A): A {
    if (schema !== undefined && JSON.stringify(schema).length > SCHEMA_TEXT_MAX) return refuse("it is too long")
    const definitions = isNode(schema) ? own(schema, "$defs") : undefined
    const root = isNode(definitions) ? definitions : {}
    return Object.keys(root).length > DEFINITIONS_MAX ? refuse("it has too many definitions") : read(root)
  }

  #node(node: Schema.Json, root: Definitions, depth: number): Written {
    if (node === null || node === true) return json
    if (node === false) return never
    if (!isNode(node)) return unknown("no schema")
    if (depth === 0) return unknown("nested too deeply")
    if (isEmptyStruct(node)) return { runtime: "Schema.Struct({})", type: "{}" }
    const shaping = obstacleOf(node, SHAPING)
    if (shaping !== undefined) return unknown(shaping)
    const choices = CHOICES.filter((keyword) => Object.hasOwn(node, keyword))
    const [choice] = choices
    if (choice === undefined) return this.#typed(node, root, depth)
    if (choices.length > 1) return unknown(`${choices.join(" and ")} together`)
    if (choice === "enum" || choice === "const") return literals(choice === "enum" ? node["enum"] : [node["const"]!])
    const beside = obstacleOf(node, STRUCTURE)
    if (beside !== undefined) return unknown(`${choice} beside other keywords`)
    return choice === "$ref" ? this.#reference(node["$ref"], root) : this.#union(node[choice], root, depth)
  }

  #typed(node: Node, root: Definitions, depth: number): Written {
    const type = own(node, "type")
    if (isList(type)) return union(type.map((one) => this.#ofType(node, one, root, depth)))
    if (type !== undefined) return this.#ofType(node, type, root, depth)
    return obstacleOf(node, STRUCTURE) === undefined ? json : unknown("a shape without a type")
  }

  #ofType(node: Node, type: Schema.Json, root: Definitions, depth: number): Written {
    switch (type) {
      case "null":
        return { runtime: "Schema.Null", type: "null" }
      case "boolean":
        return { runtime: "Schema.Boolean", type: "boolean" }
      case "number":
        return { runtime: "Schema.Finite", type: "number" }
      case "integer":
        return { runtime: isSafeInteger(node) ? "Schema.Int" : "Schema.Finite", type: "number" }
      case "string":
        return own(node, "contentEncoding") === "base64" && own(node, "format") === "byte"
          ? { runtime: "Schema.Uint8Array", type: "Uint8Array" }
          : { runtime: "Schema.String", type: "string" }
      case "array":
        return this.#array(node, root, depth)
      case "object":
        return this.#object(node, root, depth)
      default:
        return unknown("a type that is not known")
    }
  }

  #array(node: Node, root: Definitions, depth: number): Written {
    const prefix = own(node, "prefixItems")
    const items = own(node, "items")
    if (prefix === undefined) {
      const item = items === undefined ? json : this.#node(items, root, depth - 1)
      return { runtime: `Schema.Array(${item.runtime})`, type: `ReadonlyArray<${item.type}>` }
    }
    const isExact = isList(prefix) && own(node, "minItems") === prefix.length
    if (!isExact || (items !== false && own(node, "maxItems") !== prefix.length)) {
      return { runtime: "Schema.Array(Schema.Json /* a tuple of any length */)", type: "ReadonlyArray<Schema.Json>" }
    }
    const elements = prefix.map((element) => this.#node(element, root, depth - 1))
    return {
      runtime: `Schema.Tuple([${elements.map((element) => element.runtime).join(", ")}])`,
      type: `readonly [${elements.map((element) => element.type).join(", ")}]`
    }
  }

  #object(node: Node, root: Definitions, depth: number): Written {
    const others = own(node, "additionalProperties")
    const isTyped = isNode(others) && Object.keys(others).length > 0
    if (!Object.hasOwn(node, "properties") && !Object.hasOwn(node, "required")) {
      if (others === false) return { runtime: "Schema.Record(Schema.String, Schema.Never)", type: recordOf("never") }
      const value = isTyped ? this.#node(others, root, depth - 1) : json
      return { runtime: `Schema.Record(Schema.String, ${value.runtime})`, type: recordOf(value.type) }
    }
    const properties = isTyped ? "named members beside others" : this.#properties(node, root, depth)
    return typeof properties === "string" ? unknown(properties) : structOf(properties)
  }

  #properties(node: Node, root: Definitions, depth: number): ReadonlyArray<Property> | string {
    const properties = own(node, "properties") ?? {}
    const required = own(node, "required") ?? []
    if (!isNode(properties) || !isList(required)) return "no schema"
    const names = new Set(required.filter((name) => typeof name === "string"))
    return [...new Set([...Object.keys(properties), ...names])].map((name) => ({
      name,
      written: Object.hasOwn(properties, name) ? this.#node(properties[name]!, root, depth - 1) : json,
      isRequired: names.has(name)
    }))
  }

  #union(members: Schema.Json | undefined, root: Definitions, depth: number): Written {
    return isList(members) ? union(members.map((member) => this.#node(member, root, depth - 1))) : unknown("no schema")
  }

  #reference(reference: Schema.Json | undefined, root: Definitions): Written {
    const name = definitionOf(reference)
    if (name === undefined || !Object.hasOwn(root, name)) return unknown("a reference that leads nowhere")
    const identifier = this.#identifierOf(name, root)
    if (identifier === undefined) return unknown("a definition that is only itself")
    if (this.#defining === 0) return { runtime: identifier, type: identifier }
    return { runtime: `Schema.suspend((): Schema.Codec<${identifier}> => ${identifier})`, type: identifier }
  }

  /** Found out once for each definition of a schema, however often that refers to it. */
  #identifierOf(name: string, root: Definitions): string | undefined {
    const known = this.#identifiers.get(root) ?? new Map<string, string | undefined>()
    this.#identifiers.set(root, known)
    if (!known.has(name)) known.set(name, isDirectCycle(name, root) ? undefined : this.#define(name, root))
    return known.get(name)
  }

  #define(name: string, root: Definitions): string {
    const key = JSON.stringify([name, ...reachable(name, root).map((one) => [one, root[one]!])])
    const known = this.#written.get(key)
    if (known !== undefined) return known
    const identifier = this.#names.take(pascalCase(name))
    this.#written.set(key, identifier)
    this.#defining++
    const { runtime, type } = this.#node(root[name]!, root, DEPTH_MAX)
    this.#defining--
    this.#declarations.push(
      `export type ${identifier} = ${type}\nexport const ${identifier}: Schema.Codec<${identifier}> = ${runtime}`
    )
    return identifier
  }
}

/** The text of a struct. */
export const structOf = (properties: ReadonlyArray<Property>): Written => ({
  runtime: `Schema.Struct(${fieldsOf(properties)})`,
  type: `{ ${properties
    .map(({ isRequired, name, written }) => `readonly ${typeKeyOf(name)}${isRequired ? "" : "?"}: ${written.type}`)
    .join("; ")} }`
})

/** The text of the fields of a struct or of an error. */
export const fieldsOf = (properties: ReadonlyArray<Property>): string =>
  block(
    "{",
    properties.map(({ isRequired, name, written: { runtime } }) =>
      isRequired ? `${keyOf(name)}: ${runtime}` : `${keyOf(name)}: Schema.optionalKey(${runtime})`
    ),
    "}"
  )

const recordOf = (type: string): string => `{ readonly [name: string]: ${type} }`

const obstacleOf = (node: Node, keywords: ReadonlyArray<string>): string | undefined => {
  const found = keywords.find((keyword) => Object.hasOwn(node, keyword))
  return found === undefined ? undefined : `${found} is not understood`
}

/** What a struct without members looks like from outside: anything but null. */
const isEmptyStruct = (node: Node): boolean => {
  const not = own(node, "not")
  return isNode(not) && not["type"] === "null" && Object.keys(node).length + Object.keys(not).length === 2
}

const isSafeInteger = (node: Node): boolean =>
  Number.isSafeInteger(own(node, "minimum")) && Number.isSafeInteger(own(node, "maximum"))

const literals = (values: Schema.Json | undefined): Written => {
  if (!isList(values)) return unknown("no schema")
  const written = values.map((value): Written | undefined => {
    if (value === null) return { runtime: "Schema.Null", type: "null" }
    const isPrimitive = typeof value === "string" || typeof value === "boolean" || Number.isFinite(value)
    if (!isPrimitive) return undefined
    const text = typeof value === "string" ? quoted(value) : String(value)
    return { runtime: `Schema.Literal(${text})`, type: text }
  })
  const known = written.filter((one) => one !== undefined)
  return known.length < written.length ? unknown("a literal that is not primitive") : union(known)
}

/** What `Schema.Number` looks like from outside. */
const NUMBER = new Set([
  "Schema.Finite",
  ...["Infinity", "-Infinity", "NaN"].map((name) => `Schema.Literal("${name}")`)
])

const union = (members: ReadonlyArray<Written>): Written => {
  const flat = members.flatMap((member) => (member instanceof Union ? member.members : [member]))
  const distinct = [...new Map(flat.map((member) => [member.runtime, member])).values()]
  const [first] = distinct
  if (first === undefined) return never
  if (distinct.length === 1) return first
  if (distinct.length === NUMBER.size && distinct.every(({ runtime }) => NUMBER.has(runtime))) {
    return { runtime: "Schema.Number", type: "number" }
  }
  return new Union(distinct)
}

class Union implements Written {
  readonly members: ReadonlyArray<Written>

  constructor(members: ReadonlyArray<Written>) {
    this.members = members
  }

  get runtime(): string {
    const texts = this.members.map(({ runtime }) => LITERAL.exec(runtime)?.[1])
    const isLiteral = texts.every((text) => text !== undefined)
    return isLiteral
      ? `Schema.Literals([${texts.join(", ")}])`
      : `Schema.Union([${this.members.map(({ runtime }) => runtime).join(", ")}])`
  }

  get type(): string {
    return this.members.map(({ type }) => type).join(" | ")
  }
}

const LITERAL = /^Schema\.Literal\((.*)\)$/

const DEFINITION = "#/$defs/"

/** The name that a reference means; undefined where it means something else. */
const definitionOf = (reference: Schema.Json | undefined): string | undefined => {
  if (typeof reference !== "string" || !reference.startsWith(DEFINITION)) return undefined
  const pointer = reference.slice(DEFINITION.length)
  if (pointer.includes("/")) return undefined
  try {
    return decodeURIComponent(pointer).replaceAll("~1", "/").replaceAll("~0", "~")
  } catch {
    return undefined
  }
}

/** The definitions that a part of a schema names; `direct`: those that stand for it with nothing around them. */
const referencesIn = (part: Schema.Json, isDirect: boolean): ReadonlyArray<string> => {
  if (isList(part)) return part.flatMap((one) => referencesIn(one, isDirect))
  if (!isNode(part)) return []
  return Object.entries(part).flatMap(([key, value]) => {
    const name = key === "$ref" ? definitionOf(value) : undefined
    if (name !== undefined) return [name]
    return isDirect && key !== "anyOf" && key !== "oneOf" ? [] : referencesIn(value, isDirect)
  })
}

/** The definitions that a definition leads to, sorted. */
const reachable = (name: string, root: Definitions, isDirect = false): ReadonlyArray<string> => {
  const found = new Set<string>()
  const open = [name]
  for (let next = open.pop(); next !== undefined; next = open.pop()) {
    for (const reference of referencesIn(root[next]!, isDirect)) {
      if (found.has(reference) || !Object.hasOwn(root, reference)) continue
      found.add(reference)
      open.push(reference)
    }
  }
  return [...found].sort()
}

/** A type that is made of itself alone, or of a choice with itself, is none. */
const isDirectCycle = (name: string, root: Definitions): boolean => reachable(name, root, true).includes(name)
