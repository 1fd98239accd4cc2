/**
 * SOCKS5, the side of the proxy (RFC 1928, RFC 1929). Sizes in bytes.
 *
 * ```
 * greeting = %x05 count(1) methods(count)                        answer %x05 method(1)
 * login    = %x01 length(1) user(1-255) length(1) password(1-255) answer %x01 status(1)
 * request  = %x05 command(1) %x00 address                        answer %x05 code(1) %x00 address
 * datagram = %x00 %x00 fragment(1) address payload
 * ```
 *
 * `decode…` reads from the start of what has come: a message and where it ends, that more is needed, or that this is not
 * SOCKS5, which is known at the first wrong byte. Nothing here is longer than 513 bytes.
 */
import type { ReplyCode } from "../forward/ReplyCode.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import { decodeAddress, encodeAddress } from "./SocksAddress.ts"

const VERSION = 5
const LOGIN_VERSION = 1

/** The longest message of a client before its data, in bytes: a login. */
export const SOCKS_MESSAGE_BYTES_MAX = 513

export const SocksMethod = { None: 0, UserPassword: 2, NotAcceptable: 0xff } as const
export const SocksCommand = { Connect: 1, Bind: 2, UdpAssociate: 3 } as const

/** What was read from the start of the bytes. */
export type Decoded<A> =
  | { readonly _tag: "Message"; readonly message: A; readonly end: number }
  | { readonly _tag: "Incomplete" }
  | { readonly _tag: "Invalid" }

const INCOMPLETE = { _tag: "Incomplete" } as const
const INVALID = { _tag: "Invalid" } as const

/** The methods that the client offers. */
export const decodeGreeting = (bytes: Uint8Array): Decoded<ReadonlyArray<number>> => {
  if (bytes.length > 0 && bytes[0] !== VERSION) return INVALID
  const count = bytes[1]
  if (count === undefined) return INCOMPLETE
  if (count === 0) return INVALID
  return bytes.length < 2 + count
    ? INCOMPLETE
    : { _tag: "Message", message: [...bytes.subarray(2, 2 + count)], end: 2 + count }
}

export const encodeMethod = (method: number): Uint8Array => Uint8Array.of(VERSION, method)

/** Both as bytes: RFC 1929 names no encoding. */
export interface SocksLogin {
  readonly user: Uint8Array
  readonly password: Uint8Array
}

export const decodeLogin = (bytes: Uint8Array): Decoded<SocksLogin> => {
  if (bytes.length > 0 && bytes[0] !== LOGIN_VERSION) return INVALID
  const userLength = bytes[1]
  if (userLength === undefined) return INCOMPLETE
  const passwordLength = bytes[2 + userLength]
  if (passwordLength === undefined) return INCOMPLETE
  const end = 3 + userLength + passwordLength
  if (bytes.length < end) return INCOMPLETE
  const message = { user: bytes.slice(2, 2 + userLength), password: bytes.slice(3 + userLength, end) }
  return { _tag: "Message", message, end }
}

export const encodeLoginStatus = (isGood: boolean): Uint8Array => Uint8Array.of(LOGIN_VERSION, isGood ? 0 : 1)

export interface SocksRequest {
  readonly command: number
  /** Undefined: an address of a kind that does not exist. */
  readonly target: SocketAddress | undefined
}

export const decodeRequest = (bytes: Uint8Array): Decoded<SocksRequest> => {
  if (bytes.length > 0 && bytes[0] !== VERSION) return INVALID
  const command = bytes[1]
  if (command === undefined) return INCOMPLETE
  if (bytes.length > 2 && bytes[2] !== 0) return INVALID
  const decoded = decodeAddress(bytes, 3)
  switch (decoded._tag) {
    case "Address":
      return { _tag: "Message", message: { command, target: decoded.address }, end: decoded.end }
    case "Unsupported":
      return { _tag: "Message", message: { command, target: undefined }, end: bytes.length }
    default:
      return decoded
  }
}

const NOWHERE: SocketAddress = { host: "0.0.0.0", port: 0 }

/** `bound` is what RFC 1928 calls BND.ADDR and BND.PORT; only UDP ASSOCIATE needs it. */
export const encodeReply = (code: ReplyCode, bound: SocketAddress = NOWHERE): Uint8Array =>
  Uint8Array.from([VERSION, code, 0, ...encodeAddress(bound)])

export interface SocksDatagram {
  readonly address: SocketAddress
  readonly payload: Uint8Array
}

/** Undefined for what is none, or a fragment: those are dropped, as RFC 1928 section 7 allows. */
export const decodeDatagram = (bytes: Uint8Array): SocksDatagram | undefined => {
  if (bytes[0] !== 0 || bytes[1] !== 0 || bytes[2] !== 0) return undefined
  const decoded = decodeAddress(bytes, 3)
  return decoded._tag === "Address" ? { address: decoded.address, payload: bytes.subarray(decoded.end) } : undefined
}

export const encodeDatagram = ({ address, payload }: SocksDatagram): Uint8Array => {
  const head = encodeAddress(address)
  const bytes = new Uint8Array(3 + head.length + payload.length)
  bytes.set(head, 3)
  bytes.set(payload, 3 + head.length)
  return bytes
}
