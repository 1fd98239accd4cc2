/**
 * The messages of `alknet/join` (identity.md section 9): one stream, one request, one response.
 *
 * ```
 * frame    = length (4, big-endian, 1 to 8192) || UTF-8 JSON
 * request  = {"v":1,"ticket":"alk1…","name":"laptop"}
 * response = {"v":1,"ok":true,"peerId":"laptop","label":"desk","scopes":["msg:send"]}
 *          | {"v":1,"ok":false,"code":"REJECTED"}
 * ```
 *
 * `name` is what the joiner calls itself, `peerId` what the inviter calls it now, `label` (0-1) what the inviter calls
 * itself. Unknown members are ignored. Bytes after the frame, another length and anything else make `JoinMessageInvalid`.
 */
import { concatBytes } from "@noble/hashes/utils.js"
import { Redacted, Result, Schema } from "effect"
import { Alpn } from "../Alpn.ts"

/** What both sides of a join ask for in the handshake. */
export const JOIN_ALPN = Alpn.make("alknet/join")

/** Longest JSON text of a frame, in bytes. */
export const JOIN_FRAME_MAX = 8192

export class JoinMessageInvalid extends Schema.TaggedError<JoinMessageInvalid>()("JoinMessageInvalid", {
  reason: Schema.Literals(["length", "trailing", "text", "message"])
}) {
  override get message() {
    return `not a join message (${this.reason})`
  }
}

export interface JoinRequest {
  /** A secret while the grant is open (ID-R57). */
  readonly ticket: Redacted.Redacted<string>
  readonly name: string
}

/** Why a join was refused; all but REJECTED only after the signature was verified (ID-R56). */
export const JoinCode = Schema.Literals(["REJECTED", "EXPIRED", "USED", "ALREADY_PEER"])
export type JoinCode = typeof JoinCode.Type

const Request = Schema.Struct({ v: Schema.Literal(1), ticket: Schema.String, name: Schema.String })

const Accepted = Schema.Struct({
  v: Schema.Literal(1),
  ok: Schema.Literal(true),
  peerId: Schema.String,
  label: Schema.optionalKey(Schema.String),
  scopes: Schema.Array(Schema.String)
})
const Refused = Schema.Struct({ v: Schema.Literal(1), ok: Schema.Literal(false), code: JoinCode })

export type JoinResponse = typeof Accepted.Type | typeof Refused.Type

/** Collects the one frame of a direction; holds no more than has arrived, and never more than a frame. */
export class JoinFrameDecoder {
  private held: Uint8Array = new Uint8Array(0)

  /** The JSON bytes once they are complete, undefined before. */
  push(chunk: Uint8Array): Result.Result<Uint8Array | undefined, JoinMessageInvalid> {
    if (this.held.length + chunk.length > HEADER_BYTES + JOIN_FRAME_MAX) return invalid("trailing")
    this.held = concatBytes(this.held, chunk)
    if (this.held.length < HEADER_BYTES) return Result.succeed(undefined)
    const length = new DataView(this.held.buffer, this.held.byteOffset).getUint32(0)
    if (length < 1 || length > JOIN_FRAME_MAX) return invalid("length")
    if (this.held.length > HEADER_BYTES + length) return invalid("trailing")
    return Result.succeed(this.held.length < HEADER_BYTES + length ? undefined : this.held.subarray(HEADER_BYTES))
  }
}

/** The frame of a request. */
export const encodeJoinRequest = (request: JoinRequest): Result.Result<Uint8Array, JoinMessageInvalid> =>
  encodeFrame({ v: 1, ticket: Redacted.value(request.ticket), name: request.name })

/** The frame of a response. */
export const encodeJoinResponse = (response: JoinResponse): Result.Result<Uint8Array, JoinMessageInvalid> =>
  encodeFrame(response)

/** Reads the JSON bytes of a request. */
export const decodeJoinRequest = (json: Uint8Array): Result.Result<JoinRequest, JoinMessageInvalid> =>
  Result.flatMap(parseJson(json), (value) => {
    const request = decodeRequest(value)
    return Result.isFailure(request)
      ? invalid("message")
      : Result.succeed({
          ticket: Redacted.make(request.success.ticket, { label: "ticket" }),
          name: request.success.name
        })
  })

/** Reads the JSON bytes of a response. */
export const decodeJoinResponse = (json: Uint8Array): Result.Result<JoinResponse, JoinMessageInvalid> =>
  Result.flatMap(parseJson(json), (value) => Result.mapError(decodeResponse(value), () => messageInvalid))

const HEADER_BYTES = 4

const decodeRequest = Schema.decodeUnknownResult(Request)
const decodeResponse = Schema.decodeUnknownResult(Schema.Union([Accepted, Refused]))

const messageInvalid = new JoinMessageInvalid({ reason: "message" })

const invalid = (reason: JoinMessageInvalid["reason"]): Result.Result<never, JoinMessageInvalid> =>
  Result.fail(new JoinMessageInvalid({ reason }))

const encodeFrame = (message: unknown): Result.Result<Uint8Array, JoinMessageInvalid> => {
  const json = new TextEncoder().encode(JSON.stringify(message))
  if (json.length > JOIN_FRAME_MAX) return invalid("length")
  const header = new Uint8Array(HEADER_BYTES)
  new DataView(header.buffer).setUint32(0, json.length)
  return Result.succeed(concatBytes(header, json))
}

const parseJson = (json: Uint8Array): Result.Result<unknown, JoinMessageInvalid> => {
  try {
    return Result.succeed(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json)))
  } catch {
    return invalid("text")
  }
}
