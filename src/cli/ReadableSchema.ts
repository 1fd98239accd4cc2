/**
 * JSON Schema as people read it: the shape of a value in the notation of TypeScript, and beside each part what is said of it.
 *
 * ```
 * {
 *   path: string     where it is; 1 to 80 characters
 *   kind: "file" | "folder"
 *   limit?: integer  1 to 9
 * }
 * ```
 *
 * The schema is a peer's: whatever it holds, the text is printable and no longer than its bounds. What is not understood is
 * shown as `any`; the whole document is there with `--json`.
 */
import { Predicate, type Schema } from "effect"
import { displayWidth } from "effect/cli/CliOutput"
import { printableShort } from "./Printable.ts"

/** Deeper than this a part is shown as `…`. */
const DEPTH_MAX = 8

/** At most so many parts are shown. */
const PARTS_MAX = 400

/** At most so many choices of one value. */
const CHOICES_MAX = 12

type Node = Readonly<Record<string, unknown>>

interface Line {
  readonly depth: number
  readonly text: string
  readonly note: string
}

/** A shape: one line where there is no body. */
interface Shape {
  readonly head: string
  readonly body: ReadonlyArray<Line>
  readonly tail: string
}

/** The lines of a schema, for a terminal. */
export const schemaLines = (schema: Schema.Json): ReadonlyArray<string> => {
  const lines = linesOf(new Reader(schema).shape(schema, 0), "", noteOf(schema))
  const texts = lines.map(({ depth, text }) => "  ".repeat(depth) + text)
  const column = Math.min(
    40,
    Math.max(0, ...texts.map((text, index) => (lines[index]!.note === "" ? 0 : displayWidth(text))))
  )
  return texts.map((text, index) => {
    const { note } = lines[index]!
    return note === "" ? text : `${text}${" ".repeat(Math.max(0, column - displayWidth(text)))}  ${note}`
  })
}

/** The same on one line, without what is said of the parts. */
export const schemaLine = (schema: Schema.Json): string => inline(new Reader(schema).shape(schema, 0))

const oneLine = (head: string): Shape => ({ head, body: [], tail: "" })

const linesOf = ({ body, head, tail }: Shape, name: string, note: string): ReadonlyArray<Line> =>
  body.length === 0
    ? [{ depth: 0, text: name + head + tail, note }]
    : [{ depth: 0, text: name + head, note }, ...body, { depth: 0, text: tail, note: "" }]

const inline = ({ body, head, tail }: Shape): string => {
  let text = head
  for (const line of body) {
    text += text.endsWith("{") || line.text.startsWith("}") ? " " : ", "
    text += line.text
  }
  return body.length === 0 ? head + tail : `${text} ${tail}`
}

const isNode = (value: unknown): value is Node => Predicate.isObject(value) && !Array.isArray(value)

const listOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : [])

const own = (node: Node, key: string): unknown => (Object.hasOwn(node, key) ? node[key] : undefined)

const NAME = /^[A-Za-z_$][\w$]*$/

const literal = (value: unknown): string => printableShort(JSON.stringify(value) ?? "any")

class Reader {
  readonly #definitions: Node
  #parts = 0

  constructor(root: Schema.Json) {
    const definitions = isNode(root) ? own(root, "$defs") : undefined
    this.#definitions = isNode(definitions) ? definitions : {}
  }

  shape(schema: unknown, depth: number): Shape {
    if (!isNode(schema)) return oneLine(schema === false ? "never" : "any")
    if (depth > DEPTH_MAX || ++this.#parts > PARTS_MAX) return oneLine("…")
    const reference = own(schema, "$ref")
    if (typeof reference === "string") return this.#referred(reference, depth)
    if (Object.hasOwn(schema, "const")) return oneLine(literal(schema["const"]))
    if (Object.hasOwn(schema, "enum")) return oneLine(choices(listOf(schema["enum"]).map(literal)))
    const variants = own(schema, "anyOf") ?? own(schema, "oneOf")
    if (Array.isArray(variants)) return this.#union(variants, depth)
    const type = own(schema, "type")
    if (Array.isArray(type))
      return this.#union(
        type.map((one) => ({ ...schema, type: one })),
        depth
      )
    return this.#typed(schema, type, depth)
  }

  #typed(schema: Node, type: unknown, depth: number): Shape {
    switch (type) {
      case "object":
        return this.#object(schema, depth)
      case "array":
        return this.#array(schema, depth)
      case "string":
      case "integer":
      case "number":
      case "boolean":
      case "null":
        return oneLine(type)
      default:
        // Effect's word for an object without members.
        return oneLine(Object.hasOwn(schema, "not") ? "{}" : "any")
    }
  }

  /** A definition is shown where it is used; one that is inside itself ends at the depth that is shown. */
  #referred(reference: string, depth: number): Shape {
    const name = /^#\/\$defs\/(.+)$/.exec(reference)?.[1]
    return name !== undefined && Object.hasOwn(this.#definitions, name)
      ? this.shape(this.#definitions[name], depth + 1)
      : oneLine("any")
  }

  #union(variants: ReadonlyArray<unknown>, depth: number): Shape {
    const shapes = variants.slice(0, CHOICES_MAX + 1).map((variant) => this.shape(variant, depth + 1))
    const [first] = shapes
    // What may be absent keeps its lines.
    if (first !== undefined && shapes.length === 2 && first.body.length > 0 && shapes[1]!.body.length === 0) {
      return { ...first, tail: `${first.tail} | ${inline(shapes[1]!)}` }
    }
    return oneLine(choices(shapes.map(inline)))
  }

  #array(schema: Node, depth: number): Shape {
    const prefix = own(schema, "prefixItems")
    if (Array.isArray(prefix)) {
      return oneLine(
        `[${prefix
          .slice(0, CHOICES_MAX)
          .map((one) => inline(this.shape(one, depth + 1)))
          .join(", ")}]`
      )
    }
    const item = this.shape(own(schema, "items"), depth + 1)
    if (item.body.length > 0) return { ...item, tail: `${item.tail}[]` }
    return oneLine(item.head.includes(" | ") ? `(${item.head})[]` : `${item.head}[]`)
  }

  #object(schema: Node, depth: number): Shape {
    const properties = own(schema, "properties")
    const others = own(schema, "additionalProperties")
    if (!isNode(properties)) {
      return oneLine(isNode(others) ? `{ [name]: ${inline(this.shape(others, depth + 1))} }` : "{}")
    }
    const required = new Set(listOf(own(schema, "required")))
    const body: Array<Line> = []
    for (const [key, value] of Object.entries(properties)) {
      if (this.#parts >= PARTS_MAX) {
        body.push({ depth: 1, text: "…", note: "" })
        break
      }
      const name = `${NAME.test(key) ? key : literal(key)}${required.has(key) ? "" : "?"}: `
      const lines = linesOf(this.shape(value, depth + 1), name, noteOf(value))
      body.push(...lines.map((line) => ({ ...line, depth: line.depth + 1 })))
    }
    return body.length === 0 ? oneLine("{}") : { head: "{", body, tail: "}" }
  }
}

const choices = (all: ReadonlyArray<string>): string => {
  const distinct = [...new Set(all)]
  return distinct.length > CHOICES_MAX
    ? `${distinct.slice(0, CHOICES_MAX).join(" | ")} | …`
    : distinct.join(" | ") || "never"
}

/** What is said of a part beside its shape: its description, then its bounds. */
const noteOf = (schema: unknown): string => {
  if (!isNode(schema)) return ""
  const description = own(schema, "description")
  const pattern = own(schema, "pattern")
  const format = own(schema, "format")
  return [
    typeof description === "string" ? printableShort(description.trim().replaceAll(/\s+/g, " ")) : "",
    boundsOf(schema, "minimum", "maximum", ""),
    boundsOf(schema, "minLength", "maxLength", " characters"),
    Object.hasOwn(schema, "prefixItems") ? "" : boundsOf(schema, "minItems", "maxItems", " items"),
    typeof pattern === "string" ? `matches ${printableShort(pattern)}` : "",
    own(schema, "contentEncoding") === "base64" ? "base64" : typeof format === "string" ? printableShort(format) : "",
    Object.hasOwn(schema, "default") ? `default ${literal(schema["default"])}` : ""
  ]
    .filter(Boolean)
    .join("; ")
}

/** Bounds that only say that a number is a safe integer say nothing. */
const boundsOf = (schema: Node, lower: string, upper: string, unit: string): string => {
  const [low, high] = [own(schema, lower), own(schema, upper)].map((bound) =>
    typeof bound === "number" && Math.abs(bound) < Number.MAX_SAFE_INTEGER ? bound : undefined
  )
  if (low !== undefined && high !== undefined) return low === high ? `${low}${unit}` : `${low} to ${high}${unit}`
  if (low !== undefined) return `at least ${low}${unit}`
  return high === undefined ? "" : `at most ${high}${unit}`
}
