/**
 * Reading a file that holds a secret, only where nobody else can read or replace it (VAULT-R24).
 *
 * The file is opened without following a link and without blocking, and every check is made on the open descriptor, so that
 * nothing can be swapped between check and read: a regular file of the effective user, no right for group or others, in a
 * folder that neither may write to. On Windows, where rights are not in the mode, the check is left out with one warning.
 */
import { constants, type Stats } from "node:fs"
import { type FileHandle, open, stat } from "node:fs/promises"
import { dirname, resolve } from "node:path"
import { Effect } from "effect"
import { VaultInsecure, VaultIo } from "../../protocol/vault/VaultError.ts"

export interface SecureRead {
  /** Longest content; one byte more is `VaultIo` with `EFBIG`. */
  readonly maxBytes: number
  readonly subject?: "vault file" | "secret file"
  /** Who must own the file; the effective user of the process unless told. */
  readonly owner?: number
}

/** The whole content. A missing file is `VaultIo` at step `open` with `ENOENT`. */
export const readSecureFile = (path: string, options: SecureRead): Effect.Effect<Uint8Array, VaultInsecure | VaultIo> =>
  Effect.acquireUseRelease(
    openUnfollowed(path, options),
    (file) => Effect.andThen(checkSecure(file, path, options), readBounded(file, options.maxBytes)),
    (file) => Effect.promise(() => file.close().catch(() => undefined))
  )

/** Whether group and others may not write to the folder of `path`. */
export const checkFolder = (
  path: string,
  options: Pick<SecureRead, "subject">
): Effect.Effect<void, VaultInsecure | VaultIo> =>
  hasModes
    ? Effect.flatMap(
        attempt("open", () => stat(dirname(resolve(path)))),
        (folder) => ((folder.mode & GROUP_OTHER_WRITE) === 0 ? Effect.void : insecure("directory", options))
      )
    : Effect.void

/** Runs a step on the file system. An error keeps its code and nothing else: its text would hold the path. */
export const attempt = <A>(step: string, run: () => Promise<A>): Effect.Effect<A, VaultIo> =>
  Effect.tryPromise({ try: run, catch: (cause) => new VaultIo({ step, code: codeOf(cause) }) })

/** The operating system's code of an error. */
export const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "EUNKNOWN"

const GROUP_OTHER = 0o077
const GROUP_OTHER_WRITE = 0o022
const hasModes = process.platform !== "win32"
let warned = false

const insecure = (reason: VaultInsecure["reason"], { subject }: Pick<SecureRead, "subject">) =>
  Effect.fail(new VaultInsecure({ reason, ...(subject === undefined ? {} : { subject }) }))

const openUnfollowed = (path: string, options: SecureRead): Effect.Effect<FileHandle, VaultInsecure | VaultIo> =>
  attempt("open", () =>
    open(path, constants.O_RDONLY | (constants.O_NOFOLLOW ?? 0) | (constants.O_NONBLOCK ?? 0))
  ).pipe(
    // A link gives ELOOP (EMLINK on some systems), a socket ENXIO.
    Effect.catchIf(
      (error) => error.code === "ELOOP" || error.code === "EMLINK" || error.code === "ENXIO",
      () => insecure("type", options)
    )
  )

const checkSecure = (
  file: FileHandle,
  path: string,
  options: SecureRead
): Effect.Effect<void, VaultInsecure | VaultIo> =>
  Effect.flatMap(
    attempt("open", () => file.stat()),
    (found: Stats) => {
      if (!found.isFile()) return insecure("type", options)
      if (!hasModes) return warnOnce
      if (found.uid !== (options.owner ?? process.geteuid?.())) return insecure("owner", options)
      if ((found.mode & GROUP_OTHER) !== 0) return insecure("mode", options)
      return checkFolder(path, options)
    }
  )

const warnOnce = Effect.suspend(() => {
  if (warned) return Effect.void
  warned = true
  return Effect.logWarning("this system has no POSIX file modes: who else can read the vault's files was not checked")
})

const readBounded = (file: FileHandle, maxBytes: number): Effect.Effect<Uint8Array, VaultIo> =>
  Effect.acquireUseRelease(
    Effect.sync(() => new Uint8Array(maxBytes + 1)),
    (buffer) =>
      Effect.gen(function* () {
        let filled = 0
        while (filled < buffer.length) {
          const { bytesRead } = yield* attempt("read", () => file.read(buffer, filled, buffer.length - filled, filled))
          if (bytesRead === 0) return buffer.slice(0, filled)
          filled += bytesRead
        }
        return yield* new VaultIo({ step: "read", code: "EFBIG" })
      }),
    (buffer) => Effect.sync(() => buffer.fill(0))
  )
