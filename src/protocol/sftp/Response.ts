/**
 * What an SFTP server answers (draft-ietf-secsh-filexfer-02 section 7), each with the id of its request:
 *
 * | type | answer | fields |
 * |---|---|---|
 * | 2 | version | version instead of an id, pairs of extension names and versions |
 * | 101 | status | code, message, language |
 * | 102 | handle | handle, at most 256 bytes |
 * | 103 | data | bytes |
 * | 104 | names | count, then file name, long name for people, attributes of each |
 * | 105 | attributes | attributes |
 * | 201 | extended reply | what the extension says: eleven numbers of statvfs, four of limits, or a hash as a string |
 *
 * A hash is told from numbers by its length: a string of 32 bytes is 36, and numbers come in eights.
 */
import { Result } from "effect"
import { type Attributes, readAttributes, writeAttributes } from "./Attributes.ts"
import { FieldReader, FieldWriter } from "./Fields.ts"
import type { Packet } from "./PacketDecoder.ts"
import { type Handle, VERSION } from "./Request.ts"
import { SftpError } from "./SftpError.ts"

export const ResponseType = {
  Version: 2,
  Status: 101,
  Handle: 102,
  Data: 103,
  Names: 104,
  Attributes: 105,
  Extended: 201
} as const

export const StatusCode = {
  Ok: 0,
  EndOfFile: 1,
  NoSuchFile: 2,
  PermissionDenied: 3,
  Failure: 4,
  BadMessage: 5,
  NoConnection: 6,
  ConnectionLost: 7,
  Unsupported: 8
} as const
export type StatusCode = (typeof StatusCode)[keyof typeof StatusCode]

export interface NameEntry {
  readonly name: string
  /** A line as `ls -l` prints it, for people. */
  readonly longName: string
  readonly attributes: Attributes
}

export const HASH_BYTES = 32
const HASH_REPLY_BYTES = 4 + HASH_BYTES

export type Response =
  | { readonly _tag: "Status"; readonly code: number; readonly message: string }
  | { readonly _tag: "Handle"; readonly handle: Handle }
  | { readonly _tag: "Data"; readonly data: Uint8Array }
  | { readonly _tag: "Names"; readonly names: ReadonlyArray<NameEntry> }
  | { readonly _tag: "Attributes"; readonly attributes: Attributes }
  | { readonly _tag: "Numbers"; readonly numbers: ReadonlyArray<number> }
  | { readonly _tag: "Hash"; readonly hash: Uint8Array }

export type ServerPacket =
  | { readonly _tag: "Version"; readonly version: number; readonly extensions: ReadonlyMap<string, string> }
  | { readonly _tag: "Response"; readonly id: number; readonly response: Response }

export const encodeVersion = (extensions: ReadonlyArray<readonly [string, string]>): Uint8Array => {
  const fields = new FieldWriter().byte(ResponseType.Version).uint32(VERSION)
  for (const [name, version] of extensions) fields.string(name).string(version)
  return fields.packet()
}

export const encodeResponse = (id: number, response: Response): Uint8Array => {
  const start = (type: number) => new FieldWriter().byte(type).uint32(id)
  switch (response._tag) {
    case "Status":
      return start(ResponseType.Status).uint32(response.code).string(response.message).string("").packet()
    case "Handle":
      return start(ResponseType.Handle).data(response.handle).packet()
    case "Data":
      return start(ResponseType.Data).data(response.data).packet()
    case "Names": {
      const fields = start(ResponseType.Names).uint32(response.names.length)
      for (const { attributes, longName, name } of response.names) {
        writeAttributes(fields.string(name).string(longName), attributes)
      }
      return fields.packet()
    }
    case "Attributes": {
      const fields = start(ResponseType.Attributes)
      writeAttributes(fields, response.attributes)
      return fields.packet()
    }
    case "Hash":
      return start(ResponseType.Extended).data(response.hash).packet()
    case "Numbers": {
      const fields = start(ResponseType.Extended)
      for (const number of response.numbers) fields.uint64(number)
      return fields.packet()
    }
  }
}

/** Length, type, id, and the length of the data: what stands before the bytes of a data answer. */
export const DATA_HEADER_BYTES = 13

/** Makes a data answer of bytes that stand in `buffer` behind the room for its header: a packet without a copy. */
export const encodeDataInPlace = (buffer: Uint8Array, id: number, dataBytes: number): Uint8Array => {
  const view = new DataView(buffer.buffer, buffer.byteOffset, DATA_HEADER_BYTES)
  view.setUint32(0, DATA_HEADER_BYTES - 4 + dataBytes)
  view.setUint8(4, ResponseType.Data)
  view.setUint32(5, id)
  view.setUint32(9, dataBytes)
  return buffer.subarray(0, DATA_HEADER_BYTES + dataBytes)
}

/** What our client reads. */
export const decodeServerPacket = ({ body, type }: Packet): Result.Result<ServerPacket, SftpError> => {
  const fields = new FieldReader(body)
  if (type === ResponseType.Version) {
    const version = fields.uint32()
    const extensions = new Map<string, string>()
    while (fields.left > 0 && fields.failure === undefined) extensions.set(fields.string(), fields.string())
    return fields.done({ _tag: "Version", version, extensions })
  }
  const id = fields.uint32()
  const response = readResponse(type, fields)
  if (response === undefined) {
    return Result.fail(new SftpError({ reason: "UnknownType", hint: `an answer of type ${type}` }))
  }
  return fields.done({ _tag: "Response", id, response })
}

const readResponse = (type: number, fields: FieldReader): Response | undefined => {
  switch (type) {
    case ResponseType.Status: {
      const code = fields.uint32()
      // Servers of version 2 send no message.
      return { _tag: "Status", code, message: fields.left > 0 ? fields.string() : "" }
    }
    case ResponseType.Handle:
      return { _tag: "Handle", handle: fields.data() }
    case ResponseType.Data:
      return { _tag: "Data", data: fields.data() }
    case ResponseType.Names: {
      const count = fields.uint32()
      const names: Array<NameEntry> = []
      for (let index = 0; index < count && fields.failure === undefined; index++) {
        names.push({ name: fields.string(), longName: fields.string(), attributes: readAttributes(fields) })
      }
      return { _tag: "Names", names }
    }
    case ResponseType.Attributes:
      return { _tag: "Attributes", attributes: readAttributes(fields) }
    case ResponseType.Extended: {
      if (fields.left === HASH_REPLY_BYTES) return { _tag: "Hash", hash: fields.data() }
      const numbers: Array<number> = []
      while (fields.left > 0 && fields.failure === undefined) numbers.push(fields.uint64Rounded())
      return { _tag: "Numbers", numbers }
    }
    default:
      return undefined
  }
}
