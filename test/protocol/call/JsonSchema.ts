/**
 * A validator for the part of JSON Schema (draft 2020-12) that operations are described with. A keyword that it does not
 * know is an error, so that nothing counts as checked that was not.
 */
import { isDeepStrictEqual } from "node:util"

type Document = Readonly<Record<string, unknown>>

const isObject = (value: unknown): value is Document =>
  typeof value === "object" && value !== null && !Array.isArray(value)

const types: Readonly<Record<string, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  number: (value) => typeof value === "number",
  integer: (value) => Number.isInteger(value),
  boolean: (value) => typeof value === "boolean",
  null: (value) => value === null,
  array: Array.isArray,
  object: isObject
}

/** Says nothing about what is valid. */
const ANNOTATIONS = new Set(["$defs", "title", "description", "default", "examples", "format", "contentEncoding"])

/** What each keyword asks of a value. A keyword about another type than the value's holds. */
const keywords: Readonly<
  Record<string, (value: unknown, argument: never, schema: Document, root: Document) => boolean>
> = {
  type: (value, argument: string) => types[argument]!(value),
  enum: (value, argument: ReadonlyArray<unknown>) => argument.some((one) => isDeepStrictEqual(one, value)),
  const: (value, argument: unknown) => isDeepStrictEqual(argument, value),
  anyOf: (value, argument: ReadonlyArray<Document>, _, root) => argument.some((one) => isValid(value, one, root)),
  oneOf: (value, argument: ReadonlyArray<Document>, _, root) =>
    argument.filter((one) => isValid(value, one, root)).length === 1,
  allOf: (value, argument: ReadonlyArray<Document>, _, root) => argument.every((one) => isValid(value, one, root)),
  not: (value, argument: Document, _, root) => !isValid(value, argument, root),
  $ref: (value, argument: string, _, root) => isValid(value, resolve(argument, root), root),
  minimum: (value, argument: number) => typeof value !== "number" || value >= argument,
  maximum: (value, argument: number) => typeof value !== "number" || value <= argument,
  exclusiveMinimum: (value, argument: number) => typeof value !== "number" || value > argument,
  exclusiveMaximum: (value, argument: number) => typeof value !== "number" || value < argument,
  multipleOf: (value, argument: number) => typeof value !== "number" || Number.isInteger(value / argument),
  // Characters are code points there.
  minLength: (value, argument: number) => typeof value !== "string" || [...value].length >= argument,
  maxLength: (value, argument: number) => typeof value !== "string" || [...value].length <= argument,
  pattern: (value, argument: string) => typeof value !== "string" || new RegExp(argument, "u").test(value),
  minItems: (value, argument: number) => !Array.isArray(value) || value.length >= argument,
  maxItems: (value, argument: number) => !Array.isArray(value) || value.length <= argument,
  uniqueItems: (value, argument: boolean) =>
    !Array.isArray(value) ||
    !argument ||
    value.every((one, index) => !value.slice(0, index).some((other) => isDeepStrictEqual(other, one))),
  prefixItems: (value, argument: ReadonlyArray<Document>, _, root) =>
    !Array.isArray(value) || argument.every((one, at) => at >= value.length || isValid(value[at], one, root)),
  items: (value, argument: Document | boolean, { prefixItems }, root) =>
    !Array.isArray(value) ||
    value.slice(Array.isArray(prefixItems) ? prefixItems.length : 0).every((one) => isValid(one, argument, root)),
  required: (value, argument: ReadonlyArray<string>) =>
    !isObject(value) || argument.every((name) => Object.hasOwn(value, name)),
  minProperties: (value, argument: number) => !isObject(value) || Object.keys(value).length >= argument,
  maxProperties: (value, argument: number) => !isObject(value) || Object.keys(value).length <= argument,
  properties: (value, argument: Document, _, root) =>
    !isObject(value) ||
    Object.entries(argument).every(
      ([name, one]) => !Object.hasOwn(value, name) || isValid(value[name], one as Document, root)
    ),
  patternProperties: (value, argument: Document, _, root) =>
    !isObject(value) ||
    Object.entries(argument).every(([pattern, one]) =>
      Object.entries(value).every(
        ([name, member]) => !new RegExp(pattern, "u").test(name) || isValid(member, one as Document, root)
      )
    ),
  propertyNames: (value, argument: Document, _, root) =>
    !isObject(value) || Object.keys(value).every((name) => isValid(name, argument, root)),
  additionalProperties: (value, argument: Document | boolean, { patternProperties, properties }, root) =>
    !isObject(value) ||
    Object.entries(value).every(
      ([name, member]) =>
        (isObject(properties) && Object.hasOwn(properties, name)) ||
        (isObject(patternProperties) &&
          Object.keys(patternProperties).some((pattern) => new RegExp(pattern, "u").test(name))) ||
        isValid(member, argument, root)
    )
}

const resolve = (reference: string, root: Document): Document => {
  const name = decodeURIComponent(reference.replace(/^#\/\$defs\//, ""))
    .replaceAll("~1", "/")
    .replaceAll("~0", "~")
  const found = isObject(root["$defs"]) ? root["$defs"][name] : undefined
  if (!isObject(found)) throw new Error(`nothing is called ${reference}`)
  return found
}

/** Whether the document lets the value through. */
export const isValid = (value: unknown, schema: Document | boolean, root = schema): boolean => {
  if (typeof schema === "boolean") return schema
  return Object.entries(schema).every(([keyword, argument]) => {
    if (ANNOTATIONS.has(keyword)) return true
    const check = keywords[keyword]
    if (check === undefined) throw new Error(`the validator does not know the keyword ${keyword}`)
    return check(value, argument as never, schema, root as Document)
  })
}
