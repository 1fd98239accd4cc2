/** The open files and directories of one SFTP session, by the numbers that the client knows them under. */
import { Effect, Exit, Scope } from "effect"
import type { Handle } from "../../protocol/sftp/Request.ts"
import { FileError, type OpenFile, type TreeEntry } from "../../services/FileTree.ts"

/** Open at once, as `limits@openssh.com` says. */
export const HANDLES_MAX = 256

const HANDLE_BYTES = 4

export type Opened =
  | { readonly _tag: "File"; readonly file: OpenFile; readonly path: string }
  | {
      readonly _tag: "Directory"
      readonly next: Effect.Effect<ReadonlyArray<TreeEntry>, FileError>
      readonly path: string
    }

interface Entry {
  readonly opened: Opened
  readonly scope: Scope.Closeable
}

export class Handles {
  readonly #scope: Scope.Scope
  readonly #entries = new Map<number, Entry>()
  #next = 0

  /** What is still open is closed with this scope. */
  constructor(scope: Scope.Scope) {
    this.#scope = scope
  }

  /** The number that a client's handle stands for; undefined for bytes that are none of ours. */
  static numberOf(handle: Handle): number | undefined {
    return handle.length === HANDLE_BYTES
      ? new DataView(handle.buffer, handle.byteOffset, HANDLE_BYTES).getUint32(0)
      : undefined
  }

  get(handle: Handle): Opened | undefined {
    const number = Handles.numberOf(handle)
    return number === undefined ? undefined : this.#entries.get(number)?.opened
  }

  /** Opens, and gives the new handle. */
  add(path: string, open: Effect.Effect<Opened, FileError, Scope.Scope>): Effect.Effect<Handle, FileError> {
    return Effect.suspend(() => {
      if (this.#entries.size >= HANDLES_MAX) return Effect.fail(new FileError({ reason: "TooMany", path }))
      const number = this.#next
      this.#next = (this.#next + 1) >>> 0
      return Effect.uninterruptible(
        Effect.gen({ self: this }, function* () {
          const scope = yield* Scope.fork(this.#scope)
          const opened = yield* Scope.provide(open, scope).pipe(
            Effect.onError((cause) => Scope.close(scope, Exit.failCause(cause)))
          )
          this.#entries.set(number, { opened, scope })
          const handle = new Uint8Array(HANDLE_BYTES)
          new DataView(handle.buffer).setUint32(0, number)
          return handle
        })
      )
    })
  }

  /** False: it was not open. */
  close(handle: Handle): Effect.Effect<boolean> {
    return Effect.suspend(() => {
      const number = Handles.numberOf(handle)
      const entry = number === undefined ? undefined : this.#entries.get(number)
      if (number === undefined || entry === undefined) return Effect.succeed(false)
      this.#entries.delete(number)
      return Effect.as(Scope.close(entry.scope, Exit.void), true)
    })
  }
}
