/**
 * Runs programs of a newer Debian, which scripts/newer-debian.sh puts into a root of its own: openssl with QUIC, aioquic,
 * quic-go. They run through chroot, so this needs root; they reach our listeners over loopback.
 *
 * Each program is a child of its scope, with a clean environment. It is ended by its id when the scope closes.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs"
import { join, relative } from "node:path"
import { fileURLToPath } from "node:url"
import { type Cause, Effect, Queue, type Scope } from "effect"

const cache = fileURLToPath(new URL("../../.cache/newer-debian/", import.meta.url))
const root = join(cache, "root")

/** Whether the root is made and may be used; otherwise the group is skipped. */
export const isUsable = existsSync(join(cache, "made")) && process.getuid?.() === 0

/** Longest that one program may take. */
const PROGRAM_MILLIS = 20_000

const ENVIRONMENT = {
  PATH: "/usr/sbin:/usr/bin:/sbin:/bin",
  HOME: "/tmp",
  LC_ALL: "C.UTF-8",
  // Go finds its own folder through /proc, which is not mounted there.
  GOROOT: "/usr/lib/go",
  GOPATH: "/usr/share/gocode",
  GOCACHE: "/var/cache/go-build",
  GO111MODULE: "off",
  CGO_ENABLED: "0"
}

export interface Finished {
  /** Exit code; undefined where a signal ended the program. */
  readonly code: number | undefined
  readonly output: string
  readonly errors: string
}

export interface Program {
  /** Writes to its standard input. */
  readonly write: (text: string) => Effect.Effect<void>
  readonly endInput: Effect.Effect<void>
  /** The next line of its standard output; a defect when it ends before. */
  readonly line: Effect.Effect<string>
  /** Waits for its end. */
  readonly finished: Effect.Effect<Finished>
}

/** Starts a program of the root. */
export const start = (...command: ReadonlyArray<string>): Effect.Effect<Program, never, Scope.Scope> =>
  Effect.gen(function* () {
    const lines = yield* Queue.unbounded<string, Cause.Done>()
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn("chroot", [root, ...command], { env: ENVIRONMENT, stdio: "pipe" })),
      (child) =>
        Effect.suspend(() => {
          if (hasEnded(child)) return Effect.void
          child.kill("SIGKILL")
          return Effect.callback<void>((resume) => void child.once("close", () => resume(Effect.void)))
        })
    )
    let output = ""
    let errors = ""
    let rest = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
      const parts = (rest + text).split("\n")
      rest = parts.pop()!
      for (const line of parts) Queue.offerUnsafe(lines, line)
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text
    })
    // A program that has gone does not read what is left.
    child.stdin.on("error", () => {})
    const closed = new Promise<void>((resolve) => {
      child.once("close", () => {
        Queue.endUnsafe(lines)
        resolve()
      })
    })
    const bounded = <A, E>(what: string, effect: Effect.Effect<A, E>) =>
      effect.pipe(
        Effect.timeoutOrElse({
          duration: PROGRAM_MILLIS,
          orElse: () => Effect.die(new Error(`${what} takes too long: ${output}${errors}`))
        }),
        Effect.catch(() => Effect.die(new Error(`${what} ended: ${output}${errors}`)))
      )
    return {
      write: (text) => Effect.sync(() => void child.stdin.write(text)),
      endInput: Effect.sync(() => void child.stdin.end()),
      line: bounded(command[0]!, Queue.take(lines)),
      finished: bounded(
        command[0]!,
        Effect.map(
          Effect.promise(() => closed),
          (): Finished => ({ code: child.exitCode ?? undefined, output, errors })
        )
      )
    } satisfies Program
  })

const hasEnded = (child: ChildProcess): boolean => child.exitCode !== null || child.signalCode !== null

/** Runs a program to its end; another exit code than 0 is a defect. */
export const run = (...command: ReadonlyArray<string>): Effect.Effect<string, never, Scope.Scope> =>
  Effect.gen(function* () {
    const program = yield* start(...command)
    yield* program.endInput
    const { code, output, errors } = yield* program.finished
    if (code !== 0) return yield* Effect.die(new Error(`${command.join(" ")}: exit code ${code}\n${output}${errors}`))
    return output
  })

/** A folder of the root for the time of the scope: its path as the programs see it. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.map(
  Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(root, "tmp", "alknet-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  ),
  (path) => `/${relative(root, path)}`
)

/** Copies a file or folder that lies beside this one into a folder of the root. */
export const copy = (name: string, to: string): Effect.Effect<string> =>
  Effect.sync(() => {
    cpSync(fileURLToPath(new URL(name, import.meta.url)), join(root, to, name), { recursive: true })
    return `${to}/${name}`
  })
