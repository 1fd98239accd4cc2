/**
 * How an attempt to reach a target ended: the reply codes of SOCKS5 (RFC 1928 section 6), used by `alknet/tunnel` and by the
 * SOCKS5 proxy alike. They say why, never what was asked for.
 */
export const ReplyCode = {
  Succeeded: 0,
  /** Anything that no other code says; a limit too. */
  GeneralFailure: 1,
  /** No scope or no rule allows it. */
  NotAllowed: 2,
  NetworkUnreachable: 3,
  /** Also: the name has no address. */
  HostUnreachable: 4,
  ConnectionRefused: 5,
  /** No answer in time. */
  TimedOut: 6,
  CommandNotSupported: 7,
  AddressNotSupported: 8
} as const

/** 0 to 255: a peer may send codes that nobody has defined. */
export type ReplyCode = number

const TEXTS: ReadonlyArray<string> = [
  "succeeded",
  "it failed there",
  "not allowed there",
  "the network cannot be reached from there",
  "the host cannot be reached from there",
  "the connection was refused",
  "no answer in time",
  "not supported there",
  "that kind of address is not supported there"
]

/** In words. */
export const replyText = (code: ReplyCode): string => TEXTS[code] ?? `failed with code ${code}`
