/**
 * Waits until files of a user's module have changed. The file system wakes it; where that says nothing, as on network
 * drives, it looks by itself now and then. What counts is how the files look, not what was told: a change that came while
 * nobody listened is seen, and a touch that changes nothing is none.
 */
import { type FSWatcher, watch } from "node:fs"
import { stat } from "node:fs/promises"
import { dirname } from "node:path"
import { Effect, Latch } from "effect"

/** How often it looks without being woken. */
const LOOK_EVERY = "2 seconds"

/** Editors write in several steps: what follows within this time belongs to the same change. */
const QUIET_FOR = "100 millis"

/** At most this many folders wake it; the others are looked at. */
const FOLDERS_MAX = 64

/** How files and folders look, by path. A folder looks different when something comes or goes. */
export type Look = ReadonlyMap<string, string>

export const lookAt = (paths: ReadonlyArray<string>): Effect.Effect<Look> =>
  Effect.map(Effect.forEach(paths, lookOf, { concurrency: 8 }), (entries) => new Map(entries))

const lookOf = (path: string): Effect.Effect<readonly [string, string]> =>
  Effect.promise(() =>
    stat(path).then(
      ({ ino, mtimeMs, size }) => [path, `${ino} ${mtimeMs} ${size}`],
      () => [path, "absent"]
    )
  )

/** Completes when one of them does not look as it did, and is left alone for a moment. */
export const changed = (before: Look): Effect.Effect<void> =>
  Effect.scoped(
    Effect.gen(function* () {
      const woken = yield* Latch.make(false)
      const folders = new Set(Array.from(before.keys(), (path) => dirname(path)))
      for (const folder of [...folders].slice(0, FOLDERS_MAX)) yield* wakeOn(folder, () => woken.openUnsafe())
      const look = lookAt([...before.keys()])
      while (isSame(before, yield* look)) {
        yield* Effect.timeoutOption(woken.await, LOOK_EVERY)
        woken.closeUnsafe()
      }
      yield* settled(look)
    })
  )

const isSame = (one: Look, other: Look): boolean => [...one].every(([path, look]) => other.get(path) === look)

const settled = (look: Effect.Effect<Look>): Effect.Effect<void> =>
  Effect.gen(function* () {
    const before = yield* look
    yield* Effect.sleep(QUIET_FOR)
    if (!isSame(before, yield* look)) yield* settled(look)
  })

const wakeOn = (folder: string, wake: () => void) =>
  Effect.acquireRelease(
    Effect.sync((): FSWatcher | undefined => {
      try {
        const watcher = watch(folder, { persistent: false }, wake)
        watcher.on("error", () => watcher.close())
        return watcher
      } catch {
        return undefined
      }
    }),
    (watcher) => Effect.sync(() => watcher?.close())
  )
