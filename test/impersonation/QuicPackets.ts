/** Packets and frames of QUIC v1 (RFC 9000 sections 17 and 19) as far as a client of one handshake and one stream needs. */
import { type PacketKeys, sealPacket, TAG_BYTES } from "../../src/protocol/quic/InitialKeys.ts"
import { join, type Part, Reader, uint, varint, vector } from "./Bytes.ts"

export const LEVELS = ["initial", "handshake", "application"] as const
export type Level = (typeof LEVELS)[number]

/** A packet header as it came, before its protection is removed. */
export interface PlainHeader {
  readonly level: Level | "retry" | "other"
  readonly source: Uint8Array
  /** Only in Retry. */
  readonly token: Uint8Array
  readonly numberAt: number
  readonly end: number
}

export interface Ids {
  readonly destination: Uint8Array
  readonly source: Uint8Array
  readonly token: Uint8Array
}

const NONE: Uint8Array = new Uint8Array(0)
const LONG_TYPES = ["initial", "other", "handshake", "retry"] as const

/** Long headers with a packet number of 2 bytes. Early data shares its numbers with the application level. */
const FIRST_BYTES = { initial: 0xc1, early: 0xd1, handshake: 0xe1 } as const

/** The header of the packet that starts at `start`; a short header has `connectionIdBytes` of id. */
export const readHeader = (datagram: Uint8Array, start: number, connectionIdBytes: number): PlainHeader => {
  const reader = new Reader(datagram)
  reader.at = start
  const first = reader.uint(1)
  if ((first & 0x80) === 0) {
    const numberAt = start + 1 + connectionIdBytes
    return { level: "application", source: NONE, token: NONE, numberAt, end: datagram.length }
  }
  const version = reader.uint(4)
  reader.vector(1)
  const source = reader.bytes(reader.uint(1))
  const level = version === 1 ? LONG_TYPES[(first >> 4) & 3]! : "other"
  if (level === "retry") {
    return { level, source, token: reader.bytes(reader.left - 16), numberAt: 0, end: datagram.length }
  }
  if (version !== 1) return { level, source, token: NONE, numberAt: 0, end: datagram.length }
  if (level === "initial") reader.bytes(reader.varint())
  const length = reader.varint()
  return { level, source, token: NONE, numberAt: reader.at, end: reader.at + length }
}

/** One protected packet around the frames; padded so that header protection has its sample. */
export const writePacket = (
  level: Level | "early",
  ids: Ids,
  keys: PacketKeys,
  packetNumber: number,
  frames: Uint8Array
): Uint8Array => {
  const payload = frames.length < 4 ? join(frames, new Uint8Array(4 - frames.length)) : frames
  const number = uint(2, packetNumber)
  if (level === "application") return sealPacket(keys, join([0x41], ids.destination, number), packetNumber, payload)
  const header = join(
    [FIRST_BYTES[level]],
    uint(4, 1),
    vector(1, ids.destination),
    vector(1, ids.source),
    level === "initial" ? join(varint(ids.token.length), ids.token) : NONE,
    varint(number.length + payload.length + TAG_BYTES),
    number
  )
  return sealPacket(keys, header, packetNumber, payload)
}

export const cryptoFrame = (offset: number, bytes: Uint8Array): Uint8Array =>
  join([0x06], varint(offset), varint(bytes.length), bytes)

/** Data and end of the client's first bidirectional stream. */
export const lastStreamFrame = (bytes: Uint8Array): Uint8Array => join([0x0b, 0], varint(bytes.length), bytes)

/** Acknowledges exactly these packet numbers, of which there is at least one. */
export const ackFrame = (numbers: ReadonlySet<number>): Uint8Array => {
  const descending = [...numbers].sort((a, b) => b - a)
  const ranges: Array<{ high: number; low: number }> = []
  for (const number of descending) {
    const last = ranges.at(-1)
    if (last !== undefined && last.low === number + 1) last.low = number
    else ranges.push({ high: number, low: number })
  }
  const parts: Array<Part> = [[0x02], varint(ranges[0]!.high), [0], varint(ranges.length - 1)]
  ranges.forEach((range, at) => {
    const previous = ranges[at - 1]
    if (previous !== undefined) parts.push(varint(previous.low - range.high - 2))
    parts.push(varint(range.high - range.low))
  })
  return join(...parts)
}

/** quic_transport_parameters (RFC 9000 section 18) of a client that accepts what a handshake and a stream need. */
export const transportParameters = (source: Uint8Array): Uint8Array => {
  const number = (id: number, value: number) => join(varint(id), vector(1, varint(value)))
  return join(
    number(0x01, 5_000), // max_idle_timeout
    number(0x04, 1 << 20), // initial_max_data
    number(0x05, 1 << 18), // initial_max_stream_data_bidi_local
    number(0x06, 1 << 18), // initial_max_stream_data_bidi_remote
    number(0x08, 16), // initial_max_streams_bidi
    join(varint(0x0f), vector(1, source)) // initial_source_connection_id
  )
}

/** What a client of one handshake wants to know of a packet's frames. */
export type Frame =
  | { readonly type: "crypto"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: "stream"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "close"; readonly isApp: boolean; readonly code: number }
  | { readonly type: "handshakeDone" }
  | { readonly type: "other" }

/** Fixed parts of the frames that are passed over: how many variable-length integers follow the type. */
const OTHER_FRAMES = new Map([
  [0x01, 0],
  [0x04, 3],
  [0x05, 2],
  [0x10, 1],
  [0x11, 2],
  [0x12, 1],
  [0x13, 1],
  [0x14, 1],
  [0x15, 2],
  [0x16, 1],
  [0x17, 1],
  [0x19, 1]
])

/** The frames of a payload, without PADDING and ACK. An unknown frame throws. */
export function* readFrames(payload: Uint8Array): Generator<Frame> {
  const reader = new Reader(payload)
  while (reader.left > 0) {
    const type = reader.varint()
    const integers = OTHER_FRAMES.get(type)
    if (type === 0x00) continue
    if (type === 0x02 || type === 0x03) {
      skipAck(reader, type === 0x03)
      continue
    }
    if (integers !== undefined) {
      for (let count = 0; count < integers; count++) reader.varint()
      yield { type: "other" }
    } else if (type === 0x06) {
      const offset = reader.varint()
      yield { type: "crypto", offset, bytes: reader.bytes(reader.varint()) }
    } else if (type === 0x07) {
      reader.bytes(reader.varint())
      yield { type: "other" }
    } else if (type >= 0x08 && type <= 0x0f) {
      const id = reader.varint()
      if ((type & 4) !== 0) reader.varint()
      yield { type: "stream", id, bytes: reader.bytes((type & 2) !== 0 ? reader.varint() : reader.left) }
    } else if (type === 0x18) {
      reader.varint()
      reader.varint()
      reader.vector(1)
      reader.bytes(16)
      yield { type: "other" }
    } else if (type === 0x1a || type === 0x1b) {
      reader.bytes(8)
      yield { type: "other" }
    } else if (type === 0x1c || type === 0x1d) {
      const code = reader.varint()
      if (type === 0x1c) reader.varint()
      reader.bytes(reader.varint())
      yield { type: "close", isApp: type === 0x1d, code }
    } else if (type === 0x1e) {
      yield { type: "handshakeDone" }
    } else {
      throw new RangeError(`frame type 0x${type.toString(16)}`)
    }
  }
}

const skipAck = (reader: Reader, withEcn: boolean) => {
  reader.varint()
  reader.varint()
  const ranges = reader.varint()
  reader.varint()
  for (let left = ranges * 2 + (withEcn ? 3 : 0); left > 0; left--) reader.varint()
}
