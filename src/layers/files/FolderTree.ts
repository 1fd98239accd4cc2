/**
 * A folder of this machine as a tree: a jail. Nothing outside is ever read, written or named, also while somebody swaps
 * directories and links on the way (`Walk.ts` says how, and where that is weaker).
 *
 * Only regular files are opened; devices, fifos and sockets are `Denied` without being touched. The bits for set-user-id,
 * set-group-id and sticky are never set. A rename that must not overwrite is a link and an unlink for a file, and for a
 * directory a look before the rename: an empty directory that comes up in between would be replaced.
 */
import * as fs from "node:fs"
import { Effect, Layer, Scope } from "effect"
import type { Attributes } from "../../protocol/sftp/Attributes.ts"
import { isPart, PART_BYTES_MAX } from "../../protocol/sftp/TreePath.ts"
import {
  FileError,
  FileTree,
  type OpenFile,
  type OpenFlags,
  type Space,
  type TreeEntry
} from "../../services/FileTree.ts"
import { call, open, run } from "./System.ts"
import { type Place, Walk } from "./Walk.ts"

/** Entries that a listing gives at a time. */
const LIST_BATCH = 64
const PERMISSION_BITS = 0o777
const FILE_MODE = 0o644
const DIRECTORY_MODE = 0o755
/** How often a file may come and go between the look at it and the call. */
const RACES_MAX = 8

const { O_APPEND, O_CREAT, O_EXCL, O_NOFOLLOW = 0, O_RDONLY, O_RDWR, O_WRONLY } = fs.constants

/** The tree of what is in `folder`, which must be there. */
export const layer = (folder: string): Layer.Layer<FileTree, FileError> =>
  Layer.effect(FileTree, Effect.map(Walk.make(folder), makeTree))

const makeTree = (walk: Walk): FileTree["Service"] => {
  /** Acts on the place of a path; what is held on the way is let go afterwards. */
  const at = <A>(
    path: string,
    follow: boolean,
    act: (place: Place) => Effect.Effect<A, FileError, Scope.Scope>
  ): Effect.Effect<A, FileError> => Effect.scoped(Effect.flatMap(walk.to(path, follow), act))

  /** The same where a name is needed: the root cannot be made, moved or removed. */
  const atName = <A>(path: string, act: (place: Place) => Effect.Effect<A, FileError, Scope.Scope>) =>
    at(path, false, (place) =>
      place.name === undefined ? Effect.fail(new FileError({ reason: "Denied", path })) : act(place)
    )

  const between = (
    from: string,
    to: string,
    act: (from: Place, to: Place) => Effect.Effect<void, FileError>
  ): Effect.Effect<void, FileError> => atName(from, (source) => atName(to, (target) => act(source, target)))

  const setAttributes = (path: string, attributes: Attributes) =>
    at(path, true, (place) =>
      Effect.gen(function* () {
        const held = yield* walk.hold(place)
        const stats = yield* call<fs.Stats>(path, (done) => fs.stat(held, done))
        if (stats.isSymbolicLink() || !(stats.isFile() || stats.isDirectory())) {
          return yield* new FileError({ reason: "Denied", path })
        }
        yield* change(held, attributes, path)
      })
    )

  return FileTree.of({
    isReadOnly: false,
    open: (path, flags, mode) => openFile(walk, path, flags, mode),
    list: (path) => list(walk, path),
    stat: (path) => at(path, true, ({ systemPath }) => attributesAt(systemPath, path)),
    linkStat: (path) => at(path, false, ({ systemPath }) => attributesAt(systemPath, path)),
    setAttributes,
    linkSetAttributes: (path, attributes) =>
      atName(path, ({ systemPath }) =>
        Effect.gen(function* () {
          const stats = yield* call<fs.Stats>(path, (done) => fs.lstat(systemPath, done))
          if (!stats.isSymbolicLink()) return yield* setAttributes(path, attributes)
          const { owner, times } = attributes
          if (owner !== undefined) yield* run(path, (done) => fs.lchown(systemPath, owner.uid, owner.gid, done))
          if (times !== undefined) {
            yield* run(path, (done) => fs.lutimes(systemPath, times.accessed, times.modified, done))
          }
        })
      ),
    makeDirectory: (path, mode = DIRECTORY_MODE) =>
      atName(path, ({ systemPath }) => run(path, (done) => fs.mkdir(systemPath, mode & PERMISSION_BITS, done))),
    removeDirectory: (path) => atName(path, ({ systemPath }) => run(path, (done) => fs.rmdir(systemPath, done))),
    remove: (path) => atName(path, ({ systemPath }) => run(path, (done) => fs.unlink(systemPath, done))),
    rename: (from, to, overwrite) =>
      between(from, to, (source, target) =>
        overwrite
          ? run(from, (done) => fs.rename(source.systemPath, target.systemPath, done))
          : renameToFree(source.systemPath, target.systemPath, from, to)
      ),
    hardLink: (existing, path) =>
      between(existing, path, (source, target) =>
        run(path, (done) => fs.link(source.systemPath, target.systemPath, done))
      ),
    symbolicLink: (target, path) =>
      atName(path, ({ systemPath }) => run(path, (done) => fs.symlink(target, systemPath, done))),
    readLink: (path) => atName(path, ({ systemPath }) => call<string>(path, (done) => fs.readlink(systemPath, done))),
    realPath: (path) => at(path, true, (place) => Effect.succeed(place.path)),
    space: (path) => at(path, true, ({ systemPath }) => spaceAt(systemPath, path))
  })
}

const attributesOf = (stats: fs.Stats): Attributes => ({
  size: stats.size,
  owner: { uid: stats.uid, gid: stats.gid },
  mode: stats.mode,
  times: { accessed: stats.atimeMs / 1000, modified: stats.mtimeMs / 1000 }
})

/** Not of what a link leads to. */
const attributesAt = (systemPath: string, path: string) =>
  Effect.map(
    call<fs.Stats>(path, (done) => fs.lstat(systemPath, done)),
    attributesOf
  )

/** Changes what is held: its path follows no name any more. */
const change = Effect.fnUntraced(function* (held: string, { mode, owner, size, times }: Attributes, path: string) {
  if (size !== undefined) yield* run(path, (done) => fs.truncate(held, size, done))
  if (mode !== undefined) yield* run(path, (done) => fs.chmod(held, mode & PERMISSION_BITS, done))
  if (owner !== undefined) yield* run(path, (done) => fs.chown(held, owner.uid, owner.gid, done))
  if (times !== undefined) yield* run(path, (done) => fs.utimes(held, times.accessed, times.modified, done))
})

const renameToFree = Effect.fnUntraced(function* (source: string, target: string, from: string, to: string) {
  const stats = yield* call<fs.Stats>(from, (done) => fs.lstat(source, done))
  if (stats.isDirectory()) {
    const isTaken = yield* Effect.isSuccess(call<fs.Stats>(to, (done) => fs.lstat(target, done)))
    if (isTaken) return yield* new FileError({ reason: "Exists", path: to })
    return yield* run(from, (done) => fs.rename(source, target, done))
  }
  yield* run(to, (done) => fs.link(source, target, done))
  yield* run(from, (done) => fs.unlink(source, done))
})

const openFile = Effect.fnUntraced(function* (
  walk: Walk,
  path: string,
  flags: OpenFlags,
  mode = FILE_MODE
): Effect.fn.Return<OpenFile, FileError, Scope.Scope> {
  const mustBeNew = flags.create && flags.exclusive
  for (let race = 0; race < RACES_MAX; race++) {
    const opened = yield* Effect.catchIf(
      openOnce(walk, path, flags, mode),
      // It came up after we had looked: then it is there to be opened.
      ({ reason }) => !mustBeNew && reason === "Exists",
      () => Effect.succeed(undefined)
    )
    if (opened === undefined) continue
    const { descriptor, isNew } = opened
    if (flags.truncate && flags.write && !isNew) yield* run(path, (done) => fs.ftruncate(descriptor, 0, done))
    return fileOf(descriptor, path, flags.append)
  }
  return yield* new FileError({ reason: "Io", path })
})

/** Looks at the file without opening it, and then opens that very file; makes it where it is wanted and not there. */
const openOnce = (walk: Walk, path: string, { append, create, exclusive, read, write }: OpenFlags, mode: number) =>
  Effect.flatMap(Effect.scope, (scope) =>
    Effect.scoped(
      Effect.gen(function* () {
        const access = write ? (read ? O_RDWR : O_WRONLY) : O_RDONLY
        const how = access | (append ? O_APPEND : 0)
        const mustBeNew = create && exclusive
        // A link at the end is followed, as `open` does; where the name must be free, it is not.
        const place = yield* walk.to(path, !mustBeNew)
        const held = mustBeNew
          ? undefined
          : yield* Effect.catchIf(
              walk.hold(place),
              ({ reason }) => create && reason === "NotFound",
              () => Effect.succeed(undefined)
            )
        if (held !== undefined) {
          const stats = yield* call<fs.Stats>(path, (done) => fs.stat(held, done))
          if (stats.isDirectory()) return yield* new FileError({ reason: "IsDirectory", path })
          if (!stats.isFile()) return yield* new FileError({ reason: "Denied", path })
          return { descriptor: yield* Scope.provide(walk.reopen(held, path, how), scope), isNew: false }
        }
        if (place.name === undefined) return yield* new FileError({ reason: "IsDirectory", path })
        const making = open(path, place.systemPath, how | O_CREAT | O_EXCL | O_NOFOLLOW, mode & PERMISSION_BITS)
        return { descriptor: yield* Scope.provide(making, scope), isNew: true }
      })
    )
  )

const fileOf = (descriptor: number, path: string, isAppending: boolean): OpenFile => {
  const fill = (bytes: Uint8Array, at: number, offset: number): Effect.Effect<number, FileError> =>
    Effect.flatMap(
      call<number>(path, (done) => fs.read(descriptor, bytes, at, bytes.length - at, offset + at, done)),
      (count) => {
        const end = at + count
        return count === 0 || end === bytes.length ? Effect.succeed(end) : fill(bytes, end, offset)
      }
    )
  const writeFrom = (bytes: Uint8Array, at: number, offset: number): Effect.Effect<void, FileError> =>
    Effect.flatMap(
      call<number>(path, (done) => {
        const position = isAppending ? null : offset + at
        fs.write(descriptor, bytes, at, bytes.length - at, position, done)
      }),
      (count) => (at + count === bytes.length ? Effect.void : writeFrom(bytes, at + count, offset))
    )
  return {
    read: (offset, length) =>
      Effect.suspend(() => {
        const bytes = new Uint8Array(length)
        return Effect.map(fill(bytes, 0, offset), (count) => bytes.subarray(0, count))
      }),
    readInto: (offset, into) => fill(into, 0, offset),
    write: (offset, bytes) => (bytes.length === 0 ? Effect.void : writeFrom(bytes, 0, offset)),
    stat: Effect.map(
      call<fs.Stats>(path, (done) => fs.fstat(descriptor, done)),
      attributesOf
    ),
    setAttributes: Effect.fnUntraced(function* ({ mode, owner, size, times }) {
      if (size !== undefined) yield* run(path, (done) => fs.ftruncate(descriptor, size, done))
      if (mode !== undefined) yield* run(path, (done) => fs.fchmod(descriptor, mode & PERMISSION_BITS, done))
      if (owner !== undefined) yield* run(path, (done) => fs.fchown(descriptor, owner.uid, owner.gid, done))
      if (times !== undefined) {
        yield* run(path, (done) => fs.futimes(descriptor, times.accessed, times.modified, done))
      }
    }),
    sync: run(path, (done) => fs.fsync(descriptor, done))
  }
}

const list = Effect.fnUntraced(function* (walk: Walk, path: string) {
  const held = yield* walk.hold(yield* walk.to(path, true))
  const directory = yield* Effect.acquireRelease(
    call<fs.Dir>(path, (done) => fs.opendir(`${held}/.`, { bufferSize: LIST_BATCH }, done)),
    (directory) => Effect.ignore(run(path, (done) => directory.close(done)))
  )
  const next = call<fs.Dirent | null>(path, (done) => directory.read(done))
  return Effect.gen(function* () {
    const entries: Array<TreeEntry> = []
    while (entries.length < LIST_BATCH) {
      const entry = yield* next
      if (entry === null) break
      // A name that no path can have cannot be asked for: it is not shown either.
      if (!isPart(entry.name)) continue
      const attributes = yield* Effect.option(attributesAt(`${held}/${entry.name}`, path))
      // It went away since.
      if (attributes._tag === "Some") entries.push({ name: entry.name, attributes: attributes.value })
    }
    return entries
  })
})

const spaceAt = (systemPath: string, path: string): Effect.Effect<Space, FileError> =>
  Effect.map(
    call<fs.StatsFs>(path, (done) => fs.statfs(systemPath, done)),
    ({ bavail, bfree, blocks, bsize, ffree, files }) => ({
      blockBytes: bsize,
      blocks,
      blocksFree: bfree,
      blocksAvailable: bavail,
      files,
      filesFree: ffree,
      nameBytesMax: PART_BYTES_MAX,
      isReadOnly: false
    })
  )
