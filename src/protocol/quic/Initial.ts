/**
 * The server name (SNI) that the first datagram of a QUIC v1 client asks for, read without a QUIC stack, so that a server
 * can choose a TLS context before it makes a connection (identity.md ID-R19). Anybody on the path can read and make such
 * a packet: the name chooses a context and proves nothing.
 *
 * A datagram is one or more coalesced packets; the Initial ones with the first destination connection id count:
 *
 * | field of an Initial packet (RFC 9000 section 17.2.2) | bytes |
 * |---|---|
 * | first byte `1100 RRPP`: fixed bit, type 0, reserved 0, packet number length - 1 (the last 4 bits protected) | 1 |
 * | version, 0x00000001 | 4 |
 * | length and destination connection id; length and source connection id | 1 + 0..20, 1 + 0..20 |
 * | token length (varint), token | 1..8 + n |
 * | length of the rest (varint) | 1..8 |
 * | packet number (protected), frames, tag | 1..4, n, 16 |
 *
 * Frames: PADDING 0x00, PING 0x01, ACK 0x02 and 0x03, CRYPTO 0x06 (offset, length, data), CONNECTION_CLOSE 0x1c (skipped
 * with the rest). The CRYPTO data, in the order of its offsets, begins with the ClientHello (RFC 8446 section 4.1.2), whose
 * extension 0 has one host_name (RFC 6066 section 3) of 1 to 255 bytes of printable ASCII.
 *
 * The answer is undefined for anything else: another version, an unauthentic packet, another frame, a ClientHello that
 * does not end in this datagram, pieces that contradict each other, no name. Nothing throws. The work is bounded by the
 * datagram, `PACKETS_MAX` and `PIECES_MAX`. That the datagram has at least 1,200 bytes is for the caller to check.
 */
import { initialSecret, type OpenedPacket, openPacket, type PacketKeys, packetKeys } from "./InitialKeys.ts"

/** Initial packets looked at in one datagram. Clients send one, seldom two. */
export const PACKETS_MAX = 4

/** CRYPTO frames looked at in one datagram. Browsers cut a ClientHello into some ten pieces on purpose. */
export const PIECES_MAX = 64

const VERSION_1 = 1
const CONNECTION_ID_MAX = 20
const SERVER_NAME_EXTENSION = 0
const HOST_NAME = 0
const CLIENT_HELLO = 1

/** The server name of the ClientHello in a client's first datagram, in lower case; undefined where there is none. */
export const serverNameOfInitial = (datagram: Uint8Array): string | undefined => {
  const hello = clientHelloOfInitial(datagram)
  return hello === undefined ? undefined : serverNameOfClientHello(hello)
}

/** The ClientHello message, with its 4-byte header, of a client's first datagram; undefined where it is not whole. */
export const clientHelloOfInitial = (datagram: Uint8Array): Uint8Array | undefined => {
  const pieces: Array<Piece> = []
  let keys: PacketKeys | undefined
  let connectionId: Uint8Array | undefined
  let at = 0
  for (let count = 0; count < PACKETS_MAX && at < datagram.length; count++) {
    const header = readHeader(datagram, at)
    if (header === undefined) break
    connectionId ??= header.destinationConnectionId
    if (header.isInitial && Buffer.compare(connectionId, header.destinationConnectionId) === 0) {
      keys ??= packetKeys(initialSecret(connectionId, "client"))
      const packet = openPacket(keys, datagram.subarray(at, header.end), header.numberAt - at)
      if (packet === undefined || !readFrames(packet, pieces)) return undefined
    }
    at = header.end
  }
  return assemble(pieces)
}

/** The host_name of a ClientHello message, in lower case. */
export const serverNameOfClientHello = (hello: Uint8Array): string | undefined => {
  const message = new Cursor(hello)
  if (message.number(1) !== CLIENT_HELLO) return undefined
  const body = message.part(3)
  body.skip(2 + 32) // legacy_version, random
  body.part(1) // legacy_session_id
  body.part(2) // cipher_suites
  body.part(1) // legacy_compression_methods
  const extensions = body.part(2)
  while (!extensions.failed && extensions.left > 0) {
    const type = extensions.number(2)
    const data = extensions.part(2)
    if (type !== SERVER_NAME_EXTENSION || data.failed) continue
    const list = data.part(2)
    const isHostName = list.number(1) === HOST_NAME
    const name = list.bytes(list.number(2))
    if (!isHostName || list.failed || list.left > 0 || data.left > 0) return undefined
    const text = Buffer.from(name).toString("latin1")
    return /^[\x21-\x7e]{1,255}$/.test(text) ? text.toLowerCase() : undefined
  }
  return undefined
}

/** A part of the CRYPTO stream. */
interface Piece {
  readonly offset: number
  readonly bytes: Uint8Array
}

/** Reads big-endian numbers; what lies behind the end sets `failed` and gives zero or nothing. */
class Cursor {
  readonly #bytes: Uint8Array
  #at: number
  failed = false

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes
    this.#at = at
  }
  get at() {
    return this.#at
  }
  get left() {
    return this.#bytes.length - this.#at
  }
  bytes(length: number): Uint8Array {
    if (length > this.left) {
      this.failed = true
      this.#at = this.#bytes.length
      return this.#bytes.subarray(0, 0)
    }
    this.#at += length
    return this.#bytes.subarray(this.#at - length, this.#at)
  }
  /** Passes over the zero bytes that come next: an Initial packet is PADDING for the most part. */
  skipZeros() {
    const bytes = this.#bytes
    let at = this.#at
    while (at < bytes.length && bytes[at] === 0) at++
    this.#at = at
  }
  skip(length: number) {
    this.bytes(length)
  }
  number(length: number): number {
    if (length > this.left) {
      this.failed = true
      this.#at = this.#bytes.length
      return 0
    }
    let value = 0
    for (const end = this.#at + length; this.#at < end; this.#at++) value = value * 256 + (this.#bytes[this.#at] ?? 0)
    return value
  }
  /** A vector with its length in so many bytes before it. Fails with its parent. */
  part(lengthBytes: number): Cursor {
    const part = new Cursor(this.bytes(this.number(lengthBytes)))
    part.failed = this.failed
    return part
  }
  /** A variable-length integer (RFC 9000 section 16). Above 2^53 it is rounded, which is more than any length here. */
  varint(): number {
    const first = this.number(1)
    return (first & 0x3f) * 256 ** ((1 << (first >> 6)) - 1) + this.number((1 << (first >> 6)) - 1)
  }
}

interface PacketHeader {
  readonly isInitial: boolean
  readonly destinationConnectionId: Uint8Array
  readonly numberAt: number
  readonly end: number
}

/** The unprotected part of a long header with a length; undefined ends the datagram. */
const readHeader = (datagram: Uint8Array, start: number): PacketHeader | undefined => {
  const cursor = new Cursor(datagram, start)
  const first = cursor.number(1)
  if ((first & 0xc0) !== 0xc0 || cursor.number(4) !== VERSION_1) return undefined
  const destinationConnectionId = cursor.bytes(cursor.number(1))
  const source = cursor.bytes(cursor.number(1))
  if (destinationConnectionId.length > CONNECTION_ID_MAX || source.length > CONNECTION_ID_MAX) return undefined
  const type = (first >> 4) & 0x03
  if (type === 3) return undefined // Retry: no length, and never of a client
  if (type === 0) cursor.skip(cursor.varint()) // token
  const length = cursor.varint()
  const numberAt = cursor.at
  cursor.skip(length)
  return cursor.failed ? undefined : { isInitial: type === 0, destinationConnectionId, numberAt, end: cursor.at }
}

/** Collects the CRYPTO frames of a packet. False: a frame that an Initial packet must not hold, or too many. */
const readFrames = (packet: OpenedPacket, pieces: Array<Piece>): boolean => {
  const cursor = new Cursor(packet.payload)
  for (cursor.skipZeros(); cursor.left > 0; cursor.skipZeros()) {
    const type = cursor.number(1)
    if (type === 0x01) continue
    if (type === 0x1c) return true
    if (type === 0x06) {
      const offset = cursor.varint()
      pieces.push({ offset, bytes: cursor.bytes(cursor.varint()) })
      if (pieces.length > PIECES_MAX) return false
    } else if (type === 0x02 || type === 0x03) {
      skipAck(cursor, type === 0x03)
    } else {
      return false
    }
    if (cursor.failed) return false
  }
  return true
}

const skipAck = (cursor: Cursor, withEcn: boolean) => {
  cursor.varint() // largest acknowledged
  cursor.varint() // delay
  const ranges = cursor.varint()
  cursor.varint() // first range
  for (let left = ranges * 2 + (withEcn ? 3 : 0); left > 0 && !cursor.failed; left--) cursor.varint()
}

/** Joins the pieces from offset 0 to the end of the first message; undefined where they leave a gap or disagree. */
const assemble = (pieces: Array<Piece>): Uint8Array | undefined => {
  pieces.sort((a, b) => a.offset - b.offset)
  const size = pieces.reduce((sum, piece) => sum + piece.bytes.length, 0)
  const stream = new Uint8Array(size)
  let filled = 0
  for (const { offset, bytes } of pieces) {
    if (offset > filled) break
    const again = Math.min(filled - offset, bytes.length)
    if (Buffer.compare(stream.subarray(offset, offset + again), bytes.subarray(0, again)) !== 0) return undefined
    stream.set(bytes.subarray(again), filled)
    filled += bytes.length - again
  }
  const cursor = new Cursor(stream.subarray(0, filled))
  cursor.skip(1)
  cursor.skip(cursor.number(3))
  return cursor.failed || cursor.at === 0 ? undefined : stream.subarray(0, cursor.at)
}
