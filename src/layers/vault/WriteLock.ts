/**
 * The lock file beside a vault file: it lets one process write at a time (VAULT-R25).
 *
 * `<path>.lock` is created exclusively and holds the pid of the writer. Where it exists, its process is asked for: alive is
 * `VaultBusy`, gone is taken over. A lock without a pid can be seen only where there are no hard links, while its writer is
 * making it or after it died doing so: it is busy for 10 s and then taken over. A lock with our own pid that we do not hold was left by an earlier process of that number,
 * as happens in containers.
 *
 * The lock orders writers; it does not protect the file. Every writer publishes in one atomic step, so that even a lock that
 * fails could not damage it.
 */
import { Clock, Effect } from "effect"
import { VaultBusy, VaultIo } from "../../protocol/vault/VaultError.ts"
import { type FileSteps, NO_HARD_LINKS } from "./FileSteps.ts"
import { attempt } from "./SecureFile.ts"

const PIDLESS_GRACE_MILLIS = 10_000
const ATTEMPTS = 3

/** Lock files that this process holds. */
const held = new Set<string>()

/** Runs the effect while the lock of the vault file at `path` is held. `mark` is a random text for names. */
export const withWriteLock = <A, E, R>(
  steps: FileSteps,
  path: string,
  mark: string,
  use: Effect.Effect<A, E, R>
): Effect.Effect<A, E | VaultBusy | VaultIo, R> => {
  const lock = `${path}.lock`
  return Effect.acquireUseRelease(
    acquire(steps, lock, mark, ATTEMPTS),
    () => use,
    () => Effect.ignore(release(steps, lock))
  )
}

const acquire = (
  steps: FileSteps,
  lock: string,
  mark: string,
  attempts: number
): Effect.Effect<void, VaultBusy | VaultIo> =>
  Effect.suspend(() => {
    if (attempts === 0 || held.has(lock)) return Effect.fail(new VaultBusy())
    held.add(lock)
    return create(steps, lock, mark).pipe(
      Effect.onError(() => Effect.sync(() => held.delete(lock))),
      Effect.catchIf(
        (error) => error.code === "EEXIST",
        () => Effect.andThen(removeStale(steps, lock, mark), acquire(steps, lock, mark, attempts - 1))
      )
    )
  })

/** By a hard link to a file that already holds the pid, so that nobody is ever killed between the two. */
const create = (steps: FileSteps, lock: string, mark: string): Effect.Effect<void, VaultIo> => {
  const prepared = `${lock}.${mark}`
  return writePid(steps, prepared).pipe(
    Effect.andThen(attempt("lock", () => steps.link(prepared, lock))),
    Effect.ensuring(Effect.ignore(attempt("lock", () => steps.remove(prepared)))),
    Effect.catchIf(
      (error) => NO_HARD_LINKS.has(error.code),
      () => writePid(steps, lock)
    )
  )
}

const writePid = (steps: FileSteps, path: string): Effect.Effect<void, VaultIo> =>
  Effect.flatMap(
    attempt("lock", () => steps.create(path)),
    (file) =>
      attempt("lock", () => file.write(new TextEncoder().encode(`${process.pid}\n`))).pipe(
        Effect.ensuring(Effect.ignore(attempt("lock", () => file.close()))),
        Effect.onError(() => Effect.ignore(attempt("lock", () => steps.remove(path))))
      )
  )

const release = (steps: FileSteps, lock: string): Effect.Effect<void, VaultIo> =>
  attempt("unlock", () => steps.remove(lock)).pipe(Effect.ensuring(Effect.sync(() => held.delete(lock))))

/**
 * Moves a stale lock away under a name of its own, which only one process can do, and looks at it once more: where it
 * belongs to a process that took over in between, it is put back.
 */
const removeStale = (steps: FileSteps, lock: string, mark: string): Effect.Effect<void, VaultBusy | VaultIo> =>
  Effect.gen(function* () {
    if (!(yield* isStale(steps, lock, lock))) return yield* new VaultBusy()
    const moved = `${lock}.${mark}`
    yield* attempt("lock", () => steps.rename(lock, moved))
    const stale = yield* isStale(steps, moved, lock)
    if (!stale) yield* Effect.ignore(attempt("lock", () => steps.link(moved, lock)))
    yield* attempt("lock", () => steps.remove(moved))
    if (!stale) return yield* new VaultBusy()
  }).pipe(
    // Somebody else removed or moved it first: there is none any more.
    Effect.catchIf(
      (error) => error instanceof VaultIo && error.code === "ENOENT",
      () => Effect.void
    )
  )

const isStale = (steps: FileSteps, file: string, lock: string): Effect.Effect<boolean, VaultIo> =>
  Effect.gen(function* () {
    const { text, modified } = yield* attempt("lock", () => steps.readSmall(file))
    const pid = /^([1-9][0-9]{0,9})\n$/.exec(text)?.[1]
    if (pid === undefined) return (yield* Clock.currentTimeMillis) - modified > PIDLESS_GRACE_MILLIS
    return !isAlive(Number(pid), lock)
  })

const isAlive = (pid: number, lock: string): boolean => {
  if (pid === process.pid) return held.has(lock)
  try {
    process.kill(pid, 0)
    return true
  } catch (cause) {
    // EPERM: it is there, and belongs to somebody else.
    return !(cause instanceof Error && "code" in cause && cause.code === "ESRCH")
  }
}
