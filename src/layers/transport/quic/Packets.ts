/**
 * What the driver reads and writes of a packet without the stack: connection ids, addresses, version negotiation.
 *
 * Connection ids that we choose have 20 bytes, so that a short header (RFC 9000 section 17.3) needs no parse: they are
 * bytes 1 to 20. A long header (17.2) carries flags, 4 bytes of version, then each id with its length.
 */

import { randomBytes } from "node:crypto"
import { isIPv6 } from "node:net"

export const CONNECTION_ID_BYTES = 20

/** A shorter datagram cannot carry a short header and 16 bytes of authentication. */
const DATAGRAM_BYTES_MIN = 1 + CONNECTION_ID_BYTES

const LONG_HEADER = 0x80

export const isLongHeader = (datagram: Buffer): boolean => (datagram[0]! & LONG_HEADER) !== 0

/** The destination connection id as a map key; undefined where there is none of a legal size. */
export const connectionKeyOf = (datagram: Buffer): string | undefined => {
  if (datagram.length < DATAGRAM_BYTES_MIN) return undefined
  if (!isLongHeader(datagram)) return datagram.toString("latin1", 1, 1 + CONNECTION_ID_BYTES)
  const length = datagram[5]!
  if (length > CONNECTION_ID_BYTES || datagram.length < 6 + length) return undefined
  return datagram.toString("latin1", 6, 6 + length)
}

export const connectionKey = (id: Uint8Array): string => Buffer.from(id).toString("latin1")

/** Version negotiation (RFC 8999 section 6): ids swapped, version 0, and the one version that we speak. */
export const versionNegotiation = (scid: Uint8Array, dcid: Uint8Array): Buffer => {
  const first = Buffer.from([LONG_HEADER | randomBytes(1)[0]!, 0, 0, 0, 0])
  const version = Buffer.from([0, 0, 0, 1])
  return Buffer.concat([first, Buffer.from([scid.length]), scid, Buffer.from([dcid.length]), dcid, version])
}

/** What counts as one address: an IPv4 address, or the /64 of an IPv6 address. */
export const addressPrefix = (host: string): string => {
  if (!isIPv6(host)) return host
  const [head = "", tail] = host.split("%")[0]!.split("::")
  const groups = head === "" ? [] : head.split(":")
  const rest = tail === undefined || tail === "" ? [] : tail.split(":")
  while (groups.length + rest.length < 8) groups.push("0")
  return [...groups, ...rest].slice(0, 4).join(":")
}
