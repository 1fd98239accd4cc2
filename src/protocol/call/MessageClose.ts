/**
 * How a call session over messages ends (call.md section 16.2): close codes of RFC 6455 section 7.4 and its registry.
 *
 * | code | stands for |
 * |---|---|
 * | 1000 | `NoError`; 1005, which says that the closer gave no code, is read alike |
 * | 1001 | `Draining` |
 * | 1002 | `ProtocolError`: a text message, one that is no envelope, or one that was begun and stopped coming |
 * | 1008 | `NoHandler`, and every code without a line here |
 * | 1009 | a message above the limit; read as `ProtocolError` |
 * | 1011 | `HandlerFailed` |
 * | 1013 | `TooMany` |
 * | 1006 | never sent: the carrier broke without a close |
 */
import { CloseCode } from "../CloseCode.ts"

/** A close frame of ours, where no `CloseCode` says enough. */
export interface MessageClose {
  readonly code: number
  readonly reason: string
}

export const MessageClose = {
  Text: { code: 1002, reason: "text messages not supported" },
  Invalid: { code: 1002, reason: "invalid EventEnvelope" },
  TooLarge: { code: 1009, reason: "message too large" },
  Stalled: { code: 1002, reason: "message stopped coming" }
} as const

/** Bytes that a close frame has for its reason. */
const REASON_BYTES_MAX = 123

const NORMAL = 1000
const POLICY = 1008
const NO_CODE = 1005
const BROKEN = 1006

const pairs: ReadonlyArray<readonly [CloseCode, number]> = [
  [CloseCode.NoError, NORMAL],
  [CloseCode.Draining, 1001],
  [CloseCode.ProtocolError, MessageClose.Invalid.code],
  [CloseCode.NoHandler, POLICY],
  [CloseCode.HandlerFailed, 1011],
  [CloseCode.TooMany, 1013]
]
const sent = new Map(pairs)
const read = new Map<number, CloseCode>([
  ...pairs.map(([code, message]) => [message, code] as const),
  [NO_CODE, CloseCode.NoError],
  [MessageClose.TooLarge.code, CloseCode.ProtocolError]
])

/** What is sent where a session ends with this code: the only way to break the protocol from here on is its envelopes. */
export const toMessageClose = (code: CloseCode, reason: string): MessageClose =>
  code === CloseCode.ProtocolError ? MessageClose.Invalid : { code: sent.get(code) ?? POLICY, reason: cut(reason) }

/** What a received code says. */
export const readMessageClose = (
  code: number
): { readonly kind: "app" | "transport" | "lost"; readonly code: CloseCode } => {
  const known = read.get(code)
  if (known !== undefined) return { kind: "app", code: known }
  return code === BROKEN ? { kind: "lost", code: 0 } : { kind: "transport", code }
}

/** Whole characters, as many as fit. */
const cut = (reason: string): string => {
  const bytes = new TextEncoder().encode(reason)
  if (bytes.length <= REASON_BYTES_MAX) return reason
  let end = REASON_BYTES_MAX
  while ((bytes[end]! & 0xc0) === 0x80) end--
  return new TextDecoder().decode(bytes.subarray(0, end))
}
