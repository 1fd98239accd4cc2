/**
 * What `-L` and `-R` take (ssh(1)): where to listen and where connections go.
 *
 * ```
 * forward = [[address] ":"] port ":" destination     port 0: any free one
 * destination = host ":" port / "/" path of a socket (of the side that connects)
 * ```
 *
 * An IPv6 address stands in brackets. Without an address the listener is on 127.0.0.1; an empty one or `*` is every address.
 */
import { Result } from "effect"
import type { SocketAddress } from "../SocketAddress.ts"
import { addressBytes } from "./AddressClass.ts"
import { isHostName, plainHost } from "./HostName.ts"

/** Where a connection goes. */
export type ForwardDestination =
  | { readonly _tag: "Host"; readonly address: SocketAddress }
  | { readonly _tag: "Socket"; readonly path: string }

export interface ForwardSpec {
  /** `*` as the host: every address. */
  readonly listen: SocketAddress
  readonly destination: ForwardDestination
}

/** A failure is what is wrong, in words. */
export const parseForwardSpec = (text: string): Result.Result<ForwardSpec, string> => {
  const match = /^(?:(\[[^\]]*\]|[^:[\]]*):)?(\d{1,5}):(\/.*|(?:\[[^\]]+\]|[^:[\]/]+):\d{1,5})$/.exec(text)
  const port = Number(match?.[2])
  if (match === null || port > 65_535) {
    return Result.fail("write [ADDR:]PORT:HOST:PORT, or [ADDR:]PORT:/PATH of a socket")
  }
  const host = match[1] === undefined ? "127.0.0.1" : match[1] === "" || match[1] === "*" ? "*" : hostOf(match[1])
  if (host === undefined) return Result.fail("the address to listen at is an address of that machine, or localhost")
  const destination = destinationOf(match[3]!)
  if (destination === undefined) return Result.fail("the destination is HOST:PORT with a port from 1 to 65535")
  return Result.succeed({ listen: { host, port }, destination })
}

const destinationOf = (text: string): ForwardDestination | undefined => {
  if (text.startsWith("/")) return text.includes("\0") ? undefined : { _tag: "Socket", path: text }
  const colon = text.lastIndexOf(":")
  const host = hostOf(text.slice(0, colon))
  const port = Number(text.slice(colon + 1))
  if (host === undefined || port < 1 || port > 65_535) return undefined
  return { _tag: "Host", address: { host, port } }
}

const hostOf = (text: string): string | undefined => {
  const host = plainHost(text.startsWith("[") ? text.slice(1, -1) : text)
  const isAddress = addressBytes(host) !== undefined
  if (text.startsWith("[")) return isAddress && host.includes(":") ? host : undefined
  return isAddress || isHostName(host) ? host : undefined
}
