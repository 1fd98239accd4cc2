/**
 * From a path in the tree to a directory that is held open and a name in it, so that nobody can lead a call out of the tree
 * by swapping what lies on the way.
 *
 * The system resolves one part at a time and never follows a link; links are followed here. On Linux a directory is held
 * by a descriptor and a part is looked up in `/proc/self/fd/N/`, which is that very directory whatever its name is now
 * (`openat` by other means). Elsewhere a directory is a path whose parts were looked at one after the other: between the
 * look and the call somebody with rights on the machine could swap one. Peers alone cannot, unless they may make links.
 */
import * as fs from "node:fs"
import { Effect, Exit, Result, Scope } from "effect"
import { formatTreePath, isPart, PARTS_MAX, partsOf } from "../../protocol/sftp/TreePath.ts"
import { FileError } from "../../services/FileTree.ts"
import { call, hold, open } from "./System.ts"

const { O_DIRECTORY = 0, O_NOFOLLOW = 0, O_RDONLY } = fs.constants
/** Names a file without opening it; Linux only. */
const O_PATH = 0o10000000

const isLinux = process.platform === "linux"

/** How many links lead on, as in the kernel. */
const LINKS_MAX = 40

const holdDirectory = (isLinux ? O_PATH : O_RDONLY) | O_DIRECTORY | O_NOFOLLOW
const holdAnything = (isLinux ? O_PATH : O_RDONLY | fs.constants.O_NONBLOCK) | O_NOFOLLOW

/** A directory of the tree. */
interface Directory {
  /** To be used with a name behind it, or by itself. */
  readonly systemPath: string
  readonly parts: ReadonlyArray<string>
}

/** Where a path leads. `name` is undefined for the root. */
export interface Place {
  readonly directory: Directory
  readonly name: string | undefined
  /** For calls that do not follow a last link. */
  readonly systemPath: string
  /** In the tree, with its links followed up to here. */
  readonly path: string
}

export class Walk {
  /** With no link in it. */
  readonly #rootPath: string
  readonly #root: Directory

  private constructor(rootPath: string, root: Directory) {
    this.#rootPath = rootPath
    this.#root = root
  }

  /** Holds the root; the scope is the tree's. */
  static readonly make = (folder: string): Effect.Effect<Walk, FileError, Scope.Scope> =>
    Effect.gen(function* () {
      const rootPath = yield* call<string>("/", (done) => fs.realpath(folder, done))
      const descriptor = yield* hold("/", rootPath, holdDirectory)
      return new Walk(rootPath, { systemPath: heldPath(descriptor, rootPath), parts: [] })
    })

  /** The place of a path. `follow`: a link at its end is followed too. What is on the way is held until the scope closes. */
  readonly to = (path: string, follow: boolean): Effect.Effect<Place, FileError, Scope.Scope> => {
    const parts = partsOf(path)
    if (Result.isFailure(parts)) return Effect.fail(new FileError({ reason: "BadName", path }))
    return this.#walk(path, parts.success, follow)
  }

  /** Holds what is there, of any kind (a link too), without opening it where the system can do that; gives its path. */
  readonly hold = (place: Place): Effect.Effect<string, FileError, Scope.Scope> =>
    Effect.map(hold(place.path, place.systemPath, holdAnything), (descriptor) => heldPath(descriptor, place.systemPath))

  /** Opens the very file that is held, which must not be a link. */
  readonly reopen = (held: string, path: string, flags: number): Effect.Effect<number, FileError, Scope.Scope> =>
    // What holds it on Linux is a link of the system's own.
    open(path, held, isLinux ? flags : flags | O_NOFOLLOW)

  readonly #walk = Effect.fnUntraced(
    function* (
      this: Walk,
      asked: string,
      parts: ReadonlyArray<string>,
      follow: boolean
    ): Effect.fn.Return<Place, FileError, Scope.Scope> {
      const denied = new FileError({ reason: "Denied", path: asked })
      const scope = yield* Effect.scope
      /** From the root down to where we are. */
      const way: Array<Directory & { readonly release: Effect.Effect<void> }> = [
        { ...this.#root, release: Effect.void }
      ]
      /** What is left behind is let go at once: links could lead up and down without end. */
      const backTo = (length: number) => Effect.forEach(way.splice(length), ({ release }) => release, { discard: true })
      const left = [...parts].reverse()
      let links = 0
      for (let part = left.pop(); part !== undefined; part = left.pop()) {
        const directory = way[way.length - 1]!
        if (part === "..") {
          if (way.length === 1) return yield* denied
          yield* backTo(way.length - 1)
          continue
        }
        const systemPath = `${directory.systemPath}/${part}`
        const isLast = left.length === 0
        if (!isLast && way.length > PARTS_MAX) return yield* new FileError({ reason: "BadName", path: asked })
        const entered = isLast ? undefined : yield* enter(scope, asked, systemPath)
        if (entered !== undefined && Result.isSuccess(entered)) {
          way.push({ ...entered.success, parts: [...directory.parts, part] })
          continue
        }
        const target = isLast && !follow ? undefined : yield* linkTarget(systemPath, asked)
        if (target === undefined) {
          if (entered !== undefined) return yield* entered.failure
          return { directory, name: part, systemPath, path: formatTreePath([...directory.parts, part]) }
        }
        links++
        if (links > LINKS_MAX) return yield* new FileError({ reason: "Loop", path: asked })
        const onward = this.#partsOfTarget(target)
        if (onward === undefined) return yield* denied
        if (target.startsWith("/")) yield* backTo(1)
        left.push(...onward.reverse())
      }
      const directory = way[way.length - 1]!
      const systemPath = `${directory.systemPath}/.`
      return { directory, name: undefined, systemPath, path: formatTreePath(directory.parts) }
    }.bind(this)
  )

  /** What a link says, as parts from its directory or from the root; undefined where it leads out for certain. */
  #partsOfTarget(target: string): Array<string> | undefined {
    const inside = target.startsWith("/") ? this.#belowRoot(target) : target
    if (inside === undefined) return undefined
    const parts = inside.split("/").filter((part) => part !== "" && part !== ".")
    return parts.every((part) => part === ".." || isPart(part)) ? parts : undefined
  }

  /** An absolute target names a file of the machine: it counts where that is below the folder. */
  #belowRoot(target: string): string | undefined {
    const root = this.#rootPath === "/" ? "" : this.#rootPath
    if (target === this.#rootPath) return ""
    return target.startsWith(`${root}/`) ? target.slice(root.length) : undefined
  }
}

/** A directory, held; a failure that may be a link is a value, because links are followed by the walk. */
const enter = Effect.fnUntraced(function* (scope: Scope.Scope, path: string, systemPath: string) {
  const own = yield* Scope.fork(scope)
  const release = Scope.close(own, Exit.void)
  const opened = yield* Effect.result(Scope.provide(hold(path, systemPath, holdDirectory), own))
  if (Result.isSuccess(opened)) {
    return Result.succeed({ systemPath: heldPath(opened.success, systemPath), release })
  }
  yield* release
  const { reason } = opened.failure
  return reason === "NotDirectory" || reason === "Loop" ? Result.fail(opened.failure) : yield* opened.failure
})

/** The path under which what a descriptor holds is found whatever happens to its name. */
const heldPath = (descriptor: number, systemPath: string): string =>
  isLinux ? `/proc/self/fd/${descriptor}` : systemPath

/** What the link says; undefined for everything that is no link, or not there: the next call will tell. */
const linkTarget = (systemPath: string, path: string): Effect.Effect<string | undefined, FileError> =>
  call<string | undefined>(path, (done) =>
    fs.readlink(systemPath, (error, target) => {
      if (error === null) done(null, target)
      else if (error.code === "EINVAL" || error.code === "ENOENT") done(null, undefined)
      else done(error, undefined)
    })
  )
