/**
 * Runs `bin/alknet` and keeps all that others could see of it: what it printed, its command line and its environment as the
 * system shows them, and the files of a home with their rights.
 */
import type { ChildProcess } from "node:child_process"
import { lstatSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { Effect, type Scope } from "effect"
import { spawnAlknet } from "../cli/Alknet.ts"

/** What no test should come near; a command that takes longer hangs. */
const PATIENCE_MILLIS = 60_000

/** One run of the program. */
export interface Seen {
  /** Its arguments, for the message of a test. */
  readonly command: string
  stdout: string
  stderr: string
  /** `/proc/PID/cmdline` and `/proc/PID/environ`, read while it ran; empty where there is no such thing. */
  process: string
  code: number | null
}

/** Everything that a test has run. */
export class Collected {
  readonly runs: Array<Seen> = []

  start(args: ReadonlyArray<string>, stdin: string | undefined): { readonly child: ChildProcess; readonly seen: Seen } {
    const child = spawnAlknet(["--log-level", "trace", ...args], stdin === undefined ? "ignore" : "pipe")
    const seen: Seen = { command: args.join(" "), stdout: "", stderr: "", process: "", code: null }
    this.runs.push(seen)
    const look = () => {
      seen.process += readProcess(child.pid)
    }
    // At its start it is still the launcher; when it says something it is the program.
    child.on("spawn", look)
    child.stdout?.on("data", (bytes: Buffer) => {
      if (seen.stdout === "") look()
      seen.stdout += bytes.toString("utf8")
    })
    child.stderr?.on("data", (bytes: Buffer) => {
      if (seen.stderr === "") look()
      seen.stderr += bytes.toString("utf8")
    })
    child.on("close", (code) => {
      seen.code = code
    })
    child.stdin?.on("error", () => undefined)
    child.stdin?.end(stdin)
    return { child, seen }
  }

  /** Runs a command to its end. */
  readonly run = (args: ReadonlyArray<string>, stdin?: string): Effect.Effect<Seen> =>
    Effect.callback<Seen>((resume) => {
      const { child, seen } = this.start(args, stdin)
      const overdue = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MILLIS)
      child.on("close", () => {
        clearTimeout(overdue)
        resume(Effect.succeed(seen))
      })
      return Effect.sync(() => child.kill("SIGKILL"))
    })

  /** Runs a command that goes on, until it has said its first line; ended in order with the scope. */
  readonly keepRunning = (args: ReadonlyArray<string>): Effect.Effect<Seen, never, Scope.Scope> =>
    Effect.acquireRelease(
      Effect.callback<{ readonly child: ChildProcess; readonly seen: Seen }>((resume) => {
        const running = this.start(args, undefined)
        const { child, seen } = running
        child.stdout?.on("data", () => {
          if (seen.stdout.includes("\n")) resume(Effect.succeed(running))
        })
        child.on("close", () => resume(Effect.die(new Error(`${seen.command} ended: ${seen.stderr}`))))
      }),
      ({ child }) =>
        Effect.callback<void>((resume) => {
          if (child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
          child.on("close", () => resume(Effect.void))
          child.kill("SIGTERM")
        })
    ).pipe(Effect.map(({ seen }) => seen))
}

const readProcess = (pid: number | undefined): string => {
  try {
    return ["cmdline", "environ"].map((name) => readFileSync(`/proc/${pid}/${name}`, "latin1")).join("\n")
  } catch {
    // No such system, or it is gone.
    return ""
  }
}

/** What is wrong with the rights of a home and everything in it; empty when others can do nothing. */
export const openToOthers = (home: string): ReadonlyArray<string> => {
  const wrong = (path: string, wanted: number) => {
    const mode = lstatSync(path).mode & 0o777
    return mode === wanted ? [] : [`${path} has mode ${mode.toString(8)}`]
  }
  const inside = (folder: string): ReadonlyArray<string> => [
    ...wrong(folder, 0o700),
    ...readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
      const path = join(folder, entry.name)
      return entry.isDirectory() ? inside(path) : wrong(path, 0o600)
    })
  ]
  return inside(home)
}
