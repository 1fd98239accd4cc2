/**
 * Application close codes of a connection, shared by all handlers (transport.md section 6).
 *
 * | code | name | when |
 * |---|---|---|
 * | 0x00 | NoError | orderly |
 * | 0x01 | NoHandler | the ALPN is not (any more) served, or not for this peer; the two look alike on purpose |
 * | 0x02 | PeerMismatch | the dialed key is not the expected one |
 * | 0x03 | TooMany | a limit was reached; try later |
 * | 0x04 | Draining | the node or the handler goes away |
 * | 0x05 | HandlerFailed | failure or defect in the handler; the reason holds an incident id only |
 * | 0x06 | ProtocolError | the peer broke the handler's protocol |
 * | 0x07 | Idle | idle timeout |
 * | 0x10-0x3f | | free for handlers |
 */
export const CloseCode = {
  NoError: 0x00,
  NoHandler: 0x01,
  PeerMismatch: 0x02,
  TooMany: 0x03,
  Draining: 0x04,
  HandlerFailed: 0x05,
  ProtocolError: 0x06,
  Idle: 0x07
} as const

/** An application close code: one of `CloseCode`, or 0x10 to 0x3f for a handler of its own. */
export type CloseCode = number

const names = new Map<number, string>(Object.entries(CloseCode).map(([name, code]) => [code, name]))

/** The name of a shared code, else the number in hex. */
export const closeCodeName = (code: CloseCode): string => names.get(code) ?? `0x${code.toString(16).padStart(2, "0")}`
