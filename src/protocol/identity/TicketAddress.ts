/**
 * The address field of a ticket (identity.md section 8, type 01).
 *
 * | first byte | then | bytes in all |
 * |---|---|---|
 * | 04 | IPv4 address (4), port (2) | 7 |
 * | 06 | IPv6 address (16), port (2) | 19 |
 * | 0d | ASCII host name (1-253: letters, digits, `-`, `.`), port (2) | 4-256 |
 * | other | kept, not used | 1 or more |
 *
 * Big-endian; port 0 is refused. A name is kept as it is written, upper case and digits alone included, and is resolved
 * only when somebody dials.
 */
import { isIPv4, isIPv6 } from "node:net"
import { concatBytes } from "@noble/hashes/utils.js"
import type { SocketAddress } from "../SocketAddress.ts"

export type TicketAddress =
  | { readonly kind: "ipv4" | "ipv6" | "name"; readonly host: string; readonly port: number }
  /** An address of a kind that this version does not know. */
  | { readonly kind: "other"; readonly bytes: Uint8Array }

/** The address of a ticket for one that can be dialed; undefined where the host is no address and no legal name. */
export const ticketAddressOf = ({ host, port }: SocketAddress): TicketAddress | undefined => {
  if (port < 1 || port > 65535) return undefined
  if (isIPv4(host)) return { kind: "ipv4", host, port }
  if (isIPv6(host)) return host.includes("%") ? undefined : { kind: "ipv6", host: compressed(host), port }
  return NAME.test(host) ? { kind: "name", host, port } : undefined
}

/** The addresses that can be dialed, in their order. */
export const socketAddressesOf = (addresses: ReadonlyArray<TicketAddress>): ReadonlyArray<SocketAddress> =>
  addresses.flatMap((address) => (address.kind === "other" ? [] : [{ host: address.host, port: address.port }]))

/** The value of the field. What it cannot hold makes a value that does not decode. */
export const encodeTicketAddress = (address: TicketAddress): Uint8Array => {
  if (address.kind === "other") return address.bytes
  const port = Uint8Array.of(address.port >> 8, address.port)
  switch (address.kind) {
    case "ipv4":
      return concatBytes(Uint8Array.of(0x04), Uint8Array.from(address.host.split("."), Number), port)
    case "ipv6":
      return concatBytes(Uint8Array.of(0x06), ipv6Bytes(address.host), port)
    case "name":
      return concatBytes(Uint8Array.of(0x0d), new TextEncoder().encode(address.host), port)
  }
}

/** Reads the value of the field; undefined where it is malformed. */
export const decodeTicketAddress = (value: Uint8Array): TicketAddress | undefined => {
  const host = value.subarray(1, -2)
  const port = (value.at(-2) ?? 0) * 256 + (value.at(-1) ?? 0)
  switch (value[0]) {
    case undefined:
      return undefined
    case 0x04:
      return value.length === 7 && port > 0 ? { kind: "ipv4", host: host.join("."), port } : undefined
    case 0x06:
      return value.length === 19 && port > 0 ? { kind: "ipv6", host: ipv6Text(host), port } : undefined
    case 0x0d: {
      const name = value.length >= 4 && port > 0 ? String.fromCharCode(...host) : ""
      return NAME.test(name) ? { kind: "name", host: name, port } : undefined
    }
    default:
      return { kind: "other", bytes: value.slice() }
  }
}

const NAME = /^[A-Za-z0-9.-]{1,253}$/

/** RFC 5952, with hex digits only. */
const compressed = (address: string): string => new URL(`http://[${address}]/`).hostname.slice(1, -1)

const ipv6Text = (bytes: Uint8Array): string => {
  const groups = Array.from({ length: 8 }, (_, index) => (bytes[2 * index]! << 8) | bytes[2 * index + 1]!)
  return compressed(groups.map((group) => group.toString(16)).join(":"))
}

const ipv6Bytes = (address: string): Uint8Array => {
  const bytes = new Uint8Array(16)
  const [left = "", right] = compressed(address).split("::")
  const groups = (text: string) => (text === "" ? [] : text.split(":").map((group) => Number.parseInt(group, 16)))
  const head = groups(left)
  const tail = right === undefined ? [] : groups(right)
  const view = new DataView(bytes.buffer)
  head.forEach((group, index) => {
    view.setUint16(2 * index, group)
  })
  tail.forEach((group, index) => {
    view.setUint16(16 - 2 * (tail.length - index), group)
  })
  return bytes
}
