/**
 * Loads a user's module into this process, again whenever it is asked: each load evaluates the file and what it imports of
 * its own anew. What it imports from packages is loaded once.
 *
 * `alknet`, `effect` and the packages of Effect are this program's own, wherever the file is: there is one copy of them in
 * the process, so that what the module makes is what the program understands. The file needs no packages of its own for
 * that, only an editor does.
 *
 * A load cannot be undone: what an earlier one evaluated stays in memory until the process ends.
 */
import { stat } from "node:fs/promises"
import { type LoadHookSync, type ResolveFnOutput, type ResolveHookSync, registerHooks } from "node:module"
import { dirname } from "node:path"
import { fileURLToPath, pathToFileURL } from "node:url"
import { Effect, Result, type Scope } from "effect"
import { ModuleError } from "../services/ModuleError.ts"
import { moduleFailure } from "./moduleFailure.ts"
import { changed, type Look, lookAt } from "./moduleWatch.ts"

export interface LoadedModule {
  readonly exports: Readonly<Record<string, unknown>>
}

export interface ModuleLoader {
  readonly load: Effect.Effect<LoadedModule, ModuleError>
  /** The files of the last load, as far as it came; at first the file alone. */
  readonly files: () => ReadonlyArray<string>
  /** Completes when they are not what the last load read. After one that failed also when something is new beside them. */
  readonly changed: Effect.Effect<void>
}

/** What evaluating a module may take: it may wait for something at its top level. */
const LOAD_WITHIN = "30 seconds"

/** Marks the URLs of one load. What such a file imports gets the mark of that load too. */
const MARK = "alknet-load"

/** At most this many files are told; the modules of a program are fewer. */
const FILES_MAX = 1000

const extension = import.meta.url.endsWith(".ts") ? "ts" : "js"
const ownModules: ReadonlyMap<string, string> = new Map([
  ["alknet", new URL(`../index.${extension}`, import.meta.url).href],
  ["alknet/testing", new URL(`../testing.${extension}`, import.meta.url).href]
])

const sharedPackage = /^(?:effect|@effect\/[^/]+)(?:\/|$)/

let loads = 0

/** A loader of this file; ends with the scope. */
export const make = (file: string): Effect.Effect<ModuleLoader, never, Scope.Scope> =>
  Effect.gen(function* () {
    let files = new Set([file])
    let load = ""
    const resolve: ResolveHookSync = (specifier, context, next) => {
      const own = ownModules.get(specifier)
      if (own !== undefined) return { url: own, shortCircuit: true }
      if (sharedPackage.test(specifier)) {
        try {
          return next(specifier, { ...context, parentURL: import.meta.url })
        } catch {
          // A package of Effect that this program does not have: the user's own.
          return next(specifier)
        }
      }
      const found = next(specifier)
      const mark = markOf(context.parentURL)
      if (mark === undefined || !isOfUser(found.url)) return found
      if (mark === load && files.size < FILES_MAX) files.add(fileURLToPath(found.url))
      return marked(found, mark)
    }
    const loadHook: LoadHookSync = (url, context, next) =>
      next(url, { ...context, format: formatOf(url, context.format) })
    yield* Effect.acquireRelease(
      Effect.sync(() => registerHooks({ resolve, load: loadHook })),
      (registered) => Effect.sync(() => registered.deregister())
    )
    const once = Effect.suspend(() => {
      load = String(++loads)
      files = new Set([file])
      const { url } = marked({ url: pathToFileURL(file).href }, load)
      return Effect.tryPromise({
        try: (): Promise<Readonly<Record<string, unknown>>> => import(url),
        catch: (error) => moduleFailure(file, MARK, error)
      })
    })
    const within = Effect.timeoutOrElse(Effect.andThen(isThere(file), once), {
      duration: LOAD_WITHIN,
      orElse: () => Effect.fail(overdue(file))
    })
    let seen: Look = new Map()
    const look = (before: Look, failed: boolean) =>
      Effect.map(lookAt(failed ? [...files, ...folders(files)] : [...files]), (now) => {
        // What changed while it was being loaded is seen as it was before.
        seen = new Map(Array.from(now, ([path, last]) => [path, before.get(path) ?? last]))
      })
    return {
      load: Effect.gen(function* () {
        const before = yield* lookAt([...files, ...folders(files)])
        const loaded = yield* Effect.result(within)
        yield* look(before, Result.isFailure(loaded))
        return { exports: yield* Effect.fromResult(loaded) }
      }),
      files: () => [...files],
      changed: Effect.suspend(() => changed(seen))
    }
  })

const folders = (files: ReadonlySet<string>): ReadonlySet<string> =>
  new Set(Array.from(files, (path) => dirname(path)).slice(0, FILES_MAX))

const overdue = (file: string) =>
  new ModuleError({ file, problem: `it has not loaded within ${LOAD_WITHIN}`, hint: "what does it wait for?" })

const isThere = (file: string): Effect.Effect<void, ModuleError> =>
  Effect.gen(function* () {
    const missing = (problem: string) => new ModuleError({ file, problem, hint: "give the path of a module" })
    const found = yield* Effect.tryPromise({ try: () => stat(file), catch: () => missing("there is no such file") })
    if (!found.isFile()) return yield* missing("it is no file")
  })

const markOf = (url: string | undefined): string | undefined =>
  url?.includes(MARK) === true ? (new URL(url).searchParams.get(MARK) ?? undefined) : undefined

const isOfUser = (url: string): boolean => url.startsWith("file:") && !url.includes("/node_modules/")

const marked = (found: ResolveFnOutput, mark: string): ResolveFnOutput => {
  const url = new URL(found.url)
  url.searchParams.set(MARK, mark)
  return { ...found, url: url.href }
}

/** A TypeScript file is a module, whatever the package.json above it says or does not say. */
const formatOf = (url: string, format: string | null | undefined) =>
  markOf(url) !== undefined && new URL(url).pathname.endsWith(".ts") ? "module-typescript" : format
