/**
 * What a terminal session showed, as asciicast version 2, in a file of its own (mode 0600). Input is not kept: it holds
 * passwords. A recording ends at 256 MiB; the session goes on.
 */
import { mkdir, open } from "node:fs/promises"
import { join } from "node:path"
import { Clock, Effect, type Scope } from "effect"
import type { TerminalSize } from "../../../services/Shell.ts"

export const RECORDING_MAX_BYTES = 268_435_456

export interface Recording {
  /** What was shown; over when it is written. A failure ends the recording with one line in the log. */
  readonly output: (bytes: Uint8Array) => Effect.Effect<void>
  readonly resized: (size: TerminalSize) => Effect.Effect<void>
}

/** Starts a recording in the folder, which is made where it is missing. Undefined: it could not be started. */
export const startRecording = (
  folder: string,
  name: string,
  terminal: { readonly term: string; readonly size: TerminalSize }
): Effect.Effect<Recording | undefined, never, Scope.Scope> =>
  Effect.gen(function* () {
    const startedAt = yield* Clock.currentTimeMillis
    const stamp = new Date(startedAt).toISOString().replaceAll(/[:.]/g, "-")
    const file = yield* Effect.acquireRelease(
      Effect.tryPromise(() =>
        mkdir(folder, { recursive: true, mode: 0o700 }).then(() =>
          open(join(folder, `${stamp}-${name}.cast`), "wx", 0o600)
        )
      ),
      (file) => Effect.ignore(Effect.tryPromise(() => file.close()))
    )
    const decoder = new TextDecoder()
    let bytes = 0
    let isOpen = true
    const write = (value: unknown): Effect.Effect<void> => {
      const line = `${JSON.stringify(value)}\n`
      bytes += Buffer.byteLength(line)
      if (!isOpen || bytes > RECORDING_MAX_BYTES) return Effect.void
      return Effect.tryPromise(() => file.appendFile(line)).pipe(
        Effect.catch(() => {
          isOpen = false
          return Effect.logError("a recording of an ssh session could not be written on")
        })
      )
    }
    const event = (kind: "o" | "r", data: string): Effect.Effect<void> =>
      Effect.flatMap(Clock.currentTimeMillis, (now) => write([(now - startedAt) / 1000, kind, data]))
    const { columns, rows } = terminal.size
    yield* write({
      version: 2,
      width: columns,
      height: rows,
      timestamp: Math.floor(startedAt / 1000),
      env: { TERM: terminal.term }
    })
    return {
      output: (bytes) =>
        Effect.suspend(() => {
          const text = decoder.decode(bytes, { stream: true })
          return text === "" ? Effect.void : event("o", text)
        }),
      resized: (size) => event("r", `${size.columns}x${size.rows}`)
    } satisfies Recording
  }).pipe(
    Effect.catch(() => Effect.as(Effect.logError("a recording of an ssh session could not be started"), undefined))
  )
