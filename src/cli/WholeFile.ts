/**
 * Writes a file whole or not at all: what was there stays until the new text is on disk, also when the write is interrupted.
 */
import { randomBytes } from "node:crypto"
import { open, realpath, rename, stat, unlink } from "node:fs/promises"
import { Effect } from "effect"
import { failed } from "./Failure.ts"

const codeOf = (error: unknown): string =>
  error instanceof Error && "code" in error ? String(error.code) : "unknown error"

/** Through a link to what it names. Something that is no file, such as a folder or a device, is refused. */
export const writeWholeFile = Effect.fnUntraced(function* (path: string, text: string) {
  const unwritable = (why: string) =>
    failed("FILE_UNWRITABLE", `${path} cannot be written (${why})`, "is the folder there, and may you write to it?")
  const step = <A>(run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (error) => unwritable(codeOf(error)) })
  const found = yield* Effect.promise(() => stat(path).catch(() => undefined))
  if (found?.isFile() === false) return yield* unwritable("it is no file")
  const target = found === undefined ? path : yield* step(() => realpath(path))
  const temporary = `${target}.${randomBytes(6).toString("hex")}.tmp`
  const write = Effect.scoped(
    Effect.gen(function* () {
      const file = yield* Effect.acquireRelease(
        step(() => open(temporary, "wx", found === undefined ? 0o666 : found.mode & 0o777)),
        (handle) => Effect.ignore(Effect.tryPromise(() => handle.close()))
      )
      yield* step(() => file.writeFile(text))
      yield* step(() => file.sync())
      yield* step(() => rename(temporary, target))
    })
  )
  yield* Effect.onError(write, () => Effect.ignore(Effect.tryPromise(() => unlink(temporary))))
})
