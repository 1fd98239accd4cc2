/**
 * The file system calls of `node:fs` as Effects, with errors in the words of a tree. An error says the path in the tree that
 * it is about, never the one on the machine.
 */
import * as fs from "node:fs"
import { Effect, Exit, type Scope } from "effect"
import { FileError } from "../../services/FileTree.ts"

type Done<A> = (error: NodeJS.ErrnoException | null, value: A) => void

/** One call; `path` is for the error. An interruption waits for it, so that what it gives is not lost. */
export const call = <A>(path: string, start: (done: Done<A>) => void): Effect.Effect<A, FileError> =>
  Effect.uninterruptible(
    Effect.callback((resume) => {
      try {
        start((error, value) => resume(error === null ? Exit.succeed(value) : Exit.fail(fileError(error, path))))
      } catch (error) {
        resume(Exit.fail(fileError(error, path)))
      }
    })
  )

/** One call that gives nothing. */
export const run = (path: string, start: (done: fs.NoParamCallback) => void): Effect.Effect<void, FileError> =>
  call<void>(path, (done) => start((error) => done(error, undefined)))

/** A descriptor that is closed with the scope. */
export const open = (
  path: string,
  systemPath: string,
  flags: number,
  mode?: number
): Effect.Effect<number, FileError, Scope.Scope> =>
  Effect.acquireRelease(
    call<number>(path, (done) => fs.open(systemPath, flags, mode, done)),
    (descriptor) => Effect.ignore(run(path, (done) => fs.close(descriptor, done)))
  )

/** The same for what is held to be named and not to be read: it has nothing to write out, so that its end is at once. */
export const hold = (path: string, systemPath: string, flags: number): Effect.Effect<number, FileError, Scope.Scope> =>
  Effect.acquireRelease(
    call<number>(path, (done) => fs.open(systemPath, flags, done)),
    (descriptor) => Effect.sync(() => fs.closeSync(descriptor))
  )

const reasons: Readonly<Record<string, FileError["reason"]>> = {
  ENOENT: "NotFound",
  EACCES: "Denied",
  EPERM: "Denied",
  EXDEV: "Unsupported",
  EEXIST: "Exists",
  ENOTDIR: "NotDirectory",
  EISDIR: "IsDirectory",
  ENOTEMPTY: "NotEmpty",
  ENAMETOOLONG: "BadName",
  EROFS: "ReadOnly",
  ENOSPC: "NoSpace",
  EDQUOT: "NoSpace",
  EFBIG: "NoSpace",
  ELOOP: "Loop",
  EOPNOTSUPP: "Unsupported",
  ENOTSUP: "Unsupported",
  ENOSYS: "Unsupported",
  // A socket or a fifo that nobody reads.
  ENXIO: "Denied",
  ETXTBSY: "Denied",
  EBUSY: "Denied"
}

const fileError = (error: unknown, path: string): FileError => {
  const code = error instanceof Error && "code" in error && typeof error.code === "string" ? error.code : ""
  return new FileError({ reason: reasons[code] ?? "Io", path })
}
