/**
 * The documents of `services/schema` (call.md section 12) -> the text of a TypeScript module with declarations, for a typed
 * client of a node whose source nobody has.
 *
 * The same documents give the same text, in whatever order they come. The documents are a stranger's: names that are no
 * operation names are left out, and no text of them can leave its string literal. The module needs `alknet` and `effect`.
 */
import type { Schema } from "effect"
import { isProtocolCode } from "./CallError.ts"
import { block, keyOf, Names, pascalCase, quoted } from "./codegen/Names.ts"
import { fieldsOf, SchemaText } from "./codegen/SchemaText.ts"
import { isErrorCode, isOperationName, namespaceOf, type OperationKind } from "./Operation.ts"

export interface GenerateOptions {
  /** Whose operations they are; named in the module's head comment. */
  readonly nodeId?: string
}

type Document = Readonly<Record<string, Schema.Json>>

/** A document that an operation can be declared from. */
interface Described {
  readonly name: string
  readonly kind: OperationKind
  readonly document: Document
}

/** The text of a module that declares these operations. */
export const generateClient = (documents: ReadonlyArray<Schema.Json>, options: GenerateOptions = {}): string => {
  const described = distinct(documents.map(describe).filter((one) => one !== undefined))
  const writer = new ModuleText(described)
  const leftOut = documents.length - described.length
  return [
    head(options.nodeId, leftOut),
    ...(described.length === 0 ? [] : [`import { Schema } from "effect"\nimport { Operation } from "alknet"`]),
    ...writer.declarations,
    `/** For \`Client.make(connection, operations)\`. */\nexport const operations = ${writer.record} as const\n`
  ].join("\n\n")
}

const KINDS: ReadonlySet<Schema.Json | undefined> = new Set(["query", "mutation", "subscription"])

const isKind = (kind: Schema.Json | undefined): kind is OperationKind => KINDS.has(kind)

const isDocument = (document: Schema.Json | undefined): document is Document =>
  typeof document === "object" && document !== null && !Array.isArray(document)

const describe = (document: Schema.Json): Described | undefined => {
  if (!isDocument(document)) return undefined
  const { name, op_type: kind } = document
  return typeof name === "string" && isOperationName(name) && isKind(kind) ? { name, kind, document } : undefined
}

/** Sorted by name; of several with one name the first in the order of their text, so that the order in does not count. */
const distinct = (described: ReadonlyArray<Described>): ReadonlyArray<Described> => {
  const keyed = described.map((one) => ({ one, text: JSON.stringify(one.document) }))
  keyed.sort((a, b) => compare(a.one.name, b.one.name) || compare(a.text, b.text))
  return keyed.map(({ one }) => one).filter((one, index, all) => one.name !== all[index - 1]?.name)
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0)

const head = (nodeId: string | undefined, leftOut: number): string => {
  const whose = nodeId === undefined || !/^[a-z0-9]+$/.test(nodeId) ? "a node" : `the node ${nodeId}`
  const lines = [
    "/**",
    ` * The operations of ${whose}, generated from what it says of them. Generate it again instead of changing it.`,
    ...(leftOut === 0
      ? []
      : [` * Left out, because no operation can be declared from what the node says: ${leftOut}.`]),
    " */"
  ]
  return lines.join("\n")
}

/** Writes everything once, in the order of the names. */
class ModuleText {
  readonly declarations: ReadonlyArray<string>
  /** The operations by namespace and by what follows it. */
  readonly record: string
  readonly #names = new Names()
  readonly #schemas = new SchemaText(this.#names)
  /** Error classes that were written, by what they say. */
  readonly #errors = new Map<string, string>()
  readonly #errorTexts: Array<string> = []

  constructor(described: ReadonlyArray<Described>) {
    const identifiers = described.map(({ name }) => this.#names.take(pascalCase(name)))
    const operations = described.map((one, index) => this.#operation(one, identifiers[index]!))
    this.declarations = [...this.#schemas.declarations, ...this.#errorTexts, ...operations]
    this.record = recordOf(described, identifiers)
  }

  #operation({ document, kind, name }: Described, identifier: string): string {
    const errors = this.#errorsOf(document["error_schemas"])
    const options = [
      `input: ${this.#input(document["input_schema"])}`,
      `output: ${this.#schemas.write(document["output_schema"]).runtime}`,
      ...(errors.length === 0 ? [] : [`errors: [${errors.join(", ")}]`]),
      `visibility: "external"`
    ]
    return `export const ${identifier} = Operation.${kind}(${quoted(name)}, ${block("{", options, "}")})`
  }

  /** An operation without input says `{}`, and so does one that takes anything: both take what is left out. */
  #input(schema: Schema.Json | undefined): string {
    const { runtime } = this.#schemas.write(schema)
    return runtime === "Schema.Json" ? "Schema.UndefinedOr(Schema.Json)" : runtime
  }

  #errorsOf(schemas: Schema.Json | undefined): ReadonlyArray<string> {
    if (!Array.isArray(schemas)) return []
    const codes = new Set<string>()
    return schemas.flatMap((error: Schema.Json) => {
      const code = isDocument(error) ? error["code"] : undefined
      if (!isDocument(error) || typeof code !== "string" || !isErrorCode(code) || isProtocolCode(code)) return []
      if (codes.has(code)) return []
      codes.add(code)
      return [this.#error(code, error)]
    })
  }

  #error(code: string, error: Document): string {
    const key = JSON.stringify([code, error["schema"] ?? null, error["http_status"] ?? null])
    const known = this.#errors.get(key)
    if (known !== undefined) return known
    const identifier = this.#names.take(pascalCase(code))
    this.#errors.set(key, identifier)
    const properties = this.#schemas.properties(error["schema"])
    const fields = typeof properties === "string" ? [] : properties.filter(({ name }) => !isErrorMember(name))
    const hasAll = typeof properties !== "string" && fields.length === properties.length
    const status = error["http_status"]
    const members = [
      `static readonly code = ${quoted(code)}`,
      ...(Number.isSafeInteger(status) ? [`static readonly httpStatus = ${status}`] : [])
    ]
    this.#errorTexts.push(
      [
        ...(hasAll ? [] : ["// Some of its details are no fields that an error class can have: they are left out."]),
        `export class ${identifier} extends Schema.TaggedError<${identifier}>()(${quoted(identifier)}, ${fieldsOf(fields)}) {`,
        ...members.map((member) => `  ${member}`),
        "}"
      ].join("\n")
    )
    return identifier
  }
}

/** What every error has for itself. */
const ERROR_MEMBERS = new Set([
  "_tag",
  "asEffect",
  "cause",
  "message",
  "name",
  "pipe",
  "stack",
  "toJSON",
  "__proto__",
  ...Object.getOwnPropertyNames(Object.prototype)
])

const isErrorMember = (name: string): boolean => ERROR_MEMBERS.has(name)

const recordOf = (described: ReadonlyArray<Described>, identifiers: ReadonlyArray<string>): string => {
  const namespaces = new Map<string, { readonly names: Names; readonly lines: Array<string> }>()
  described.forEach(({ name }, index) => {
    const namespace = namespaceOf(name)
    const group = namespaces.get(namespace) ?? { names: new Names([]), lines: [] }
    namespaces.set(namespace, group)
    const method = group.names.take(name === namespace ? name : name.slice(namespace.length + 1))
    group.lines.push(`${keyOf(method)}: ${identifiers[index]}`)
  })
  return block(
    "{",
    [...namespaces].map(([namespace, { lines }]) => `${keyOf(namespace)}: ${block("{", lines, "}")}`),
    "}"
  )
}
