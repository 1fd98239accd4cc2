/**
 * Scopes: what a peer may do, as text (identity.md section 7).
 *
 * ```
 * scope   = segment *7(":" segment)                at most 256 bytes; usually <service>:<action>[:<resource>]
 * segment = "[" IPv6 address, lower case and compressed "]"
 *         | 1*128 of A-Z a-z 0-9 . _ ~ - / @ + = , and "%" two upper-case hex digits
 * ```
 *
 * A *pattern* is what a peer holds; a whole segment of it may also be `*`. A *requirement* is what a handler asks; it has
 * no `*`. A `%XX` that stands for a plain character does not parse, so that a value has one spelling only.
 *
 * Matching is segment by segment and case-sensitive. A `*` before the end stands for exactly one segment, a `*` at the end
 * for one or more. Text that does not parse grants nothing and satisfies nothing. What comes from a request enters a
 * requirement through `makeScope` only.
 */
import { isIPv6 } from "node:net"
import { Result, Schema } from "effect"

/** The most segments of a scope. */
export const SCOPE_SEGMENTS_MAX = 8
/** The longest scope, in bytes; all of them are ASCII. */
export const SCOPE_BYTES_MAX = 256
/** The longest segment, in characters of its text. */
export const SCOPE_SEGMENT_MAX = 128

export class ScopeInvalid extends Schema.TaggedError<ScopeInvalid>()("ScopeInvalid", {
  reason: Schema.Literals(["empty", "too long", "too many segments", "characters"])
}) {
  override get message() {
    return `not a scope: ${this.reason}; write SERVICE:ACTION[:RESOURCE], for example git:read:*`
  }
}

/** The segments of what a peer holds. */
export const parseScopePattern = (text: string): Result.Result<ReadonlyArray<string>, ScopeInvalid> => parse(text, true)

/** The segments of what a handler asks. */
export const parseScopeRequirement = (text: string): Result.Result<ReadonlyArray<string>, ScopeInvalid> =>
  parse(text, false)

/**
 * A requirement that holds values of a request. Every byte that is not a plain character is percent-encoded, `:`, `*` and
 * `%` included; an IPv6 address goes into brackets. The caller has normalised the value (path resolved, host in lower case).
 */
export const makeScope = (
  service: string,
  action: string,
  ...values: ReadonlyArray<string>
): Result.Result<string, ScopeInvalid> => {
  const segments = [service, action, ...values]
  if (segments.includes("")) return Result.fail(new ScopeInvalid({ reason: "empty" }))
  // A lone surrogate has no UTF-8: encoding it would make different values equal.
  if (segments.some((segment) => /\p{Surrogate}/u.test(segment))) {
    return Result.fail(new ScopeInvalid({ reason: "characters" }))
  }
  // Encoding only makes a value longer: one that is too long already is not worth the work.
  if (segments.some((segment) => segment.length > SCOPE_SEGMENT_MAX)) {
    return Result.fail(new ScopeInvalid({ reason: "too long" }))
  }
  const text = segments.map(encodeSegment).join(":")
  return Result.map(parseScopeRequirement(text), () => text)
}

/** Whether somebody who holds the pattern may do what the requirement says (ID-R37). */
export const scopeMatches = (pattern: string, requirement: string): boolean => {
  const held = segmentsOfPattern(pattern)
  const asked = Result.getOrUndefined(parseScopeRequirement(requirement))
  return held !== undefined && asked !== undefined && covers(held, asked)
}

/** Whether one of the patterns held matches the requirement. */
export const scopesMatch = (held: ReadonlyArray<string>, requirement: string): boolean =>
  held.some((pattern) => scopeMatches(pattern, requirement))

/** Whether the first pattern allows all that the second allows (ID-R39). */
export const scopeCovers = (pattern: string, other: string): boolean => {
  const outer = segmentsOfPattern(pattern)
  const inner = segmentsOfPattern(other)
  return outer !== undefined && inner !== undefined && covers(outer, inner)
}

/** Whether each wanted pattern is covered by one that is held (ID-R47). */
export const scopesCover = (held: ReadonlyArray<string>, wanted: ReadonlyArray<string>): boolean =>
  wanted.every((inner) => held.some((outer) => scopeCovers(outer, inner)))

/**
 * Matching is covering of a requirement, which has no `*`. A `*` at the end of the inner one is covered by a `*` at the end
 * of the outer one only: any other way the outer one has segments left, or none.
 */
const covers = (outer: ReadonlyArray<string>, inner: ReadonlyArray<string>): boolean => {
  const last = outer.length - 1
  for (let index = 0; index <= last; index++) {
    if (index >= inner.length) return false
    if (outer[index] === "*" && index === last) return true
    if (outer[index] !== "*" && outer[index] !== inner[index]) return false
  }
  return inner.length === outer.length
}

/** Segments of patterns that were asked for before: the few that peers hold come with every request. */
const patterns = new Map<string, ReadonlyArray<string>>()
const PATTERNS_MAX = 4096

const segmentsOfPattern = (text: string): ReadonlyArray<string> | undefined => {
  const known = patterns.get(text)
  if (known !== undefined) return known
  const segments = Result.getOrUndefined(parseScopePattern(text))
  if (segments === undefined) return undefined
  if (patterns.size >= PATTERNS_MAX) patterns.clear()
  patterns.set(text, segments)
  return segments
}

const PLAIN = "A-Za-z0-9._~\\-/@+=,"
/** Segments one by one; the alternative in brackets is the only one that may hold colons. */
const SEGMENT = new RegExp(`(\\[[0-9a-f:]{2,39}\\]|\\*|(?:[${PLAIN}]|%[0-9A-F]{2})+)(:|$)`, "y")
const NEEDLESS = new RegExp(`^[${PLAIN}]$`)

const parse = (text: string, isPattern: boolean): Result.Result<ReadonlyArray<string>, ScopeInvalid> => {
  const refuse = (reason: ScopeInvalid["reason"]) => Result.fail(new ScopeInvalid({ reason }))
  if (text === "") return refuse("empty")
  if (text.length > SCOPE_BYTES_MAX) return refuse("too long")
  const segments: Array<string> = []
  let offset = 0
  for (let separator = ":"; separator === ":"; ) {
    SEGMENT.lastIndex = offset
    const match = SEGMENT.exec(text)
    if (match === null) return refuse("characters")
    const segment = match[1]!
    if (segment.length > SCOPE_SEGMENT_MAX) return refuse("too long")
    if (segment === "*" ? !isPattern : !isCanonical(segment)) return refuse("characters")
    segments.push(segment)
    offset += match[0].length
    separator = match[2]!
  }
  return segments.length > SCOPE_SEGMENTS_MAX ? refuse("too many segments") : Result.succeed(segments)
}

const isCanonical = (segment: string): boolean => {
  if (segment.startsWith("[")) return compressIPv6(segment.slice(1, -1)) === segment
  for (const [encoded] of segment.matchAll(/%../g)) {
    if (NEEDLESS.test(String.fromCharCode(Number.parseInt(encoded.slice(1), 16)))) return false
  }
  return true
}

const encodeSegment = (value: string): string => {
  const address = compressIPv6(value)
  if (address !== undefined) return address
  let text = ""
  for (const byte of new TextEncoder().encode(value)) {
    const character = String.fromCharCode(byte)
    text += NEEDLESS.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`
  }
  return text
}

/** An IPv6 address without a zone, in its one spelling (RFC 5952, hex digits only), in brackets. */
const compressIPv6 = (text: string): string | undefined =>
  isIPv6(text) && !text.includes("%") ? new URL(`http://[${text}]/`).hostname : undefined
