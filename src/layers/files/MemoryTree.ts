/**
 * A tree of files in memory, for tests and for programs that show what is on no disk. Links lead on inside; an absolute
 * target begins at the root of the tree, and one that goes above it is `Denied`, as in a folder.
 *
 * All files together hold at most the bytes that the layer was given; beyond that writes fail with `NoSpace`. A file that
 * was removed lives on while it is open.
 */
import { Clock, Effect, Layer, Result } from "effect"
import { type Attributes, FileType } from "../../protocol/sftp/Attributes.ts"
import { formatTreePath, isPart, PART_BYTES_MAX, partsOf } from "../../protocol/sftp/TreePath.ts"
import { FileError, FileTree, type OpenFile, type OpenFlags } from "../../services/FileTree.ts"

const BYTES_MAX = 64 * 1024 * 1024
const BLOCK_BYTES = 4096
const LINKS_MAX = 40
const LIST_BATCH = 64
const PERMISSION_BITS = 0o777
const LINK_MODE = 0o777
const FILE_MODE = 0o644
const DIRECTORY_MODE = 0o755

interface Common {
  mode: number
  owner: { readonly uid: number; readonly gid: number }
  times: { readonly accessed: number; readonly modified: number }
}
interface File extends Common {
  readonly kind: "file"
  bytes: Uint8Array
  /** The used part of `bytes`. */
  size: number
  /** Under how many names it is found; with none it is not counted any more. */
  names: number
}
interface Directory extends Common {
  readonly kind: "directory"
  readonly entries: Map<string, Node>
}
interface Link extends Common {
  readonly kind: "link"
  readonly target: string
}
type Node = File | Directory | Link

interface Place {
  readonly directory: Directory
  /** Undefined for the root. */
  readonly name: string | undefined
  readonly node: Node | undefined
  readonly parts: ReadonlyArray<string>
}

export interface MemoryTreeOptions {
  /** Bytes of all files. Default: 64 MiB. */
  readonly bytesMax?: number
}

/** An empty tree. */
export const layer = (options: MemoryTreeOptions = {}): Layer.Layer<FileTree> =>
  Layer.sync(FileTree, () => makeTree(options.bytesMax ?? BYTES_MAX))

/** Thrown within a step and nowhere else: it becomes the failure of the step. */
class Refusal {
  readonly reason: FileError["reason"]
  constructor(reason: FileError["reason"]) {
    this.reason = reason
  }
}

const refuse = (reason: FileError["reason"]): never => {
  throw new Refusal(reason)
}

/** A step that is done at once, at a time in seconds. */
const step = <A>(path: string, act: (now: number) => A): Effect.Effect<A, FileError> =>
  Effect.flatMap(Clock.currentTimeMillis, (millis) => {
    try {
      return Effect.succeed(act(Math.floor(millis / 1000)))
    } catch (refusal) {
      if (refusal instanceof Refusal) return Effect.fail(new FileError({ reason: refusal.reason, path }))
      throw refusal
    }
  })

const common = (mode: number, now: number): Common => ({
  mode: mode & PERMISSION_BITS,
  owner: { uid: 0, gid: 0 },
  times: { accessed: now, modified: now }
})

const makeDirectory = (mode: number, now: number): Directory => ({
  kind: "directory",
  ...common(mode, now),
  entries: new Map()
})

const types = { file: FileType.File, directory: FileType.Directory, link: FileType.SymbolicLink }

const attributesOf = (node: Node): Attributes => ({
  size: node.kind === "file" ? node.size : node.kind === "link" ? Buffer.byteLength(node.target) : 0,
  owner: node.owner,
  mode: types[node.kind] | node.mode,
  times: node.times
})

const makeTree = (bytesMax: number): FileTree["Service"] => {
  const root = makeDirectory(DIRECTORY_MODE, 0)
  let used = 0

  const resize = (file: File, size: number) => {
    if (used - file.size + size > bytesMax) refuse("NoSpace")
    if (size > file.bytes.length) {
      const bytes = new Uint8Array(Math.max(size, Math.min(file.bytes.length * 2, bytesMax)))
      bytes.set(file.bytes.subarray(0, file.size))
      file.bytes = bytes
    } else file.bytes.fill(0, size, file.size)
    if (file.names > 0) used += size - file.size
    file.size = size
  }

  const change = (node: Node, { mode, owner, size, times }: Attributes) => {
    if (size !== undefined) node.kind === "file" ? resize(node, size) : refuse("IsDirectory")
    if (mode !== undefined) node.mode = mode & PERMISSION_BITS
    if (owner !== undefined) node.owner = owner
    if (times !== undefined) node.times = times
  }

  const find = (path: string, follow: boolean): Place => {
    const parts = partsOf(path)
    if (Result.isFailure(parts)) return refuse("BadName")
    const way: Array<{ readonly directory: Directory; readonly parts: ReadonlyArray<string> }> = [
      { directory: root, parts: [] }
    ]
    const left = [...parts.success].reverse()
    let links = 0
    for (let part = left.pop(); part !== undefined; part = left.pop()) {
      const here = way[way.length - 1]!
      if (part === "..") {
        if (way.length === 1) return refuse("Denied")
        way.pop()
        continue
      }
      const node = here.directory.entries.get(part)
      const below = [...here.parts, part]
      const isLast = left.length === 0
      if (node?.kind === "link" && (follow || !isLast)) {
        if (++links > LINKS_MAX) return refuse("Loop")
        const onward = node.target.split("/").filter((name) => name !== "" && name !== ".")
        if (!onward.every((name) => name === ".." || isPart(name))) return refuse("Denied")
        if (node.target.startsWith("/")) way.length = 1
        left.push(...onward.reverse())
        continue
      }
      if (isLast) return { directory: here.directory, name: part, node, parts: below }
      if (node === undefined) return refuse("NotFound")
      if (node.kind !== "directory") return refuse("NotDirectory")
      way.push({ directory: node, parts: below })
    }
    const { directory, parts: at } = way[way.length - 1]!
    return { directory, name: undefined, node: directory, parts: at }
  }

  const existing = (path: string, follow: boolean): Node => find(path, follow).node ?? refuse("NotFound")
  const named = (path: string, follow = false) => {
    const place = find(path, follow)
    return place.name === undefined ? refuse("Denied") : { ...place, name: place.name }
  }
  const add = (path: string, make: () => Node) => {
    const { directory, name, node } = named(path)
    if (node !== undefined) refuse("Exists")
    directory.entries.set(name, make())
  }
  const drop = (directory: Directory, name: string, node: Node) => {
    directory.entries.delete(name)
    if (node.kind === "file" && --node.names === 0) used -= node.size
  }

  const openFile = (path: string, flags: OpenFlags, mode: number, now: number): File => {
    const place = find(path, !(flags.create && flags.exclusive))
    const { node } = place
    if (node !== undefined) {
      if (flags.create && flags.exclusive) return refuse("Exists")
      if (node.kind === "directory") return refuse("IsDirectory")
      if (node.kind === "link") return refuse("Loop")
      if (flags.truncate && flags.write) resize(node, 0)
      return node
    }
    if (!flags.create || place.name === undefined) return refuse("NotFound")
    const file: File = { kind: "file", ...common(mode, now), bytes: new Uint8Array(0), size: 0, names: 1 }
    place.directory.entries.set(place.name, file)
    return file
  }

  const fileOf = (file: File, path: string, flags: OpenFlags): OpenFile => {
    const view = (offset: number, length: number): Uint8Array =>
      flags.read
        ? file.bytes.subarray(Math.min(offset, file.size), Math.min(offset + length, file.size))
        : refuse("Denied")
    return {
      read: (offset, length) => step(path, () => view(offset, length).slice()),
      readInto: (offset, into) =>
        step(path, () => {
          const bytes = view(offset, into.length)
          into.set(bytes)
          return bytes.length
        }),
      write: (offset, bytes) =>
        step(path, (now) => {
          if (!flags.write) return refuse("Denied")
          const at = flags.append ? file.size : offset
          if (bytes.length > 0 && at + bytes.length > file.size) resize(file, at + bytes.length)
          file.bytes.set(bytes, at)
          file.times = { accessed: now, modified: now }
        }),
      stat: Effect.sync(() => attributesOf(file)),
      setAttributes: (attributes) => step(path, () => change(file, attributes)),
      sync: Effect.void
    }
  }

  const rename = (from: string, to: string, overwrite: boolean) => {
    const source = named(from)
    const target = named(to)
    const { node } = source
    if (node === undefined) return refuse("NotFound")
    // Two names of one file, or twice the same: nothing to do, as in POSIX.
    if (node === target.node) return overwrite ? undefined : refuse("Exists")
    if (node.kind === "directory" && target.parts.slice(0, source.parts.length).join("/") === source.parts.join("/")) {
      return refuse("Io")
    }
    if (target.node !== undefined) {
      if (!overwrite) return refuse("Exists")
      if (target.node.kind === "directory") {
        if (node.kind !== "directory") return refuse("IsDirectory")
        if (target.node.entries.size > 0) return refuse("NotEmpty")
      } else if (node.kind === "directory") return refuse("NotDirectory")
      drop(target.directory, target.name, target.node)
    }
    source.directory.entries.delete(source.name)
    target.directory.entries.set(target.name, node)
  }

  const list = (path: string) =>
    step(path, () => {
      const node = existing(path, true)
      if (node.kind !== "directory") return refuse("NotDirectory")
      const entries = [...node.entries].map(([name, entry]) => ({ name, attributes: attributesOf(entry) }))
      return Effect.sync(() => entries.splice(0, LIST_BATCH))
    })

  return FileTree.of({
    isReadOnly: false,
    open: (path, flags, mode = FILE_MODE) => step(path, (now) => fileOf(openFile(path, flags, mode, now), path, flags)),
    list,
    stat: (path) => step(path, () => attributesOf(existing(path, true))),
    linkStat: (path) => step(path, () => attributesOf(existing(path, false))),
    setAttributes: (path, attributes) => step(path, () => change(existing(path, true), attributes)),
    linkSetAttributes: (path, attributes) => step(path, () => change(existing(path, false), attributes)),
    makeDirectory: (path, mode = DIRECTORY_MODE) => step(path, (now) => add(path, () => makeDirectory(mode, now))),
    removeDirectory: (path) =>
      step(path, () => {
        const { directory, name, node } = named(path)
        if (node === undefined) return refuse("NotFound")
        if (node.kind !== "directory") return refuse("NotDirectory")
        if (node.entries.size > 0) return refuse("NotEmpty")
        drop(directory, name, node)
      }),
    remove: (path) =>
      step(path, () => {
        const { directory, name, node } = named(path)
        if (node === undefined) return refuse("NotFound")
        if (node.kind === "directory") return refuse("IsDirectory")
        drop(directory, name, node)
      }),
    rename: (from, to, overwrite) => step(from, () => rename(from, to, overwrite)),
    hardLink: (from, path) =>
      step(path, () => {
        const node = existing(from, false)
        if (node.kind === "directory") return refuse("Denied")
        add(path, () => node)
        if (node.kind === "file") node.names++
      }),
    symbolicLink: (target, path) =>
      step(path, (now) => add(path, () => ({ kind: "link", ...common(LINK_MODE, now), target }))),
    readLink: (path) =>
      step(path, () => {
        const node = existing(path, false)
        return node.kind === "link" ? node.target : refuse("Io")
      }),
    realPath: (path) => step(path, () => formatTreePath(find(path, true).parts)),
    space: (path) =>
      step(path, () => {
        existing(path, true)
        const blocks = Math.ceil(bytesMax / BLOCK_BYTES)
        const blocksFree = Math.floor((bytesMax - used) / BLOCK_BYTES)
        return {
          blockBytes: BLOCK_BYTES,
          blocks,
          blocksFree,
          blocksAvailable: blocksFree,
          files: 0,
          filesFree: 0,
          nameBytesMax: PART_BYTES_MAX,
          isReadOnly: false
        }
      })
  })
}
