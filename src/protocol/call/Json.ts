/**
 * JSON text <-> values, with the bounds that the call protocol sets (CALL-R06, CALL-R07, CALL-R09, CALL-R11).
 *
 * In: bytes must be valid UTF-8 without a byte order mark, and nested at most `MAX_DEPTH` levels deep, objects and arrays
 * alike; the depth is counted over the bytes before they are parsed, without recursion. Members named `__proto__` become
 * plain own members.
 *
 * Out: compact text. A value that JSON cannot say (`NaN`, `Infinity`, a bigint, a function, `undefined` in an array or at
 * the top, a lone surrogate, an object with `toJSON`, something deeper than the other side would read) is refused instead
 * of changed. Members whose value is `undefined` are left out.
 */
import { Result, Schema } from "effect"

/** The deepest nesting that is read or written; the outermost value is level 1. */
export const MAX_DEPTH = 128

/** Fewer bytes than this cannot be nested too deeply: every level takes an opening and a closing bracket. */
const DEPTH_SAFE_BYTES = 2 * (MAX_DEPTH + 1)

export class NotJson extends Schema.TaggedError<NotJson>()("NotJson", {
  /** What is wrong, never the value itself. */
  hint: Schema.String
}) {
  override get message() {
    return `not JSON: ${this.hint}`
  }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

const QUOTE = 0x22
const BACKSLASH = 0x5c

/** Whether JSON text nests deeper than `MAX_DEPTH`. Brackets inside strings do not count. */
const isTooDeep = (bytes: Uint8Array): boolean => {
  if (bytes.length < DEPTH_SAFE_BYTES) return false
  let depth = 0
  for (let index = 0; index < bytes.length; index++) {
    const byte = bytes[index]
    if (byte === QUOTE) {
      for (index++; index < bytes.length && bytes[index] !== QUOTE; index++) {
        if (bytes[index] === BACKSLASH) index++
      }
      // `{` 0x7b, `[` 0x5b, `}` 0x7d and `]` 0x5d differ in one bit: 0x20.
    } else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > MAX_DEPTH) return true
    } else if (byte === 0x7d || byte === 0x5d) {
      depth--
    }
  }
  return false
}

/** Parses UTF-8 JSON text. */
export const parseJson = (bytes: Uint8Array): Result.Result<Schema.Json, NotJson> => {
  if (isTooDeep(bytes)) return Result.fail(new NotJson({ hint: `nested deeper than ${MAX_DEPTH} levels` }))
  let text: string
  try {
    text = decoder.decode(bytes)
  } catch {
    return Result.fail(new NotJson({ hint: "the bytes are not valid UTF-8" }))
  }
  try {
    return Result.succeed(JSON.parse(text))
  } catch {
    return Result.fail(new NotJson({ hint: "the text does not parse" }))
  }
}

/** A lone surrogate comes out of `JSON.stringify` as an escape; a backslash of the text itself is always doubled. */
const LONE_SURROGATE = /(?<!\\)(?:\\\\)*\\ud[89a-f]/

/** What keeps a value from being JSON, or undefined where nothing does. Strings are looked at in the text. */
const obstacle = (value: unknown, levels: number): string | undefined => {
  switch (typeof value) {
    case "string":
    case "boolean":
      return undefined
    case "number":
      return Number.isFinite(value) ? undefined : "a number that is not finite"
    case "object":
      return value === null ? undefined : obstacleInside(value, levels)
    default:
      return value === undefined ? "a missing value" : `a ${typeof value}`
  }
}

const obstacleInside = (value: object, levels: number): string | undefined => {
  if (levels === 0) return `nested deeper than ${MAX_DEPTH} levels`
  if (Array.isArray(value)) {
    for (let index = 0; index < value.length; index++) {
      const found = obstacle(value[index], levels - 1)
      if (found !== undefined) return found
    }
    return undefined
  }
  const record = value as Readonly<Record<string, unknown>>
  if (typeof record["toJSON"] === "function") return "an object that is no plain data"
  for (const key of Object.keys(record)) {
    const member = record[key]
    if (member === undefined) continue
    const found = obstacle(member, levels - 1)
    if (found !== undefined) return found
  }
  return undefined
}

/** Compact JSON text of a value that will stand inside `enclosing` levels of other objects. */
export const formatJson = (value: unknown, enclosing = 0): Result.Result<string, NotJson> => {
  const found = obstacle(value, MAX_DEPTH - enclosing)
  if (found !== undefined) return Result.fail(new NotJson({ hint: found }))
  const text = JSON.stringify(value)
  return text.includes("\\ud") && LONE_SURROGATE.test(text)
    ? Result.fail(new NotJson({ hint: "a string with a lone surrogate" }))
    : Result.succeed(text)
}
