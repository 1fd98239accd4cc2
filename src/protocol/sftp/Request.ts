/**
 * What an SFTP client asks (draft-ietf-secsh-filexfer-02, version 3, and the extensions of OpenSSH's PROTOCOL section 4).
 *
 * | type | request | fields after the request id |
 * |---|---|---|
 * | 1 | init | version instead of an id, then pairs of extensions |
 * | 3 | open | path, flags, attributes |
 * | 4, 5, 6 | close, read, write | handle; offset, length; offset, data |
 * | 7, 17, 8 | lstat, stat, fstat | path or handle |
 * | 9, 10 | setstat, fsetstat | path or handle, attributes |
 * | 11, 12 | opendir, readdir | path; handle |
 * | 13, 14, 15 | remove, mkdir, rmdir | path (mkdir: attributes) |
 * | 16, 18, 19, 20 | realpath, rename, readlink, symlink | path; from, to; path; target, path |
 * | 200 | extended | name, then what the extension says |
 *
 * `blake3@alknet` asks for the BLAKE3 of a part of a file: handle, offset, length (0: to the end); 32 bytes are the answer.
 *
 * OpenSSH's client and server send the two paths of symlink in the order target, link path, against the draft; so do we.
 */
import type { Result } from "effect"
import { type Attributes, readAttributes, writeAttributes } from "./Attributes.ts"
import { FieldReader, FieldWriter } from "./Fields.ts"
import type { Packet } from "./PacketDecoder.ts"
import type { SftpError } from "./SftpError.ts"

/** The only version that is spoken. */
export const VERSION = 3

export const RequestType = {
  Init: 1,
  Open: 3,
  Close: 4,
  Read: 5,
  Write: 6,
  LinkStat: 7,
  HandleStat: 8,
  SetStat: 9,
  HandleSetStat: 10,
  OpenDirectory: 11,
  ReadDirectory: 12,
  Remove: 13,
  MakeDirectory: 14,
  RemoveDirectory: 15,
  RealPath: 16,
  Stat: 17,
  Rename: 18,
  ReadLink: 19,
  SymbolicLink: 20,
  Extended: 200
} as const

/** The bits of `flags` in open; each has its meaning by itself. */
export const OpenFlag = { Read: 0x1, Write: 0x2, Append: 0x4, Create: 0x8, Truncate: 0x10, Exclusive: 0x20 } as const

export type Handle = Uint8Array

export type Operation =
  | { readonly _tag: "Open"; readonly path: string; readonly flags: number; readonly attributes: Attributes }
  | { readonly _tag: "Close"; readonly handle: Handle }
  | { readonly _tag: "Read"; readonly handle: Handle; readonly offset: number; readonly length: number }
  | { readonly _tag: "Write"; readonly handle: Handle; readonly offset: number; readonly data: Uint8Array }
  | { readonly _tag: "LinkStat"; readonly path: string }
  | { readonly _tag: "Stat"; readonly path: string }
  | { readonly _tag: "HandleStat"; readonly handle: Handle }
  | { readonly _tag: "SetStat"; readonly path: string; readonly attributes: Attributes }
  | { readonly _tag: "HandleSetStat"; readonly handle: Handle; readonly attributes: Attributes }
  | { readonly _tag: "OpenDirectory"; readonly path: string }
  | { readonly _tag: "ReadDirectory"; readonly handle: Handle }
  | { readonly _tag: "Remove"; readonly path: string }
  | { readonly _tag: "MakeDirectory"; readonly path: string; readonly attributes: Attributes }
  | { readonly _tag: "RemoveDirectory"; readonly path: string }
  | { readonly _tag: "RealPath"; readonly path: string }
  | { readonly _tag: "Rename"; readonly from: string; readonly to: string }
  | { readonly _tag: "ReadLink"; readonly path: string }
  | { readonly _tag: "SymbolicLink"; readonly target: string; readonly path: string }
  | Extension

/** The extensions of OpenSSH that are served. `Unknown` is answered with "unsupported". */
export type Extension =
  | { readonly _tag: "PosixRename"; readonly from: string; readonly to: string }
  | { readonly _tag: "HardLink"; readonly from: string; readonly to: string }
  | { readonly _tag: "StatVfs"; readonly path: string }
  | { readonly _tag: "HandleStatVfs"; readonly handle: Handle }
  | { readonly _tag: "Fsync"; readonly handle: Handle }
  | { readonly _tag: "LinkSetStat"; readonly path: string; readonly attributes: Attributes }
  | { readonly _tag: "Limits" }
  | { readonly _tag: "ExpandPath"; readonly path: string }
  | {
      readonly _tag: "CopyData"
      readonly from: Handle
      readonly fromOffset: number
      /** 0: to the end. */
      readonly length: number
      readonly to: Handle
      readonly toOffset: number
    }
  /** Ours alone: BLAKE3 of a part of the file, so that a transfer can go on where it stopped. `length` 0: to the end. */
  | { readonly _tag: "Hash"; readonly handle: Handle; readonly offset: number; readonly length: number }
  | { readonly _tag: "Unknown" }

export const HASH_EXTENSION = "blake3@alknet"

/** The names of extensions with the version that the server announces. */
export const EXTENSIONS: ReadonlyArray<readonly [name: string, version: string]> = [
  ["posix-rename@openssh.com", "1"],
  ["statvfs@openssh.com", "2"],
  ["fstatvfs@openssh.com", "2"],
  ["hardlink@openssh.com", "1"],
  ["fsync@openssh.com", "1"],
  ["lsetstat@openssh.com", "1"],
  ["limits@openssh.com", "1"],
  ["expand-path@openssh.com", "1"],
  ["copy-data", "1"],
  [HASH_EXTENSION, "1"]
]

export type Request =
  | { readonly _tag: "Init"; readonly version: number }
  | { readonly _tag: "Request"; readonly id: number; readonly operation: Operation }

/** A type that nobody knows is a request with an `Unknown` operation: it has an id, so it can be answered. */
export const decodeRequest = ({ body, type }: Packet): Result.Result<Request, SftpError> => {
  const fields = new FieldReader(body)
  if (type === RequestType.Init) return fields.done({ _tag: "Init", version: fields.uint32() })
  const id = fields.uint32()
  const operation = readOperation(type, fields)
  return fields.done({ _tag: "Request", id, operation })
}

const readOperation = (type: number, fields: FieldReader): Operation => {
  switch (type) {
    case RequestType.Open:
      return { _tag: "Open", path: fields.string(), flags: fields.uint32(), attributes: readAttributes(fields) }
    case RequestType.Close:
      return { _tag: "Close", handle: fields.data() }
    case RequestType.Read:
      return { _tag: "Read", handle: fields.data(), offset: fields.uint64(), length: fields.uint32() }
    case RequestType.Write:
      return { _tag: "Write", handle: fields.data(), offset: fields.uint64(), data: fields.data() }
    case RequestType.LinkStat:
      return { _tag: "LinkStat", path: fields.string() }
    case RequestType.Stat:
      return { _tag: "Stat", path: fields.string() }
    case RequestType.HandleStat:
      return { _tag: "HandleStat", handle: fields.data() }
    case RequestType.SetStat:
      return { _tag: "SetStat", path: fields.string(), attributes: readAttributes(fields) }
    case RequestType.HandleSetStat:
      return { _tag: "HandleSetStat", handle: fields.data(), attributes: readAttributes(fields) }
    case RequestType.OpenDirectory:
      return { _tag: "OpenDirectory", path: fields.string() }
    case RequestType.ReadDirectory:
      return { _tag: "ReadDirectory", handle: fields.data() }
    case RequestType.Remove:
      return { _tag: "Remove", path: fields.string() }
    case RequestType.MakeDirectory:
      return { _tag: "MakeDirectory", path: fields.string(), attributes: readAttributes(fields) }
    case RequestType.RemoveDirectory:
      return { _tag: "RemoveDirectory", path: fields.string() }
    case RequestType.RealPath:
      return { _tag: "RealPath", path: fields.string() }
    case RequestType.Rename:
      return { _tag: "Rename", from: fields.string(), to: fields.string() }
    case RequestType.ReadLink:
      return { _tag: "ReadLink", path: fields.string() }
    case RequestType.SymbolicLink:
      return { _tag: "SymbolicLink", target: fields.string(), path: fields.string() }
    case RequestType.Extended:
      return readExtension(fields.string(), fields)
    default:
      return { _tag: "Unknown" }
  }
}

const readExtension = (name: string, fields: FieldReader): Extension => {
  switch (name) {
    case "posix-rename@openssh.com":
      return { _tag: "PosixRename", from: fields.string(), to: fields.string() }
    case "hardlink@openssh.com":
      return { _tag: "HardLink", from: fields.string(), to: fields.string() }
    case "statvfs@openssh.com":
      return { _tag: "StatVfs", path: fields.string() }
    case "fstatvfs@openssh.com":
      return { _tag: "HandleStatVfs", handle: fields.data() }
    case "fsync@openssh.com":
      return { _tag: "Fsync", handle: fields.data() }
    case "lsetstat@openssh.com":
      return { _tag: "LinkSetStat", path: fields.string(), attributes: readAttributes(fields) }
    case "limits@openssh.com":
      return { _tag: "Limits" }
    case "expand-path@openssh.com":
      return { _tag: "ExpandPath", path: fields.string() }
    case "copy-data": {
      const from = fields.data()
      const fromOffset = fields.uint64()
      const length = fields.uint64()
      return { _tag: "CopyData", from, fromOffset, length, to: fields.data(), toOffset: fields.uint64() }
    }
    case HASH_EXTENSION:
      return { _tag: "Hash", handle: fields.data(), offset: fields.uint64(), length: fields.uint64() }
    default:
      return { _tag: "Unknown" }
  }
}

export const encodeInit = (): Uint8Array => new FieldWriter().byte(RequestType.Init).uint32(VERSION).packet()

/** What our client sends. `Unknown` is nothing that can be asked. */
export const encodeRequest = (id: number, operation: Exclude<Operation, { readonly _tag: "Unknown" }>): Uint8Array => {
  const start = (type: number) => new FieldWriter().byte(type).uint32(id)
  const extended = (name: string) => start(RequestType.Extended).string(name)
  const withAttributes = (fields: FieldWriter, attributes: Attributes) => {
    writeAttributes(fields, attributes)
    return fields.packet()
  }
  switch (operation._tag) {
    case "Open":
      return withAttributes(
        start(RequestType.Open).string(operation.path).uint32(operation.flags),
        operation.attributes
      )
    case "Close":
      return start(RequestType.Close).data(operation.handle).packet()
    case "Read": {
      const { handle, length, offset } = operation
      return start(RequestType.Read).data(handle).uint64(offset).uint32(length).packet()
    }
    case "Write": {
      const { data, handle, offset } = operation
      return start(RequestType.Write).data(handle).uint64(offset).data(data).packet()
    }
    case "LinkStat":
      return start(RequestType.LinkStat).string(operation.path).packet()
    case "Stat":
      return start(RequestType.Stat).string(operation.path).packet()
    case "HandleStat":
      return start(RequestType.HandleStat).data(operation.handle).packet()
    case "SetStat":
      return withAttributes(start(RequestType.SetStat).string(operation.path), operation.attributes)
    case "HandleSetStat":
      return withAttributes(start(RequestType.HandleSetStat).data(operation.handle), operation.attributes)
    case "OpenDirectory":
      return start(RequestType.OpenDirectory).string(operation.path).packet()
    case "ReadDirectory":
      return start(RequestType.ReadDirectory).data(operation.handle).packet()
    case "Remove":
      return start(RequestType.Remove).string(operation.path).packet()
    case "MakeDirectory":
      return withAttributes(start(RequestType.MakeDirectory).string(operation.path), operation.attributes)
    case "RemoveDirectory":
      return start(RequestType.RemoveDirectory).string(operation.path).packet()
    case "RealPath":
      return start(RequestType.RealPath).string(operation.path).packet()
    case "Rename":
      return start(RequestType.Rename).string(operation.from).string(operation.to).packet()
    case "ReadLink":
      return start(RequestType.ReadLink).string(operation.path).packet()
    case "SymbolicLink":
      return start(RequestType.SymbolicLink).string(operation.target).string(operation.path).packet()
    case "PosixRename":
      return extended("posix-rename@openssh.com").string(operation.from).string(operation.to).packet()
    case "HardLink":
      return extended("hardlink@openssh.com").string(operation.from).string(operation.to).packet()
    case "StatVfs":
      return extended("statvfs@openssh.com").string(operation.path).packet()
    case "HandleStatVfs":
      return extended("fstatvfs@openssh.com").data(operation.handle).packet()
    case "Fsync":
      return extended("fsync@openssh.com").data(operation.handle).packet()
    case "LinkSetStat":
      return withAttributes(extended("lsetstat@openssh.com").string(operation.path), operation.attributes)
    case "Limits":
      return extended("limits@openssh.com").packet()
    case "ExpandPath":
      return extended("expand-path@openssh.com").string(operation.path).packet()
    case "Hash":
      return extended(HASH_EXTENSION).data(operation.handle).uint64(operation.offset).uint64(operation.length).packet()
    case "CopyData": {
      const { from, fromOffset, length, to, toOffset } = operation
      return extended("copy-data").data(from).uint64(fromOffset).uint64(length).data(to).uint64(toOffset).packet()
    }
  }
}
