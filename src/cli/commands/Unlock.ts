/**
 * `alknet unlock`: keeps the vault open for the other commands of this home, in a process of its own that serves nobody.
 *
 * The process is started again in the background with the passphrase on its standard input, so that no argument or
 * environment holds it, and this command ends when it is ready.
 */
import { spawn } from "node:child_process"
import { Duration, Effect, Option, Redacted } from "effect"
import { Command, Flag } from "effect/cli"
import { readConfig } from "../../layers/ConfigFile.ts"
import { Vault } from "../../services/Vault.ts"
import { failed } from "../Failure.ts"
import { Home } from "../Home.ts"
import { openVault } from "../OpenVault.ts"
import { Output } from "../Output.ts"
import { refuseSecond, serve } from "../Serve.ts"
import { spanFlag } from "../Spans.ts"
import { layerVault } from "../Stores.ts"
import { formatSpan } from "../Units.ts"

/** How long the process in the background may take to be ready. */
const READY_WITHIN = Duration.seconds(15)

const inForeground = Effect.fnUntraced(function* (seconds: Option.Option<number>) {
  const home = yield* Home
  const output = yield* Output
  yield* home.prepare
  const config = yield* readConfig(home.config)
  yield* refuseSecond
  const over = Option.isSome(seconds) ? Effect.sleep(Duration.seconds(seconds.value)) : Effect.never
  yield* serve({
    kind: "unlock",
    listen: [],
    only: [],
    anonymous: undefined,
    config,
    ready: ({ nodeId }) =>
      Effect.andThen(output.answer({ event: "ready", nodeId, pid: process.pid }, `node id    ${nodeId}`), over)
  })
})

/** Starts this very program again; gives what it says first, which is that it is ready. */
const startInBackground = (args: ReadonlyArray<string>, secret: Uint8Array) =>
  Effect.callback<{ readonly ready: string; readonly said: string }>((resume) => {
    const child = spawn(process.execPath, [...process.execArgv, process.argv[1] ?? "", ...args], {
      detached: true,
      // It outlives this command and should not hold the folder that this one was started in.
      cwd: "/",
      stdio: ["pipe", "pipe", "pipe"]
    })
    let ready = ""
    let said = ""
    const settle = () => {
      child.stdout.destroy()
      child.stderr.destroy()
      child.unref()
      resume(Effect.succeed({ ready, said }))
    }
    child.on("error", settle)
    child.on("exit", settle)
    child.stdin.on("error", () => {})
    child.stderr.on("data", (bytes: Buffer) => {
      said += bytes.toString("utf8")
    })
    child.stdout.on("data", (bytes: Buffer) => {
      ready += bytes.toString("utf8")
      if (ready.includes("\n")) settle()
    })
    child.stdin.end(Buffer.from(secret))
    return Effect.sync(() => child.kill())
  })

const inBackground = Effect.fnUntraced(function* (seconds: Option.Option<number>) {
  const home = yield* Home
  const output = yield* Output
  yield* refuseSecond
  // A wrong passphrase, a damaged file: said here, by the process that somebody looks at.
  const passphrase = yield* openVault
  yield* (yield* Vault).lock
  const span = Option.isSome(seconds) ? ["--for", `${seconds.value}s`] : []
  const args = ["--home", home.directory, "--json", "--passphrase-file", "-", "unlock", "--foreground", ...span]
  const { ready, said } = yield* startInBackground(args, Redacted.value(passphrase)).pipe(
    Effect.timeoutOrElse({ duration: READY_WITHIN, orElse: () => Effect.succeed({ ready: "", said: "" }) })
  )
  Redacted.value(passphrase).fill(0)
  const parsed = readReady(ready)
  if (parsed === undefined) return yield* failed("UNLOCK_FAILED", readProblem(said), "try: alknet unlock --foreground")
  yield* output.answer({ unlocked: true, ...parsed }, [])
  const until = Option.isSome(seconds) ? ` for ${formatSpan(seconds.value * 1000)}` : ""
  yield* output.note(`the vault is open${until} in process ${parsed.pid}; close it with: alknet lock`)
})

const readReady = (text: string): { readonly nodeId: string; readonly pid: number } | undefined => {
  const match = /"nodeId":"([a-z0-9]{52})","pid":(\d+)/.exec(text)
  return match === null ? undefined : { nodeId: match[1]!, pid: Number(match[2]) }
}

const readProblem = (text: string): string =>
  /"message":"((?:[^"\\]|\\.)*)"/.exec(text)?.[1] ?? "the process in the background did not become ready"

export const unlock = Command.make(
  "unlock",
  {
    for: spanFlag("for", "Close it again after this time, such as 8h").pipe(Flag.optional),
    foreground: Flag.Boolean("foreground").pipe(
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("Stay here until interrupted")
    )
  },
  Effect.fn(function* ({ for: seconds, foreground }) {
    yield* foreground ? inForeground(seconds) : inBackground(seconds)
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Keep the vault open, so that other commands do not ask"),
  Command.withExamples([
    { command: "alknet unlock --for 8h", description: "for a working day" },
    { command: "alknet lock", description: "close it again" }
  ])
)
