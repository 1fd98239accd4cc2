/**
 * The wire of the local control socket, over which a running node lends its endpoint to other commands of the same user.
 *
 * A client connects to a Unix socket, sends one request and reads one answer; what follows depends on the request. One
 * connection carries one request. Everything is in frames:
 *
 * ```
 * frame = type (1) ‖ length (4, big-endian) ‖ payload (length bytes)
 * ```
 *
 * | type | payload | meaning |
 * |---|---|---|
 * | 01 message | 2 to 65,536 bytes of UTF-8 JSON, an object | request, answer, event |
 * | 02 data | 1 to 65,536 bytes | bytes of the stream |
 * | 03 end | none | the sender's direction of the stream is finished |
 * | 04 reset | code, 8 bytes big-endian, at most 2^53-1 | the sender abandons its direction |
 * | 05 stop | code, as above | the sender wants no more of the other direction |
 *
 * Bytes of a stream are framed and not raw, because a Unix socket cannot tell an orderly end from a broken one: a truncated
 * transfer must never look complete.
 *
 * | request | answer | then |
 * |---|---|---|
 * | `{"v":1,"do":"status"}` | `{"ok":true,"status":{…}}` | the server closes |
 * | `{"v":1,"do":"stop"}` | `{"ok":true}` | the server closes, the process ends |
 * | `{"v":1,"do":"invite","invite":{…}}` | `{"ok":true,"invited":{…}}` | the server closes |
 * | `{"v":1,"do":"end-session","session":"s1"}` | `{"ok":true}` | the server closes |
 * | `{"v":1,"do":"open","nodeId","addresses","alpn"}` | `{"ok":true,"id":7}` | stream frames, on a pooled connection |
 * | `{"v":1,"do":"dial","nodeId","addresses","alpn"}` | `{"ok":true,"connection":TOKEN,…}` | events, until either side ends it |
 * | `{"v":1,"do":"stream","connection":TOKEN}` | as `open` | stream frames, on a connection that was dialed |
 * | `{"v":1,"do":"accept","connection":TOKEN}` | as `open`, when the peer opened one | stream frames |
 *
 * A refused request is answered `{"ok":false,"error":{…}}`, where `error` is a typed error in its JSON form. While a dialed
 * connection is held the client may send `{"close":{"code","reason"}}` and `{"stats":true}`; the server sends
 * `{"stats":{…}}` and, once, `{"closed":{…}}`. A connection that ends without `close` takes the dialed one with it.
 *
 * Bad input (unknown type, a length out of range, not JSON, not an object) ends the connection that it came on; nothing is
 * allocated for what a header only announces.
 */
import { Result, Schema } from "effect"

export const FrameType = { Message: 0x01, Data: 0x02, End: 0x03, Reset: 0x04, Stop: 0x05 } as const

/** Largest payload of a message or data frame, in bytes. */
export const PAYLOAD_MAX = 65_536

const HEADER = 5
const CODE_BYTES = 8

export type ControlFrame =
  | { readonly _tag: "Message"; readonly value: Readonly<Record<string, unknown>> }
  | { readonly _tag: "Data"; readonly bytes: Uint8Array }
  | { readonly _tag: "End" }
  | { readonly _tag: "Reset"; readonly code: number }
  | { readonly _tag: "Stop"; readonly code: number }

/** The other side does not speak this protocol. */
export class ControlFrameInvalid extends Schema.TaggedError<ControlFrameInvalid>()("ControlFrameInvalid", {
  reason: Schema.Literals(["type", "length", "json", "code"])
}) {
  override get message() {
    return `a control frame has a wrong ${this.reason}`
  }
}

const frame = (type: number, payload: Uint8Array): Uint8Array => {
  const out = new Uint8Array(HEADER + payload.length)
  out[0] = type
  new DataView(out.buffer).setUint32(1, payload.length)
  out.set(payload, HEADER)
  return out
}

const codePayload = (code: number): Uint8Array => {
  const payload = new Uint8Array(CODE_BYTES)
  const known = Number.isSafeInteger(code) && code >= 0 ? code : Number.MAX_SAFE_INTEGER
  new DataView(payload.buffer).setBigUint64(0, BigInt(known))
  return payload
}

/** A message frame; a value above the limit is refused before anything is written. */
export const encodeMessage = (value: unknown): Result.Result<Uint8Array, ControlFrameInvalid> => {
  const payload = new TextEncoder().encode(JSON.stringify(value))
  return payload.length > PAYLOAD_MAX
    ? Result.fail(new ControlFrameInvalid({ reason: "length" }))
    : Result.succeed(frame(FrameType.Message, payload))
}

/** The header of a data frame of this many bytes, 1 to `PAYLOAD_MAX`; the bytes follow. */
export const dataHeader = (length: number): Uint8Array => {
  const out = new Uint8Array(HEADER)
  out[0] = FrameType.Data
  new DataView(out.buffer).setUint32(1, length)
  return out
}

export const encodeEnd = (): Uint8Array => frame(FrameType.End, new Uint8Array(0))
export const encodeReset = (code: number): Uint8Array => frame(FrameType.Reset, codePayload(code))
export const encodeStop = (code: number): Uint8Array => frame(FrameType.Stop, codePayload(code))

const isLegal = (type: number, length: number): boolean => {
  switch (type) {
    case FrameType.Message:
      return length >= 2 && length <= PAYLOAD_MAX
    case FrameType.Data:
      return length >= 1 && length <= PAYLOAD_MAX
    case FrameType.End:
      return length === 0
    default:
      return length === CODE_BYTES
  }
}

const readMessage = (payload: Uint8Array): Result.Result<ControlFrame, ControlFrameInvalid> => {
  try {
    const value: unknown = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload))
    if (typeof value === "object" && value !== null && !Array.isArray(value)) {
      return Result.succeed({ _tag: "Message", value: { ...value } })
    }
  } catch {}
  return Result.fail(new ControlFrameInvalid({ reason: "json" }))
}

const readCode = (tag: "Reset" | "Stop", payload: Uint8Array): Result.Result<ControlFrame, ControlFrameInvalid> => {
  const code = Number(new DataView(payload.buffer, payload.byteOffset).getBigUint64(0))
  return Number.isSafeInteger(code)
    ? Result.succeed({ _tag: tag, code })
    : Result.fail(new ControlFrameInvalid({ reason: "code" }))
}

const readFrame = (type: number, payload: Uint8Array): Result.Result<ControlFrame, ControlFrameInvalid> => {
  switch (type) {
    case FrameType.Message:
      return readMessage(payload)
    case FrameType.Data:
      return Result.succeed({ _tag: "Data", bytes: payload })
    case FrameType.End:
      return Result.succeed({ _tag: "End" })
    default:
      return readCode(type === FrameType.Reset ? "Reset" : "Stop", payload)
  }
}

/** Turns bytes as they arrive into frames. Holds at most one frame that is not complete. */
export class ControlFrameDecoder {
  private pending: Uint8Array = new Uint8Array(0)
  private broken: ControlFrameInvalid | undefined

  /** The frames that are complete now. After a failure every further push fails the same way. */
  push(bytes: Uint8Array): Result.Result<ReadonlyArray<ControlFrame>, ControlFrameInvalid> {
    if (this.broken !== undefined) return Result.fail(this.broken)
    let input = bytes
    if (this.pending.length > 0) {
      input = new Uint8Array(this.pending.length + bytes.length)
      input.set(this.pending)
      input.set(bytes, this.pending.length)
    }
    const frames: Array<ControlFrame> = []
    let offset = 0
    while (input.length - offset >= HEADER) {
      const type = input[offset]!
      const length = new DataView(input.buffer, input.byteOffset + offset).getUint32(1)
      if (type < FrameType.Message || type > FrameType.Stop) return this.refuse("type")
      if (!isLegal(type, length)) return this.refuse("length")
      if (input.length - offset - HEADER < length) break
      const read = readFrame(type, input.slice(offset + HEADER, offset + HEADER + length))
      if (Result.isFailure(read)) return this.refuse(read.failure.reason)
      frames.push(read.success)
      offset += HEADER + length
    }
    this.pending = input.slice(offset)
    return Result.succeed(frames)
  }

  private refuse(
    reason: ControlFrameInvalid["reason"]
  ): Result.Result<ReadonlyArray<ControlFrame>, ControlFrameInvalid> {
    this.broken = new ControlFrameInvalid({ reason })
    this.pending = new Uint8Array(0)
    return Result.fail(this.broken)
  }
}

const Text = Schema.String.check(Schema.isMaxLength(4096))
const Target = {
  nodeId: Text,
  /** `HOST:PORT` texts, tried in this order. */
  addresses: Schema.Array(Text).check(Schema.isMaxLength(16)),
  alpn: Text
}

/** What an invite should allow; scopes are patterns, already expanded from a role. */
export const InviteRequest = Schema.Struct({
  scopes: Schema.Array(Text).check(Schema.isMaxLength(64)),
  lifeSeconds: Schema.Int,
  audience: Schema.optionalKey(Text)
})
export type InviteRequest = typeof InviteRequest.Type

/** The first message of a client. */
export const ControlRequest = Schema.Union([
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("status") }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("stop") }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("invite"), invite: InviteRequest }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("end-session"), session: Text }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("open"), ...Target }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("dial"), ...Target }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("stream"), connection: Text }),
  Schema.Struct({ v: Schema.Literal(1), do: Schema.Literal("accept"), connection: Text })
])
export type ControlRequest = typeof ControlRequest.Type
