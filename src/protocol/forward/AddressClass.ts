/**
 * What an IP address is: part of the public internet, or something that a rule must name before a peer may reach it through
 * this node (IANA special-purpose address registries; RFC 6890).
 *
 * An IPv4 address inside an IPv6 one (mapped, compatible, NAT64, 6to4) is judged as the IPv4 address that it leads to:
 * otherwise `::ffff:127.0.0.1` would be a way to loopback.
 */

/** `public` needs no rule of its own; everything else does. */
export type AddressClass = "public" | "loopback" | "link-local" | "private" | "multicast" | "reserved"

/** The bytes of an address, 4 or 16; undefined for text that is none. A zone (`%eth0`) is none. */
export const addressBytes = (text: string): Uint8Array | undefined => {
  const v4 = ipv4Bytes(text)
  return v4 ?? ipv6Bytes(text)
}

const ipv4Bytes = (text: string): Uint8Array | undefined => {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text)
  if (match === null) return undefined
  const bytes = match.slice(1).map(Number)
  // A leading zero is octal to some programs and decimal to others.
  if (bytes.some((byte, index) => byte > 255 || String(byte) !== match[index + 1])) return undefined
  return Uint8Array.from(bytes)
}

const ipv6Bytes = (text: string): Uint8Array | undefined => {
  const halves = text.split("::")
  if (halves.length > 2) return undefined
  const groups = halves.map(groupsOf)
  const [head, tail = []] = groups
  if (head === undefined || groups.includes(undefined) || tail === undefined) return undefined
  const missing = 8 - head.length - tail.length
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined
  const all = [...head, ...new Array<number>(halves.length === 2 ? missing : 0).fill(0), ...tail]
  return Uint8Array.from(all.flatMap((group) => [group >> 8, group & 0xff]))
}

/** The 16-bit groups of one side of `::`; an IPv4 address at its end counts as two. */
const groupsOf = (text: string): ReadonlyArray<number> | undefined => {
  if (text === "") return []
  const parts = text.split(":")
  const last = parts[parts.length - 1]!
  const v4 = last.includes(".") ? ipv4Bytes(last) : undefined
  if (last.includes(".") && v4 === undefined) return undefined
  const plain = v4 === undefined ? parts : parts.slice(0, -1)
  if (plain.some((part) => !/^[0-9a-fA-F]{1,4}$/.test(part))) return undefined
  const groups = plain.map((part) => Number.parseInt(part, 16))
  return v4 === undefined ? groups : [...groups, (v4[0]! << 8) | v4[1]!, (v4[2]! << 8) | v4[3]!]
}

/** A block of addresses. */
export interface Block {
  readonly bytes: Uint8Array
  readonly bits: number
}

/** `10.0.0.0/8`, `fc00::/7`, or one address. Bits behind the prefix that are set are a mistake. */
export const parseBlock = (text: string): Block | undefined => {
  const [address = "", prefix, ...more] = text.split("/")
  const bytes = addressBytes(address)
  if (bytes === undefined || more.length > 0) return undefined
  const bits = prefix === undefined ? bytes.length * 8 : /^\d{1,3}$/.test(prefix) ? Number(prefix) : -1
  if (bits < 0 || bits > bytes.length * 8) return undefined
  return bytes.every((byte, index) => (byte & ~maskByte(bits, index)) === 0) ? { bytes, bits } : undefined
}

/** Whether an address lies in a block; an IPv4 address inside an IPv6 one counts as both. */
export const isInBlock = (address: Uint8Array, block: Block): boolean => {
  if (address.length !== block.bytes.length) {
    const inner = address.length === 16 ? embeddedIpv4(address) : undefined
    return inner !== undefined && isInBlock(inner, block)
  }
  return address.every((byte, index) => (byte & maskByte(block.bits, index)) === block.bytes[index])
}

const maskByte = (bits: number, index: number): number => {
  const own = Math.min(Math.max(bits - index * 8, 0), 8)
  return (0xff00 >> own) & 0xff
}

const block = (text: string): Block => parseBlock(text)!

const V4: ReadonlyArray<readonly [Block, AddressClass]> = [
  [block("127.0.0.0/8"), "loopback"],
  [block("169.254.0.0/16"), "link-local"],
  [block("10.0.0.0/8"), "private"],
  [block("172.16.0.0/12"), "private"],
  [block("192.168.0.0/16"), "private"],
  // Shared address space of carriers.
  [block("100.64.0.0/10"), "private"],
  [block("224.0.0.0/4"), "multicast"],
  // "This host": connects to the machine itself.
  [block("0.0.0.0/8"), "loopback"],
  [block("192.0.0.0/24"), "reserved"],
  [block("192.0.2.0/24"), "reserved"],
  [block("192.88.99.0/24"), "reserved"],
  [block("198.18.0.0/15"), "reserved"],
  [block("198.51.100.0/24"), "reserved"],
  [block("203.0.113.0/24"), "reserved"],
  [block("240.0.0.0/4"), "reserved"]
]

const V6: ReadonlyArray<readonly [Block, AddressClass]> = [
  [block("::1/128"), "loopback"],
  [block("::/128"), "loopback"],
  [block("fe80::/10"), "link-local"],
  [block("fec0::/10"), "private"],
  [block("fc00::/7"), "private"],
  [block("ff00::/8"), "multicast"],
  [block("100::/64"), "reserved"],
  [block("2001:db8::/32"), "reserved"],
  // Teredo hides an IPv4 address behind an exclusive or.
  [block("2001::/32"), "reserved"],
  [block("64:ff9b:1::/48"), "private"]
]
/** What is handed out is below this; all else is reserved. */
const GLOBAL_UNICAST = block("2000::/3")

/** Where an IPv4 address lies in an IPv6 one, by prefix. */
const EMBEDDED: ReadonlyArray<readonly [Block, offset: number]> = [
  [block("::ffff:0:0/96"), 12],
  [block("64:ff9b::/96"), 12],
  [block("2002::/16"), 2],
  // Last, and not for `::` and `::1`, which are no IPv4 addresses.
  [block("::/96"), 12]
]

const embeddedIpv4 = (address: Uint8Array): Uint8Array | undefined => {
  if (address.slice(0, 15).every((byte) => byte === 0) && address[15]! <= 1) return undefined
  const found = EMBEDDED.find(([prefix]) =>
    prefix.bytes.every((byte, index) => {
      const mask = maskByte(prefix.bits, index)
      return (address[index]! & mask) === byte
    })
  )
  return found === undefined ? undefined : address.slice(found[1], found[1] + 4)
}

export const classOfAddress = (address: Uint8Array): AddressClass => {
  const inner = address.length === 16 ? embeddedIpv4(address) : address
  if (inner !== undefined) return V4.find(([block]) => isInBlock(inner, block))?.[1] ?? "public"
  const found = V6.find(([block]) => isInBlock(address, block))?.[1]
  return found ?? (isInBlock(address, GLOBAL_UNICAST) ? "public" : "reserved")
}
