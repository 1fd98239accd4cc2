/**
 * Where the sealed text of a vault lies: a file (`fileStorage`) or memory (`memoryStorage`). It never sees a key.
 *
 * A file is written in steps, so that a crash at any of them leaves the whole old or the whole new file (VAULT-R25): lock,
 * temporary file beside it (mode 0600), write, sync, publish, sync the folder, unlock. A new vault is published by a hard
 * link, which cannot overwrite; a changed one by renaming. What an earlier crash left behind is removed under the lock.
 */
import { randomBytes } from "node:crypto"
import { basename, dirname, join, resolve } from "node:path"
import { Effect, Option } from "effect"
import {
  type VaultBusy,
  VaultCorrupted,
  VaultExists,
  type VaultInsecure,
  VaultIo
} from "../../protocol/vault/VaultError.ts"
import { VAULT_FILE_MAX_BYTES } from "../../protocol/vault/VaultFile.ts"
import { type FileSteps, NO_HARD_LINKS, nodeSteps } from "./FileSteps.ts"
import { attempt, checkFolder, readSecureFile } from "./SecureFile.ts"
import { withWriteLock } from "./WriteLock.ts"

export interface VaultStorage {
  /** The sealed bytes; none where there is no vault. */
  readonly read: Effect.Effect<Option.Option<Uint8Array>, VaultInsecure | VaultIo | VaultCorrupted>
  /** Whether anything is there, usable or not. */
  readonly exists: Effect.Effect<boolean, VaultIo>
  /** `create` never overwrites: `VaultExists`. */
  readonly write: (
    text: string,
    how: "create" | "replace"
  ) => Effect.Effect<void, VaultExists | VaultBusy | VaultInsecure | VaultIo>
}

/** A file at `path`. Its folder is made, for the user alone, when a vault is created. */
export const fileStorage = (path: string, steps: FileSteps = nodeSteps): VaultStorage => {
  const file = resolve(path)
  return {
    read: readSecureFile(file, { maxBytes: VAULT_FILE_MAX_BYTES }).pipe(
      Effect.map(Option.some),
      Effect.catchTag("VaultIo", (error) => {
        if (error.step === "open" && error.code === "ENOENT") return Effect.succeedNone
        return Effect.fail(error.code === "EFBIG" ? new VaultCorrupted({ field: "file" }) : error)
      })
    ),
    exists: attempt("open", () => steps.exists(file)),
    // Not to be interrupted: its steps are short, and what a step has begun the system ends.
    write: (text, how) => Effect.uninterruptible(write(steps, file, text, how))
  }
}

/** For tests: no file. */
export const memoryStorage = (): VaultStorage => {
  let content: string | undefined
  return {
    read: Effect.sync(() => Option.map(Option.fromUndefinedOr(content), (text) => new TextEncoder().encode(text))),
    exists: Effect.sync(() => content !== undefined),
    write: (text, how) =>
      Effect.suspend(() => {
        if (how === "create" && content !== undefined) return Effect.fail(new VaultExists())
        content = text
        return Effect.void
      })
  }
}

const write = (steps: FileSteps, path: string, text: string, how: "create" | "replace") =>
  Effect.gen(function* () {
    const mark = randomBytes(8).toString("hex")
    if (how === "create") yield* attempt("make folder", () => steps.makeFolder(dirname(path)))
    yield* checkFolder(path, {})
    yield* withWriteLock(
      steps,
      path,
      mark,
      Effect.andThen(removeLeftovers(steps, path), publish(steps, path, text, how, mark))
    )
  })

const publish = (steps: FileSteps, path: string, text: string, how: "create" | "replace", mark: string) =>
  Effect.gen(function* () {
    const temporary = join(dirname(path), `.${basename(path)}.${mark}.tmp`)
    yield* Effect.andThen(
      writeSynced(steps, temporary, text),
      how === "create" ? publishNew(steps, temporary, path) : attempt("publish", () => steps.rename(temporary, path))
    ).pipe(Effect.onError(() => Effect.ignore(attempt("remove", () => steps.remove(temporary)))))
    yield* attempt("sync folder", () => steps.syncFolder(dirname(path)))
  })

const writeSynced = (steps: FileSteps, temporary: string, text: string): Effect.Effect<void, VaultIo> =>
  Effect.acquireUseRelease(
    attempt("create", () => steps.create(temporary)),
    (file) =>
      Effect.andThen(
        attempt("write", () => file.write(new TextEncoder().encode(text))),
        attempt("sync", () => file.sync())
      ),
    (file) => attempt("close", () => file.close())
  )

const publishNew = (steps: FileSteps, temporary: string, path: string): Effect.Effect<void, VaultExists | VaultIo> =>
  attempt("publish", () => steps.link(temporary, path)).pipe(
    // From here on the vault is there: a temporary file that cannot be removed now is removed by the next write.
    Effect.andThen(Effect.ignore(attempt("remove", () => steps.remove(temporary)))),
    Effect.catchIf(
      (error) => NO_HARD_LINKS.has(error.code),
      () =>
        Effect.flatMap(
          attempt("publish", () => steps.exists(path)),
          (taken) =>
            taken
              ? Effect.fail(new VaultIo({ step: "publish", code: "EEXIST" }))
              : attempt("publish", () => steps.rename(temporary, path))
        )
    ),
    Effect.catchIf(
      (error) => error.code === "EEXIST",
      () => Effect.fail(new VaultExists())
    )
  )

/** Temporary and moved lock files that a crash left. Nobody else can be using them while we hold the lock. */
const removeLeftovers = (steps: FileSteps, path: string): Effect.Effect<void> => {
  const name = basename(path)
  const isLeftover = (entry: string): boolean => {
    const mark = entry.startsWith(`.${name}.`) && entry.endsWith(".tmp") ? entry.slice(name.length + 2, -4) : undefined
    const moved = entry.startsWith(`${name}.lock.`) ? entry.slice(name.length + 6) : undefined
    return /^[0-9a-f]{16}$/.test(mark ?? moved ?? "")
  }
  return attempt("clean up", () => steps.list(dirname(path))).pipe(
    Effect.flatMap((entries) =>
      Effect.forEach(entries.filter(isLeftover), (entry) =>
        Effect.ignore(attempt("clean up", () => steps.remove(join(dirname(path), entry))))
      )
    ),
    Effect.ignore
  )
}
