/**
 * `alknet/tunnel`: connections, listeners and datagrams of one node on behalf of another. The client opens every stream. Its
 * first frame says what the stream is for, the answer whether that worked; then a connection is raw bytes, each direction
 * ending on its own. Sizes in bytes, numbers big endian.
 *
 * ```
 * frame   = length(2) body(length)                      length 1 to 1,024
 * request = %x01 address                                connect to a host
 *         / %x02 address                                listen; port 0 takes a free one; the stream stays open
 *         / %x03                                        datagrams; the flow lives as long as the stream
 *         / %x04 path                                   connect to a socket of the machine, UTF-8, absolute
 *         / %x05 token(16)                              take a connection that arrived at a listener of ours
 * answer  = code(1) [address]                           code 0: it worked (RFC 1928 section 6); address: what listens
 *         / %x00 flow(4)                                to datagrams
 * arrival = token(16) [address]                         on the stream of a listener, after the answer; address: from whom
 * ```
 *
 * A listener announces what arrives and the client takes it with a stream of its own: so it works the same where a connection
 * has only one stream (TLS), each stream then being a connection. `address` is that of SOCKS5.
 *
 * QUIC datagrams: `flow(4) address payload`, to that address or from it. Others, and those for unknown flows, are dropped.
 */

import { Alpn } from "../Alpn.ts"
import type { ReplyCode } from "../forward/ReplyCode.ts"
import type { SocketAddress } from "../SocketAddress.ts"
import { decodeAddress, encodeAddress } from "../socks/SocksAddress.ts"

export const TUNNEL_ALPN = Alpn.make("alknet/tunnel")

/** The longest body of a frame. */
export const TUNNEL_FRAME_MAX = 1024
export const TOKEN_BYTES = 16

export type TunnelRequest =
  | { readonly _tag: "Connect"; readonly target: SocketAddress }
  | { readonly _tag: "Listen"; readonly at: SocketAddress }
  | { readonly _tag: "Datagrams" }
  | { readonly _tag: "Socket"; readonly path: string }
  | { readonly _tag: "Collect"; readonly token: Uint8Array }

const COMMANDS = { Connect: 1, Listen: 2, Datagrams: 3, Socket: 4, Collect: 5 } as const

const frame = (...parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const length = parts.reduce((sum, part) => sum + part.length, 0)
  return Uint8Array.from([length >> 8, length & 0xff, ...parts.flatMap((part) => [...part])])
}

export const encodeRequest = (request: TunnelRequest): Uint8Array =>
  frame(Uint8Array.of(COMMANDS[request._tag]), bodyOf(request))

const bodyOf = (request: TunnelRequest): Uint8Array => {
  switch (request._tag) {
    case "Connect":
      return encodeAddress(request.target)
    case "Listen":
      return encodeAddress(request.at)
    case "Datagrams":
      return new Uint8Array(0)
    case "Socket":
      return new TextEncoder().encode(request.path)
    case "Collect":
      return request.token
  }
}

/** The request in the body of a frame; undefined where it is none. */
export const decodeRequest = (body: Uint8Array): TunnelRequest | undefined => {
  const rest = body.subarray(1)
  switch (body[0]) {
    case COMMANDS.Connect: {
      const target = wholeAddress(rest)
      return target === undefined ? undefined : { _tag: "Connect", target }
    }
    case COMMANDS.Listen: {
      const at = wholeAddress(rest)
      return at === undefined ? undefined : { _tag: "Listen", at }
    }
    case COMMANDS.Datagrams:
      return rest.length === 0 ? { _tag: "Datagrams" } : undefined
    case COMMANDS.Socket: {
      const path = textOf(rest)
      return path?.startsWith("/") === true && !path.includes("\0") ? { _tag: "Socket", path } : undefined
    }
    case COMMANDS.Collect:
      return rest.length === TOKEN_BYTES ? { _tag: "Collect", token: rest.slice() } : undefined
    default:
      return undefined
  }
}

const wholeAddress = (bytes: Uint8Array): SocketAddress | undefined => {
  const decoded = decodeAddress(bytes, 0)
  return decoded._tag === "Address" && decoded.end === bytes.length ? decoded.address : undefined
}

const textOf = (bytes: Uint8Array): string | undefined => {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes)
  } catch {
    return undefined
  }
}

export interface TunnelAnswer {
  readonly code: ReplyCode
  /** What comes after the code: an address or the number of a flow. */
  readonly detail: Uint8Array
}

export const encodeAnswer = (code: ReplyCode, bound?: SocketAddress): Uint8Array =>
  frame(Uint8Array.of(code), bound === undefined ? new Uint8Array(0) : encodeAddress(bound))

export const encodeFlowAnswer = (flow: number): Uint8Array => frame(Uint8Array.of(0), flowBytes(flow))

/** A frame has a body, so there is a code. */
export const decodeAnswer = (body: Uint8Array): TunnelAnswer => ({ code: body[0]!, detail: body.subarray(1) })

/** The address in an answer to `Listen`. */
export const boundOf = ({ detail }: TunnelAnswer): SocketAddress | undefined => wholeAddress(detail)

/** The flow in an answer to `Datagrams`. */
export const flowOf = ({ detail }: TunnelAnswer): number | undefined =>
  detail.length === 4 ? readFlow(detail) : undefined

export interface TunnelArrival {
  readonly token: Uint8Array
  readonly origin: SocketAddress | undefined
}

export const encodeArrival = ({ origin, token }: TunnelArrival): Uint8Array =>
  frame(token, origin === undefined ? new Uint8Array(0) : encodeAddress(origin))

export const decodeArrival = (body: Uint8Array): TunnelArrival | undefined =>
  body.length < TOKEN_BYTES
    ? undefined
    : { token: body.slice(0, TOKEN_BYTES), origin: wholeAddress(body.subarray(TOKEN_BYTES)) }

export interface FlowDatagram {
  readonly flow: number
  readonly address: SocketAddress
  readonly payload: Uint8Array
}

export const encodeFlowDatagram = ({ address, flow, payload }: FlowDatagram): Uint8Array => {
  const head = encodeAddress(address)
  const bytes = new Uint8Array(4 + head.length + payload.length)
  bytes.set(flowBytes(flow))
  bytes.set(head, 4)
  bytes.set(payload, 4 + head.length)
  return bytes
}

export const decodeFlowDatagram = (bytes: Uint8Array): FlowDatagram | undefined => {
  const decoded = bytes.length < 4 ? undefined : decodeAddress(bytes, 4)
  if (decoded?._tag !== "Address") return undefined
  return { flow: readFlow(bytes), address: decoded.address, payload: bytes.subarray(decoded.end) }
}

const flowBytes = (flow: number): Uint8Array => Uint8Array.of(flow >>> 24, flow >>> 16, flow >>> 8, flow)

const readFlow = (bytes: Uint8Array): number =>
  ((bytes[0]! << 24) | (bytes[1]! << 16) | (bytes[2]! << 8) | bytes[3]!) >>> 0
