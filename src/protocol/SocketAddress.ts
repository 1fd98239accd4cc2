/**
 * A host and a port, and its text form: `127.0.0.1:4433`, `[::1]:4433`, `node.example:443`.
 *
 * `host` is an IPv4 address, an IPv6 address without brackets, or a DNS name of at most 253 characters. Port 0 is legal
 * where an address is bound ("any free port"), never where one is dialed.
 */

import { isIPv6 } from "node:net"
import { Result, Schema } from "effect"

export interface SocketAddress {
  readonly host: string
  readonly port: number
}

export class SocketAddressInvalid extends Schema.TaggedError<SocketAddressInvalid>()("SocketAddressInvalid", {
  hint: Schema.String
}) {
  override get message() {
    return `not a socket address: ${this.hint}`
  }
}

const HOST = /^(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?$/

/** Reads `HOST:PORT`; an IPv6 host stands in brackets. */
export const parseSocketAddress = (text: string): Result.Result<SocketAddress, SocketAddressInvalid> => {
  const bracketed = /^\[([0-9a-fA-F:.]+)\]:(\d{1,5})$/.exec(text)
  const plain = bracketed ?? /^([^:[\]]+):(\d{1,5})$/.exec(text)
  const host = plain?.[1]
  const port = Number(plain?.[2])
  if (host === undefined || (bracketed === null ? !HOST.test(host) : !isIPv6(host))) {
    return Result.fail(new SocketAddressInvalid({ hint: "write HOST:PORT, or [IPV6]:PORT" }))
  }
  if (port > 65535) return Result.fail(new SocketAddressInvalid({ hint: "the port is a number from 0 to 65535" }))
  return Result.succeed({ host: host.toLowerCase(), port })
}

/** The text form; an IPv6 host gets brackets. */
export const formatSocketAddress = (address: SocketAddress): string =>
  address.host.includes(":") ? `[${address.host}]:${address.port}` : `${address.host}:${address.port}`

/** Whether only this machine reaches an address. A name is looked up later and by others, so `localhost` alone counts. */
export const isLoopback = (host: string): boolean =>
  host === "localhost" || host === "::1" || /^127(?:\.\d{1,3}){3}$/.test(host)
