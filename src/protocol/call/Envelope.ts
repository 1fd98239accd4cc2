/**
 * Envelopes and payloads of the call protocol (call.md sections 2 and 3). Lenient in decoding, strict in encoding.
 *
 * An envelope is `{"type", "id", "payload"}`, in this order when encoded, as compact JSON.
 *
 * | type | sent by | payload, in encoding order |
 * |---|---|---|
 * | `call.requested` | caller | `operationId` `"/" + name` · `input` · `auth_token`? · `forwarded_for`? `{id, scopes, resources}` |
 * | `call.responded` | callee | `output` |
 * | `call.completed` | callee, subscriptions only | `{}` |
 * | `call.aborted` | either | `{}` |
 * | `call.error` | callee | `code` · `message` · `retryable` · `details`? |
 *
 * Bad input: text that is no JSON is `BadJson`; no `type` or `id` string, or no `payload` at all, is `BadEnvelope`. Unknown
 * members and unknown types are for the reader to ignore. Payload members that are absent or of another shape are read as
 * absent, and never are an error (CALL-R16 to CALL-R18, CALL-R25).
 */
import { Result, type Schema } from "effect"
import { FrameError } from "./Frame.ts"
import { formatJson, type NotJson, parseJson } from "./Json.ts"

export const EventType = {
  Requested: "call.requested",
  Responded: "call.responded",
  Completed: "call.completed",
  Aborted: "call.aborted",
  Error: "call.error"
} as const

export interface Envelope {
  /** One of `EventType`, or something that a reader ignores. */
  readonly type: string
  /** Opaque: any string, also an empty one. */
  readonly id: string
  readonly payload: Schema.Json
}

/** On whose behalf a forwarder says that it calls. A claim: no gate reads it (CALL-R73). */
export interface ForwardedFor {
  readonly id: string
  readonly scopes: ReadonlyArray<string>
  readonly resources: Readonly<Record<string, ReadonlyArray<string>>>
}

export interface RequestedPayload {
  /** Without the leading slash; empty where it was absent. */
  readonly name: string
  readonly input: Schema.Json
  readonly authToken: string | undefined
  readonly forwardedFor: ForwardedFor | undefined
}

export interface ErrorPayload {
  readonly code: string
  readonly message: string
  readonly retryable: boolean
  readonly details?: Schema.Json
}

/** Levels of nesting around the value of a payload member: the envelope and the payload. */
const ENCLOSING = 2

type JsonRecord = Readonly<Record<string, Schema.Json>>

const asRecord = (value: unknown): JsonRecord | undefined =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as JsonRecord) : undefined

/** Reads the body of a frame, which began at `offset` of its stream. */
export const decodeEnvelope = (body: Uint8Array, offset = 0): Result.Result<Envelope, FrameError> => {
  const parsed = parseJson(body)
  if (Result.isFailure(parsed)) {
    return Result.fail(new FrameError({ reason: "BadJson", offset, hint: parsed.failure.hint }))
  }
  const record = asRecord(parsed.success)
  // Only own members count: what somebody put on Object.prototype is no envelope.
  if (record === undefined) return bad(offset, "it is not an object")
  if (!Object.hasOwn(record, "type") || typeof record["type"] !== "string") return bad(offset, "`type` is no string")
  if (!Object.hasOwn(record, "id") || typeof record["id"] !== "string") return bad(offset, "`id` is no string")
  if (!Object.hasOwn(record, "payload")) return bad(offset, "`payload` is missing")
  return Result.succeed({ type: record["type"], id: record["id"], payload: record["payload"]! })
}

const bad = (offset: number, hint: string) => Result.fail(new FrameError({ reason: "BadEnvelope", offset, hint }))

/** An own member of a payload; undefined where it is absent or the payload is no object. */
const member = (payload: JsonRecord | undefined, name: string): Schema.Json | undefined =>
  payload !== undefined && Object.hasOwn(payload, name) ? payload[name] : undefined

/** The name that an `operationId` means: at most one leading slash is removed. */
export const normaliseName = (operationId: string): string =>
  operationId.charCodeAt(0) === 0x2f ? operationId.slice(1) : operationId

const isStrings = (value: unknown): value is ReadonlyArray<string> =>
  Array.isArray(value) && value.every((item) => typeof item === "string")

const readForwardedFor = (value: Schema.Json | undefined): ForwardedFor | undefined => {
  const record = asRecord(value)
  const id = member(record, "id")
  const scopes = member(record, "scopes")
  const resources = asRecord(member(record, "resources"))
  if (typeof id !== "string" || !isStrings(scopes) || resources === undefined) return undefined
  const entries = Object.entries(resources)
  if (!entries.every(([, values]) => isStrings(values))) return undefined
  return { id, scopes, resources: Object.fromEntries(entries) as ForwardedFor["resources"] }
}

export const readRequested = (payload: Schema.Json): RequestedPayload => {
  const record = asRecord(payload)
  const operationId = member(record, "operationId")
  const authToken = member(record, "auth_token")
  return {
    name: typeof operationId === "string" ? normaliseName(operationId) : "",
    input: member(record, "input") ?? null,
    authToken: typeof authToken === "string" ? authToken : undefined,
    forwardedFor: readForwardedFor(member(record, "forwarded_for"))
  }
}

export const readResponded = (payload: Schema.Json): Schema.Json => member(asRecord(payload), "output") ?? null

export const readError = (payload: Schema.Json): ErrorPayload => {
  const record = asRecord(payload)
  const code = member(record, "code")
  const message = member(record, "message")
  const retryable = member(record, "retryable")
  const details = member(record, "details")
  return {
    code: typeof code === "string" ? code : "INTERNAL",
    message: typeof message === "string" ? message : "",
    retryable: retryable === true,
    ...(details === undefined ? {} : { details })
  }
}

const envelopeText = (type: string, id: string, payload: string): string =>
  `{"type":"${type}","id":${JSON.stringify(id)},"payload":${payload}}`

/** The text of a `call.requested` envelope; the name is without its slash. */
export const formatRequested = (
  id: string,
  request: {
    readonly name: string
    readonly input: unknown
    readonly authToken?: string | undefined
    readonly forwardedFor?: ForwardedFor | undefined
  }
): Result.Result<string, NotJson> => {
  const input = formatJson(request.input, ENCLOSING)
  if (Result.isFailure(input)) return input
  let payload = `{"operationId":${JSON.stringify(`/${request.name}`)},"input":${input.success}`
  if (request.authToken !== undefined) payload += `,"auth_token":${JSON.stringify(request.authToken)}`
  if (request.forwardedFor !== undefined) {
    const { id: who, resources, scopes } = request.forwardedFor
    const claim = formatJson({ id: who, scopes, resources }, ENCLOSING)
    if (Result.isFailure(claim)) return claim
    payload += `,"forwarded_for":${claim.success}`
  }
  return Result.succeed(envelopeText(EventType.Requested, id, `${payload}}`))
}

/** Makes the texts of the `call.responded` envelopes of one request; what they share is made once. */
export const respondedFormat = (id: string): ((output: unknown) => Result.Result<string, NotJson>) => {
  const start = `{"type":"${EventType.Responded}","id":${JSON.stringify(id)},"payload":{"output":`
  return (output) => {
    const text = formatJson(output, ENCLOSING)
    return Result.isFailure(text) ? text : Result.succeed(`${start}${text.success}}}`)
  }
}

/** The text of a `call.responded` envelope. */
export const formatResponded = (id: string, output: unknown): Result.Result<string, NotJson> =>
  respondedFormat(id)(output)

/** The text of a `call.error` envelope. */
export const formatError = (id: string, error: ErrorPayload): Result.Result<string, NotJson> => {
  const { code, details, message, retryable } = error
  const text = formatJson(
    details === undefined ? { code, message, retryable } : { code, message, retryable, details },
    1
  )
  return Result.map(text, (payload) => envelopeText(EventType.Error, id, payload))
}

/** The text of a `call.completed` envelope. */
export const formatCompleted = (id: string): string => envelopeText(EventType.Completed, id, "{}")

/** The text of a `call.aborted` envelope. */
export const formatAborted = (id: string): string => envelopeText(EventType.Aborted, id, "{}")
