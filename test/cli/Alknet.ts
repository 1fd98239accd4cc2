/**
 * Runs the real program as a user would: `bin/alknet` in processes of its own, with homes in a temporary folder, on loopback.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { Effect, type Scope } from "effect"

export const PROGRAM = fileURLToPath(new URL("../../bin/alknet", import.meta.url))

/** What no test should come near; a command that takes longer hangs. */
const PATIENCE_MILLIS = 60_000

export interface Ran {
  readonly code: number | null
  readonly stdout: string
  readonly stderr: string
}

/** A folder of this test, 0700, removed at its end. */
export const temporaryFolder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-cli-"))),
  (folder) => Effect.sync(() => rmSync(folder, { recursive: true, force: true }))
)

/** A folder in it that is no home yet. */
export const privateFolder = (folder: string, name: string): string => {
  const path = join(folder, name)
  mkdirSync(path, { mode: 0o700 })
  return path
}

/** A file of mode 0600. */
export const secretFile = (folder: string, name: string, text: string): string => {
  const path = join(folder, name)
  writeFileSync(path, text, { mode: 0o600 })
  return path
}

const environment = (): NodeJS.ProcessEnv => {
  const { PATH, XDG_CACHE_HOME } = process.env
  // Homes always come from --home; a command that forgets it must not touch the developer's own.
  return {
    PATH,
    HOME: join(tmpdir(), "alknet-cli-nobody"),
    XDG_CACHE_HOME: XDG_CACHE_HOME ?? join(homedir(), ".cache")
  }
}

/** Starts the program in a session of its own, so that no test can meet the developer's terminal. */
export const spawnAlknet = (args: ReadonlyArray<string>, stdin: "pipe" | "ignore" = "ignore"): ChildProcess =>
  spawn(PROGRAM, args, { stdio: [stdin, "pipe", "pipe"], env: environment(), detached: true })

/** Runs a command to its end. */
export const alknet = (
  args: ReadonlyArray<string>,
  options: { readonly stdin?: string | Uint8Array } = {}
): Effect.Effect<Ran> =>
  Effect.callback((resume) => {
    const child = spawnAlknet(args, options.stdin === undefined ? "ignore" : "pipe")
    const out: Array<Buffer> = []
    const error: Array<Buffer> = []
    const overdue = setTimeout(() => child.kill("SIGKILL"), PATIENCE_MILLIS)
    child.stdout?.on("data", (bytes: Buffer) => out.push(bytes))
    child.stderr?.on("data", (bytes: Buffer) => error.push(bytes))
    child.stdin?.on("error", () => {})
    child.stdin?.end(options.stdin)
    child.on("close", (code) => {
      clearTimeout(overdue)
      const text = (parts: ReadonlyArray<Buffer>) => Buffer.concat(parts).toString("utf8")
      resume(Effect.succeed({ code, stdout: text(out), stderr: text(error) }))
    })
    return Effect.sync(() => {
      clearTimeout(overdue)
      child.kill("SIGKILL")
    })
  })

export interface Ready {
  readonly event: string
  readonly nodeId: string
  readonly fingerprint: string
  readonly addresses: ReadonlyArray<string>
  readonly ticket: string
  readonly alpns: ReadonlyArray<string>
  /** Of `serve-ops`. */
  readonly operations?: ReadonlyArray<{ readonly name: string; readonly op_type: string; readonly visibility: string }>
}

export interface RunningNode {
  readonly ready: Ready
  readonly pid: number
  /** The lines of its standard output so far. */
  readonly lines: () => ReadonlyArray<string>
  /** The first line of its standard output that has a text and was not asked for yet, when it is there. */
  readonly prints: (text: string) => Effect.Effect<string>
  /** Everything that it said so far. */
  readonly stderr: () => string
  /** Completes when it has said something that matches, from now on. */
  readonly says: (pattern: RegExp) => Effect.Effect<void>
  readonly signal: (name: NodeJS.Signals) => Effect.Effect<void>
  /** Completes when the process has ended. */
  readonly ended: Effect.Effect<{ readonly code: number | null; readonly signal: NodeJS.Signals | null }>
}

/** `alknet --home HOME up --listen 127.0.0.1:0 --json`, or another command that runs a node, ready; killed with the scope. */
export const startNode = (
  home: string,
  args: ReadonlyArray<string> = [],
  command: ReadonlyArray<string> = ["up"]
): Effect.Effect<RunningNode, Ran, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly node: RunningNode; readonly child: ChildProcess }, Ran>((resume) => {
      const child = spawnAlknet([
        "--home",
        home,
        ...command,
        "--json",
        ...(args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"]),
        ...args
      ])
      let stdout = ""
      let stderr = ""
      let exit: { readonly code: number | null; readonly signal: NodeJS.Signals | null } | undefined
      const whenEnded: Array<() => void> = []
      const listeners = new Set<() => void>()
      child.stderr?.on("data", (bytes: Buffer) => {
        stderr += bytes.toString("utf8")
        for (const listener of listeners) listener()
      })
      const says: RunningNode["says"] = (pattern) =>
        Effect.callback((tell) => {
          const from = stderr.length
          const listener = () => {
            if (!pattern.test(stderr.slice(from))) return
            listeners.delete(listener)
            tell(Effect.void)
          }
          listeners.add(listener)
          return Effect.sync(() => listeners.delete(listener))
        })
      child.on("close", (code, signal) => {
        exit = { code, signal }
        for (const tell of whenEnded) tell()
        resume(Effect.fail({ code, stdout, stderr }))
      })
      const ended: RunningNode["ended"] = Effect.callback((tell) => {
        const settle = () => tell(Effect.succeed(exit!))
        if (exit === undefined) whenEnded.push(settle)
        else settle()
      })
      const lines = () => stdout.split("\n").slice(0, -1)
      const printers = new Set<() => void>()
      let asked = 0
      const prints: RunningNode["prints"] = (text) =>
        Effect.callback((tell) => {
          const look = () => {
            const found = lines().findIndex((line, index) => index >= asked && line.includes(text))
            if (found < 0) return
            asked = found + 1
            printers.delete(look)
            tell(Effect.succeed(lines()[found]!))
          }
          printers.add(look)
          look()
          return Effect.sync(() => printers.delete(look))
        })
      child.stdout?.on("data", (bytes: Buffer) => {
        stdout += bytes.toString("utf8")
        for (const look of printers) look()
        const line = stdout.indexOf("\n")
        if (line < 0) return
        const ready: Ready = JSON.parse(stdout.slice(0, line))
        const signal = (name: NodeJS.Signals) => Effect.sync(() => void child.kill(name))
        resume(
          Effect.succeed({
            node: { ready, pid: child.pid ?? 0, lines, prints, stderr: () => stderr, says, signal, ended },
            child
          })
        )
      })
    }),
    ({ child, node }) =>
      Effect.suspend(() => {
        if (child.exitCode !== null || child.signalCode !== null) return Effect.void
        child.kill("SIGKILL")
        return Effect.asVoid(node.ended)
      })
  ).pipe(Effect.map(({ node }) => node))

/** The error of a command with `--json`, which is all that it said on standard error. */
export const errorOf = (ran: Ran): { readonly code: string; readonly message: string; readonly hint: string } =>
  JSON.parse(ran.stderr.trim().split("\n").at(-1) ?? "").error

/** Two nodes that know each other: `a` runs, `b` has joined it and calls it `a`. */
export const arrangePair = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const [a, b] = [join(folder, "a"), join(folder, "b")]
  const passphrase = secretFile(folder, "passphrase", "correct horse battery\n")
  const node = yield* startNode(a, ["--passphrase-file", passphrase])
  const invited = yield* alknet(["--home", a, "invite", "--role", "user", "--json"])
  const { ticket } = JSON.parse(invited.stdout)
  const joined = yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
  return { folder, a, b, passphrase, node, ticket, invited, joined }
})

/** The same, where `a` serves a module with this text: `file` holds it. `b` may call whatever there is. */
export const arrangeServed = (text: string, args: ReadonlyArray<string> = []) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const [a, b] = [join(folder, "a"), join(folder, "b")]
    const file = join(privateFolder(folder, "module"), "served.ts")
    writeFileSync(file, text)
    const node = yield* startNode(a, args, ["serve-ops", file])
    const { ticket } = JSON.parse((yield* alknet(["--home", a, "invite", "--scope", "call:*", "--json"])).stdout)
    yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
    const call = (...args: ReadonlyArray<string>) => alknet(["--home", b, "call", "a", ...args])
    return { folder, a, b, file, node, call }
  })
