/**
 * What each SFTP request comes to on a tree of files: the operation in, the answer out, never a failure.
 *
 * A right that is missing, a tree that cannot be changed and what leads out of it are all `PERMISSION_DENIED`. Messages name
 * the reason and no path.
 */
import { Clock, Effect } from "effect"
import { PACKET_BYTES_MAX, TRANSFER_BYTES_MAX } from "../../protocol/sftp/PacketDecoder.ts"
import type { Operation } from "../../protocol/sftp/Request.ts"
import { OpenFlag } from "../../protocol/sftp/Request.ts"
import { type NameEntry, type Response, StatusCode } from "../../protocol/sftp/Response.ts"
import type { FileError, FileTree, OpenFile, OpenFlags, Space } from "../../services/FileTree.ts"
import { HANDLES_MAX, type Handles } from "./Handles.ts"
import { longName } from "./LongName.ts"
import { BAD_HANDLE, END_OF_FILE, refusalOf, status } from "./Statuses.ts"

/** Bytes that a copy inside the tree holds, and a hash. */
const COPY_BYTES = 256 * 1024

type Tree = FileTree["Service"]

/** Everything but a read, which has a way of its own (Reads.ts). */
type Answered = Exclude<Operation, { readonly _tag: "Read" }>

const OK = status(StatusCode.Ok, "Success")
export const answer = (tree: Tree, handles: Handles, operation: Answered): Effect.Effect<Response> =>
  // Looked at in its turn and not before: a request ahead of it may close its handle.
  Effect.catch(
    Effect.suspend(() => respond(tree, handles, operation)),
    ({ reason }) => Effect.succeed(refusalOf(reason))
  )

const ok = <E>(effect: Effect.Effect<void, E>) => Effect.as(effect, OK)

const respond = (tree: Tree, handles: Handles, operation: Answered): Effect.Effect<Response, FileError> => {
  const onFile = (handle: Uint8Array, act: (file: OpenFile) => Effect.Effect<Response, FileError>) => {
    const opened = handles.get(handle)
    return opened?._tag === "File" ? act(opened.file) : Effect.succeed(BAD_HANDLE)
  }
  switch (operation._tag) {
    case "Open": {
      const { attributes, path } = operation
      const mode = attributes.mode
      const open = Effect.map(tree.open(path, flagsOf(operation.flags), mode), (file) => {
        return { _tag: "File" as const, file, path }
      })
      return Effect.map(handles.add(path, open), (handle) => ({ _tag: "Handle", handle }))
    }
    case "OpenDirectory": {
      const { path } = operation
      const open = Effect.map(tree.list(path), (next) => ({ _tag: "Directory" as const, next, path }))
      return Effect.map(handles.add(path, open), (handle) => ({ _tag: "Handle", handle }))
    }
    case "Close":
      return Effect.map(handles.close(operation.handle), (wasOpen) => (wasOpen ? OK : BAD_HANDLE))
    case "Write":
      return onFile(operation.handle, ({ write }) => ok(write(operation.offset, operation.data)))
    case "ReadDirectory": {
      const opened = handles.get(operation.handle)
      return opened?._tag === "Directory" ? Effect.flatMap(opened.next, namesOf) : Effect.succeed(BAD_HANDLE)
    }
    case "Stat":
      return Effect.map(tree.stat(operation.path), (attributes) => ({ _tag: "Attributes", attributes }))
    case "LinkStat":
      return Effect.map(tree.linkStat(operation.path), (attributes) => ({ _tag: "Attributes", attributes }))
    case "HandleStat": {
      const opened = handles.get(operation.handle)
      if (opened === undefined) return Effect.succeed(BAD_HANDLE)
      const stat = opened._tag === "File" ? opened.file.stat : tree.stat(opened.path)
      return Effect.map(stat, (attributes) => ({ _tag: "Attributes", attributes }))
    }
    case "SetStat":
      return ok(tree.setAttributes(operation.path, operation.attributes))
    case "LinkSetStat":
      return ok(tree.linkSetAttributes(operation.path, operation.attributes))
    case "HandleSetStat": {
      const opened = handles.get(operation.handle)
      if (opened === undefined) return Effect.succeed(BAD_HANDLE)
      const { attributes } = operation
      return ok(
        opened._tag === "File" ? opened.file.setAttributes(attributes) : tree.setAttributes(opened.path, attributes)
      )
    }
    case "Remove":
      return ok(tree.remove(operation.path))
    case "MakeDirectory":
      return ok(tree.makeDirectory(operation.path, operation.attributes.mode))
    case "RemoveDirectory":
      return ok(tree.removeDirectory(operation.path))
    case "Rename":
      return ok(tree.rename(operation.from, operation.to, false))
    case "PosixRename":
      return ok(tree.rename(operation.from, operation.to, true))
    case "HardLink":
      return ok(tree.hardLink(operation.from, operation.to))
    case "SymbolicLink":
      return ok(tree.symbolicLink(operation.target, operation.path))
    case "ReadLink":
      return Effect.map(tree.readLink(operation.path), nameOf)
    case "RealPath":
      return Effect.map(tree.realPath(operation.path), nameOf)
    case "ExpandPath":
      // The root is everybody's home.
      return Effect.map(tree.realPath(operation.path.replace(/^~(?=\/|$)/, "/")), nameOf)
    case "Fsync":
      return onFile(operation.handle, ({ sync }) => ok(sync))
    case "StatVfs":
      return Effect.map(tree.space(operation.path), numbersOf)
    case "HandleStatVfs": {
      const opened = handles.get(operation.handle)
      return opened === undefined ? Effect.succeed(BAD_HANDLE) : Effect.map(tree.space(opened.path), numbersOf)
    }
    case "Limits": {
      const numbers = [PACKET_BYTES_MAX, TRANSFER_BYTES_MAX, TRANSFER_BYTES_MAX, HANDLES_MAX]
      return Effect.succeed({ _tag: "Numbers", numbers })
    }
    case "CopyData":
      return onFile(operation.from, (source) => onFile(operation.to, (target) => copy(source, target, operation)))
    case "Hash":
      return onFile(operation.handle, (file) => hashOf(file, operation))
    case "Unknown":
      return Effect.succeed(refusalOf("Unsupported"))
  }
}

const flagsOf = (flags: number): OpenFlags => ({
  // None of both is read, as in open(2).
  read: (flags & OpenFlag.Read) !== 0 || (flags & OpenFlag.Write) === 0,
  write: (flags & OpenFlag.Write) !== 0,
  append: (flags & OpenFlag.Append) !== 0,
  create: (flags & OpenFlag.Create) !== 0,
  truncate: (flags & OpenFlag.Truncate) !== 0,
  exclusive: (flags & OpenFlag.Exclusive) !== 0
})

const nameOf = (name: string): Response => ({ _tag: "Names", names: [{ name, longName: name, attributes: {} }] })

const namesOf = (entries: ReadonlyArray<Pick<NameEntry, "name" | "attributes">>): Effect.Effect<Response> => {
  if (entries.length === 0) return Effect.succeed(END_OF_FILE)
  return Effect.map(Clock.currentTimeMillis, (millis) => ({
    _tag: "Names",
    names: entries.map(({ attributes, name }) => {
      return { name, longName: longName(name, attributes, millis / 1000), attributes }
    })
  }))
}

/** `ST_RDONLY` and `ST_NOSUID` of statvfs(3). */
const FLAG_READ_ONLY = 1
const FLAG_NO_SET_USER = 2

const numbersOf = (space: Space): Response => {
  const { blockBytes, blocks, blocksAvailable, blocksFree, files, filesFree, isReadOnly, nameBytesMax } = space
  const flags = FLAG_NO_SET_USER | (isReadOnly ? FLAG_READ_ONLY : 0)
  return {
    _tag: "Numbers",
    numbers: [
      ...[blockBytes, blockBytes, blocks, blocksFree, blocksAvailable],
      ...[files, filesFree, filesFree, 0, flags, nameBytesMax]
    ]
  }
}

const copy = Effect.fnUntraced(function* (
  source: OpenFile,
  target: OpenFile,
  { fromOffset, length, toOffset }: Extract<Operation, { readonly _tag: "CopyData" }>
) {
  const wanted = length === 0 ? Number.POSITIVE_INFINITY : length
  for (let copied = 0; copied < wanted; ) {
    const bytes = yield* source.read(fromOffset + copied, Math.min(COPY_BYTES, wanted - copied))
    if (bytes.length === 0) break
    yield* target.write(toOffset + copied, bytes)
    copied += bytes.length
  }
  return OK
})

const hashOf = Effect.fnUntraced(function* (
  file: OpenFile,
  { length, offset }: Extract<Operation, { readonly _tag: "Hash" }>
): Effect.fn.Return<Response, FileError> {
  const hasher = yield* Effect.promise(() => import("hash-wasm").then(({ createBLAKE3 }) => createBLAKE3()))
  const piece = new Uint8Array(COPY_BYTES)
  const wanted = length === 0 ? Number.POSITIVE_INFINITY : length
  for (let hashed = 0; hashed < wanted; ) {
    const into = piece.subarray(0, Math.min(COPY_BYTES, wanted - hashed))
    const count = yield* file.readInto(offset + hashed, into)
    if (count === 0) break
    hasher.update(into.subarray(0, count))
    hashed += count
  }
  return { _tag: "Hash", hash: hasher.digest("binary") }
})
