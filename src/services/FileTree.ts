/**
 * A tree of files that peers may see: what SFTP serves. Layers: a folder of this machine as a jail, memory, and a read-only
 * view of either (src/layers/files).
 *
 * Paths are absolute in the tree, `/` separated and normalised by the caller (`src/protocol/sftp/TreePath.ts`): `/` is the
 * root of the tree, nothing is above it, and no path of the machine ever comes out of an error. What leads out of the tree,
 * a symbolic link included, is `Denied`, also where somebody makes that link meanwhile.
 */
import { Context, type Effect, Schema, type Scope } from "effect"
import type { Attributes } from "../protocol/sftp/Attributes.ts"

export class FileError extends Schema.TaggedError<FileError>()("FileError", {
  reason: Schema.Literals([
    "NotFound",
    /** Out of the tree, a device, or the system's rights say no. */
    "Denied",
    "Exists",
    "NotDirectory",
    "IsDirectory",
    "NotEmpty",
    /** Control characters, too long, or no name at all. */
    "BadName",
    "ReadOnly",
    "NoSpace",
    /** More is open than a session may have. */
    "TooMany",
    /** Too many links in a row. */
    "Loop",
    "Unsupported",
    /** The other side of a remote tree is gone; nothing more will be answered. */
    "Lost",
    "Io"
  ]),
  /** As the peer asked, in the tree. */
  path: Schema.String
}) {
  override get message() {
    return `${this.path}: ${this.reason}`
  }
}

export interface OpenFlags {
  readonly read: boolean
  readonly write: boolean
  /** Writes go to the end, whatever their offset. */
  readonly append: boolean
  readonly create: boolean
  readonly truncate: boolean
  /** With `create`: fails where the name exists. */
  readonly exclusive: boolean
}

/** An open file; closed with the scope in which it was opened. */
export interface OpenFile {
  /** At most `length` bytes; fewer only at the end of the file, none after it. */
  readonly read: (offset: number, length: number) => Effect.Effect<Uint8Array, FileError>
  /** The same into bytes that are there already; gives how many were read. */
  readonly readInto: (offset: number, into: Uint8Array) => Effect.Effect<number, FileError>
  /** All of them. */
  readonly write: (offset: number, bytes: Uint8Array) => Effect.Effect<void, FileError>
  readonly stat: Effect.Effect<Attributes, FileError>
  readonly setAttributes: (attributes: Attributes) => Effect.Effect<void, FileError>
  readonly sync: Effect.Effect<void, FileError>
}

export interface TreeEntry {
  readonly name: string
  readonly attributes: Attributes
}

/** What `statvfs` says. Sizes in blocks of `blockBytes`. */
export interface Space {
  readonly blockBytes: number
  readonly blocks: number
  readonly blocksFree: number
  readonly blocksAvailable: number
  readonly files: number
  readonly filesFree: number
  readonly nameBytesMax: number
  readonly isReadOnly: boolean
}

export class FileTree extends Context.Service<
  FileTree,
  {
    readonly isReadOnly: boolean
    /** `mode`: permissions of a file that is made. */
    readonly open: (path: string, flags: OpenFlags, mode?: number) => Effect.Effect<OpenFile, FileError, Scope.Scope>
    /** In no order, without `.` and `..`; in batches, so that a huge directory is never held. */
    readonly list: (
      path: string
    ) => Effect.Effect<Effect.Effect<ReadonlyArray<TreeEntry>, FileError>, FileError, Scope.Scope>
    /** Of what a link leads to. */
    readonly stat: (path: string) => Effect.Effect<Attributes, FileError>
    /** Of a link itself. */
    readonly linkStat: (path: string) => Effect.Effect<Attributes, FileError>
    readonly setAttributes: (path: string, attributes: Attributes) => Effect.Effect<void, FileError>
    readonly linkSetAttributes: (path: string, attributes: Attributes) => Effect.Effect<void, FileError>
    readonly makeDirectory: (path: string, mode?: number) => Effect.Effect<void, FileError>
    readonly removeDirectory: (path: string) => Effect.Effect<void, FileError>
    readonly remove: (path: string) => Effect.Effect<void, FileError>
    /** `overwrite`: as POSIX does; otherwise `Exists`. */
    readonly rename: (from: string, to: string, overwrite: boolean) => Effect.Effect<void, FileError>
    readonly hardLink: (existing: string, path: string) => Effect.Effect<void, FileError>
    /** The target is text; it is judged when somebody follows it. */
    readonly symbolicLink: (target: string, path: string) => Effect.Effect<void, FileError>
    readonly readLink: (path: string) => Effect.Effect<string, FileError>
    /** The path with its links followed, as far as it exists. */
    readonly realPath: (path: string) => Effect.Effect<string, FileError>
    readonly space: (path: string) => Effect.Effect<Space, FileError>
  }
>()("alknet/FileTree") {}
