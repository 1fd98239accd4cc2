/**
 * An SFTP client: the tree of the other side as a `FileTree`, over any stream that carries a session. Works with our server
 * and with OpenSSH's.
 *
 * What the server says is not trusted: a name in a listing that could not stand in a path is left out, so that nothing made
 * after it leads anywhere else. What a server refuses for a reason that version 3 has no code for is `Io`, unless it is one
 * of ours. `isReadOnly` is false: only a request tells.
 */
import { Effect, type Scope } from "effect"
import type { Attributes } from "../../protocol/sftp/Attributes.ts"
import { TRANSFER_BYTES_MAX } from "../../protocol/sftp/PacketDecoder.ts"
import { HASH_EXTENSION, type Handle, OpenFlag } from "../../protocol/sftp/Request.ts"
import { type NameEntry, type Response, StatusCode } from "../../protocol/sftp/Response.ts"
import type { SftpError } from "../../protocol/sftp/SftpError.ts"
import { isPart, PART_BYTES_MAX } from "../../protocol/sftp/TreePath.ts"
import { FileError, type FileTree, type OpenFile, type OpenFlags, type Space } from "../../services/FileTree.ts"
import type { ConnectionClosed, StreamReset } from "../../services/Transport.ts"
import { type Asked, type ClientSession, type ClientStream, openSession } from "./ClientSession.ts"
import { reasonOf } from "./Statuses.ts"

/** Every server takes reads and writes of this size. */
const TRANSFER_BYTES_MIN = 32 * 1024

const EMPTY = new Uint8Array(0)

/** An open file of the other side. */
export interface RemoteFile extends OpenFile {
  readonly handle: Handle
  readonly path: string
}

export interface SftpClient extends Omit<FileTree["Service"], "open"> {
  /** What the server can do beside the plain requests, by name. */
  readonly extensions: ReadonlyMap<string, string>
  /** Bytes that one request reads or writes; more is cut. */
  readonly transferBytes: number
  readonly open: (path: string, flags: OpenFlags, mode?: number) => Effect.Effect<RemoteFile, FileError, Scope.Scope>
  /** Copies at the other side. `length` 0: to the end. `Unsupported` where the server has no `copy-data`. */
  readonly copy: (
    from: RemoteFile,
    to: RemoteFile,
    range: { readonly fromOffset: number; readonly length: number; readonly toOffset: number }
  ) => Effect.Effect<void, FileError>
  /**
   * BLAKE3 of a part of the file, which the other side reads; of less where the file ends. `length` 0: to the end.
   * `Unsupported` where the server is none of ours.
   */
  readonly hash: (
    file: RemoteFile,
    range: { readonly offset: number; readonly length: number }
  ) => Effect.Effect<Uint8Array, FileError>
}

/** Opens a session; it ends with the scope. */
export const openSftp = (
  stream: ClientStream
): Effect.Effect<SftpClient, SftpError | FileError | StreamReset | ConnectionClosed, Scope.Scope> =>
  Effect.gen(function* () {
    const session = yield* openSession(stream)
    return clientOf(session, yield* transferBytesOf(session))
  })

const transferBytesOf = Effect.fnUntraced(function* ({ ask, extensions }: ClientSession) {
  if (!extensions.has("limits@openssh.com")) return TRANSFER_BYTES_MIN
  const response = yield* ask({ _tag: "Limits" }, "/")
  if (response._tag !== "Numbers") return TRANSFER_BYTES_MIN
  const [, readBytes = 0, writeBytes = 0] = response.numbers
  // 0: the server does not say.
  const said = [readBytes, writeBytes].filter((bytes) => bytes > 0)
  return Math.max(Math.min(TRANSFER_BYTES_MAX, ...said), 1)
})

const clientOf = (session: ClientSession, transferBytes: number): SftpClient => {
  const { extensions } = session
  const ask = <Tag extends Response["_tag"]>(path: string, tag: Tag, operation: Asked) =>
    Effect.flatMap(session.ask(operation, path), (response) => expect(response, tag, path))
  const done = (path: string, operation: Asked) => Effect.asVoid(ask(path, "Status", operation))
  const extended = <A>(name: string, path: string, effect: Effect.Effect<A, FileError>) =>
    extensions.has(name) ? effect : Effect.fail(new FileError({ reason: "Unsupported", path }))
  const attributesBy = (path: string, operation: Asked) =>
    Effect.map(ask(path, "Attributes", operation), ({ attributes }) => attributes)
  const nameBy = (path: string, operation: Asked) =>
    Effect.flatMap(ask(path, "Names", operation), ({ names: [first] }) =>
      first === undefined ? Effect.fail(new FileError({ reason: "Io", path })) : Effect.succeed(first.name)
    )
  /** The handle is given back with the scope. */
  const opened = (path: string, operation: Asked) =>
    Effect.acquireRelease(
      Effect.map(ask(path, "Handle", operation), ({ handle }) => handle.slice()),
      (handle) => Effect.ignore(session.ask({ _tag: "Close", handle }, path))
    )

  const list = (path: string) =>
    Effect.map(opened(path, { _tag: "OpenDirectory", path }), (handle) => {
      const next: Effect.Effect<ReadonlyArray<NameEntry>, FileError> = Effect.suspend(() =>
        Effect.flatMap(session.ask({ _tag: "ReadDirectory", handle }, path), (response) => {
          if (isEnd(response)) return Effect.succeed([])
          return Effect.flatMap(expect(response, "Names", path), ({ names }) => {
            const entries = names.filter(({ name }) => isPart(name))
            // A batch of nothing but `.` and `..` is not the end.
            return entries.length === 0 ? next : Effect.succeed(entries)
          })
        })
      )
      return next
    })

  const open = (path: string, flags: OpenFlags, mode?: number) => {
    const attributes: Attributes = mode === undefined ? {} : { mode }
    return Effect.map(
      opened(path, { _tag: "Open", path, flags: flagBits(flags), attributes }),
      (handle): RemoteFile => {
        const readPiece = (offset: number, length: number): Effect.Effect<Uint8Array, FileError> =>
          Effect.flatMap(session.ask({ _tag: "Read", handle, offset, length }, path), (response) => {
            if (isEnd(response)) return Effect.succeed(EMPTY)
            return Effect.flatMap(expect(response, "Data", path), ({ data }) => {
              if (data.length > length) return Effect.fail(new FileError({ reason: "Io", path }))
              if (data.length === length || data.length === 0) return Effect.succeed(data)
              // A server may give less than there is.
              return Effect.map(readPiece(offset + data.length, length - data.length), (rest) =>
                rest.length === 0 ? data : Buffer.concat([data, rest])
              )
            })
          })
        const read = (offset: number, length: number): Effect.Effect<Uint8Array, FileError> =>
          length <= transferBytes
            ? readPiece(offset, length)
            : Effect.map(
                Effect.forEach(pieces(length, transferBytes), ([at, size]) => readPiece(offset + at, size), {
                  concurrency: "unbounded"
                }),
                joinUntilShort(transferBytes)
              )
        return {
          handle,
          path,
          read,
          readInto: (offset, into) =>
            Effect.map(read(offset, into.length), (bytes) => {
              into.set(bytes)
              return bytes.length
            }),
          write: (offset, bytes) =>
            Effect.forEach(
              pieces(bytes.length, transferBytes),
              ([at, size]) =>
                done(path, { _tag: "Write", handle, offset: offset + at, data: bytes.subarray(at, at + size) }),
              { concurrency: "unbounded", discard: true }
            ),
          stat: attributesBy(path, { _tag: "HandleStat", handle }),
          setAttributes: (attributes) => done(path, { _tag: "HandleSetStat", handle, attributes }),
          sync: extended("fsync@openssh.com", path, done(path, { _tag: "Fsync", handle }))
        }
      }
    )
  }

  return {
    extensions,
    transferBytes,
    isReadOnly: false,
    open,
    list,
    stat: (path) => attributesBy(path, { _tag: "Stat", path }),
    linkStat: (path) => attributesBy(path, { _tag: "LinkStat", path }),
    setAttributes: (path, attributes) => done(path, { _tag: "SetStat", path, attributes }),
    linkSetAttributes: (path, attributes) =>
      extended("lsetstat@openssh.com", path, done(path, { _tag: "LinkSetStat", path, attributes })),
    makeDirectory: (path, mode) =>
      done(path, { _tag: "MakeDirectory", path, attributes: mode === undefined ? {} : { mode } }),
    removeDirectory: (path) => done(path, { _tag: "RemoveDirectory", path }),
    remove: (path) => done(path, { _tag: "Remove", path }),
    rename: (from, to, overwrite) =>
      overwrite
        ? extended("posix-rename@openssh.com", from, done(from, { _tag: "PosixRename", from, to }))
        : done(from, { _tag: "Rename", from, to }),
    hardLink: (from, to) => extended("hardlink@openssh.com", from, done(from, { _tag: "HardLink", from, to })),
    symbolicLink: (target, path) => done(path, { _tag: "SymbolicLink", target, path }),
    readLink: (path) => nameBy(path, { _tag: "ReadLink", path }),
    realPath: (path) => nameBy(path, { _tag: "RealPath", path }),
    space: (path) =>
      extended(
        "statvfs@openssh.com",
        path,
        Effect.map(ask(path, "Numbers", { _tag: "StatVfs", path }), ({ numbers }) => spaceOf(numbers))
      ),
    hash: ({ handle, path }, { length, offset }) =>
      extended(
        HASH_EXTENSION,
        path,
        Effect.map(ask(path, "Hash", { _tag: "Hash", handle, offset, length }), ({ hash }) => hash)
      ),
    copy: (from, to, { fromOffset, length, toOffset }) =>
      extended(
        "copy-data",
        to.path,
        done(to.path, { _tag: "CopyData", from: from.handle, fromOffset, length, to: to.handle, toOffset })
      )
  }
}

/** The answer that was wanted; another one is a refusal, or of a server that does not know what it was asked. */
const expect = <Tag extends Response["_tag"]>(
  response: Response,
  tag: Tag,
  path: string
): Effect.Effect<Extract<Response, { readonly _tag: Tag }>, FileError> => {
  if (response._tag === "Status" && response.code !== StatusCode.Ok) {
    return Effect.fail(new FileError({ reason: reasonOf(response), path }))
  }
  return isAnswer(response, tag) ? Effect.succeed(response) : Effect.fail(new FileError({ reason: "Io", path }))
}

const isAnswer = <Tag extends Response["_tag"]>(
  response: Response,
  tag: Tag
): response is Extract<Response, { readonly _tag: Tag }> => response._tag === tag

const isEnd = (response: Response): boolean => response._tag === "Status" && response.code === StatusCode.EndOfFile

const flagBits = ({ append, create, exclusive, read, truncate, write }: OpenFlags): number =>
  (read ? OpenFlag.Read : 0) |
  (write ? OpenFlag.Write : 0) |
  (append ? OpenFlag.Append : 0) |
  (create ? OpenFlag.Create : 0) |
  (truncate ? OpenFlag.Truncate : 0) |
  (exclusive ? OpenFlag.Exclusive : 0)

/** Offset and length of each piece. */
const pieces = (length: number, size: number): ReadonlyArray<readonly [at: number, size: number]> =>
  Array.from({ length: Math.ceil(length / size) }, (_, index) => {
    const at = index * size
    return [at, Math.min(size, length - at)]
  })

/** What comes behind a short piece is behind the end of the file as it was then. */
const joinUntilShort =
  (size: number) =>
  (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
    const short = parts.findIndex((part) => part.length < size)
    return Buffer.concat(short < 0 ? parts : parts.slice(0, short + 1))
  }

const FLAG_READ_ONLY = 1

const spaceOf = (numbers: ReadonlyArray<number>): Space => {
  const number = (index: number) => numbers[index] ?? 0
  return {
    blockBytes: number(1) || number(0),
    blocks: number(2),
    blocksFree: number(3),
    blocksAvailable: number(4),
    files: number(5),
    filesFree: number(6),
    nameBytesMax: number(10) || PART_BYTES_MAX,
    isReadOnly: (number(9) & FLAG_READ_ONLY) !== 0
  }
}
