/**
 * A host and a port on the wire, as SOCKS5 has them (RFC 1928 section 5); `alknet/tunnel` uses the same.
 *
 * ```
 * address = %x01 4 bytes port / %x03 length 1*255 bytes of a name port / %x04 16 bytes port
 * port    = 2 bytes, big endian
 * ```
 *
 * A name is 1 to 255 printable ASCII characters; whether it means anything is for those who resolve it. What is refused is
 * refused at the first byte that is wrong, before the rest has come.
 */
import { addressBytes } from "../forward/AddressClass.ts"
import type { SocketAddress } from "../SocketAddress.ts"

const IPV4 = 1
const NAME = 3
const IPV6 = 4

export type DecodedAddress =
  | { readonly _tag: "Address"; readonly address: SocketAddress /** Offset behind it. */; readonly end: number }
  | { readonly _tag: "Incomplete" }
  /** The kind of address is unknown. */
  | { readonly _tag: "Unsupported" }
  | { readonly _tag: "Invalid" }

export const decodeAddress = (bytes: Uint8Array, offset: number): DecodedAddress => {
  const kind = bytes[offset]
  if (kind === undefined) return { _tag: "Incomplete" }
  if (kind !== IPV4 && kind !== NAME && kind !== IPV6) return { _tag: "Unsupported" }
  const named = kind === NAME
  const length = named ? bytes[offset + 1] : kind === IPV4 ? 4 : 16
  if (length === undefined) return { _tag: "Incomplete" }
  if (length === 0) return { _tag: "Invalid" }
  const start = offset + (named ? 2 : 1)
  const end = start + length + 2
  if (bytes.length < end) return { _tag: "Incomplete" }
  const host = hostOf(kind, bytes.subarray(start, start + length))
  if (host === undefined) return { _tag: "Invalid" }
  return { _tag: "Address", address: { host, port: bytes[end - 2]! * 256 + bytes[end - 1]! }, end }
}

const hostOf = (kind: number, bytes: Uint8Array): string | undefined => {
  if (kind === IPV4) return bytes.join(".")
  if (kind === IPV6) {
    const groups = Array.from({ length: 8 }, (_, index) =>
      (bytes[2 * index]! * 256 + bytes[2 * index + 1]!).toString(16)
    )
    return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1)
  }
  return bytes.every((byte) => byte > 0x20 && byte < 0x7f) ? String.fromCharCode(...bytes) : undefined
}

/** A host that is no address is a name; one that does not fit is cut by nobody: the caller has checked it. */
export const encodeAddress = ({ host, port }: SocketAddress): Uint8Array => {
  const address = addressBytes(host)
  const name = address === undefined ? new TextEncoder().encode(host).subarray(0, 255) : undefined
  const head = name === undefined ? [address!.length === 4 ? IPV4 : IPV6] : [NAME, name.length]
  return Uint8Array.from([...head, ...(address ?? name!), port >> 8, port & 0xff])
}
