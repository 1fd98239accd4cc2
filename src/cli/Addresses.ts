/**
 * Which addresses to tell others: a socket that is bound to every address of the machine is reached at each of them.
 */
import { type NetworkInterfaceInfo, networkInterfaces } from "node:os"
import { formatSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"

/** As many as a ticket holds. */
const ADDRESSES_MAX = 16

const isWildcard = (host: string): boolean => host === "0.0.0.0" || host === "::"

const isUsable = ({ address, family, internal }: NetworkInterfaceInfo): boolean =>
  !internal && !(family === "IPv6" && address.toLowerCase().startsWith("fe80"))

/** The addresses of this machine in a family, loopback only where there is no other. */
const machineAddresses = (family: "IPv4" | "IPv6"): ReadonlyArray<string> => {
  const all = Object.values(networkInterfaces()).flatMap((infos) => infos ?? [])
  const found = all.filter((info) => info.family === family && isUsable(info)).map(({ address }) => address)
  if (found.length > 0) return found
  return all.some((info) => info.family === family) ? [family === "IPv4" ? "127.0.0.1" : "::1"] : []
}

/** Addresses that can be dialed, best first, each once. */
export const dialableAddresses = (bound: ReadonlyArray<SocketAddress>): ReadonlyArray<SocketAddress> => {
  const seen = new Set<string>()
  return bound
    .flatMap(({ host, port }) =>
      isWildcard(host)
        ? machineAddresses(host === "::" ? "IPv6" : "IPv4").map((one) => ({ host: one, port }))
        : [{ host, port }]
    )
    .filter((address) => {
      const text = formatSocketAddress(address)
      if (seen.has(text)) return false
      seen.add(text)
      return true
    })
    .slice(0, ADDRESSES_MAX)
}
