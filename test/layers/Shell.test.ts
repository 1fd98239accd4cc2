/** Children of this machine: how they start, and that none is left. */
import { spawn } from "node:child_process"
import { fileURLToPath } from "node:url"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Scope } from "effect"
import * as ShellLayer from "../../src/layers/Shell.ts"
import { type Child, Shell, type ShellRequest, type Terminal } from "../../src/services/Shell.ts"

const terminal: Terminal = { term: "xterm", size: { columns: 100, rows: 30, widthPixels: 0, heightPixels: 0 } }

const start = (command: ShellRequest["command"], onTerminal = false) =>
  Shell.use((shell) => shell.start({ command, terminal: onTerminal ? terminal : undefined, environment: {} }))

const textOf = (next: Child["stdout"]): Effect.Effect<string> =>
  Effect.gen(function* () {
    let text = ""
    for (;;) {
      const bytes = yield* next
      if (bytes === undefined) return text
      text += Buffer.from(bytes).toString("utf8")
    }
  })

const lineOf = ({ stdout }: Child): Effect.Effect<string> =>
  Effect.map(stdout, (bytes) =>
    Buffer.from(bytes ?? [])
      .toString("utf8")
      .trim()
  )

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0)
  } catch {
    return false
  }
}

const gone = (pid: number): Effect.Effect<void> =>
  Effect.suspend(() => (isAlive(pid) ? Effect.andThen(Effect.sleep("20 millis"), gone(pid)) : Effect.void))

const withShell = <A, E>(effect: Effect.Effect<A, E, Shell | Scope.Scope>) =>
  Effect.scoped(Effect.provide(effect, ShellLayer.layer({ shell: "/bin/bash" })))

it.live("words run without a shell, a line with one; both outputs are apart", () =>
  withShell(
    Effect.gen(function* () {
      const plain = yield* start({ words: ["printf", "%s|", "$HOME", "a;b", "*"] })
      assert.strictEqual(yield* textOf(plain.stdout), "$HOME|a;b|*|")
      const line = yield* start({ line: "echo out; echo error >&2; exit 7" })
      assert.strictEqual(yield* textOf(line.stdout), "out\n")
      assert.strictEqual(yield* textOf(line.stderr), "error\n")
      assert.deepStrictEqual(yield* line.ended, { _tag: "Exited", code: 7 })
    })
  )
)

it.live("a program that is missing, no program, or one too many is a typed error", () =>
  Effect.scoped(
    Effect.gen(function* () {
      const reason = (words: ReadonlyArray<string>) =>
        Effect.map(Effect.flip(Effect.scoped(start({ words }))), (error) => error.reason)
      assert.strictEqual(yield* reason(["no-such-program"]), "NotFound")
      assert.strictEqual(yield* reason(["/etc/passwd"]), "NotExecutable")
      yield* start({ words: ["sleep", "1000"] })
      assert.strictEqual(yield* reason(["true"]), "TooMany")
    }).pipe(Effect.provide(ShellLayer.layer({ childrenMax: 1 })))
  )
)

it.live("a terminal has its size, is resized, and takes a signal", () =>
  withShell(
    Effect.gen(function* () {
      const child = yield* start({ line: "stty size; read x; stty size; echo $TERM; read x" }, true)
      assert.strictEqual(yield* lineOf(child), "30 100")
      yield* child.resize({ columns: 90, rows: 20, widthPixels: 0, heightPixels: 0 })
      yield* child.write(Buffer.from("\n"))
      let text = ""
      while (!text.includes("xterm")) text += yield* lineOf(child)
      assert.include(text, "20 90")
      yield* child.signal("KILL")
      assert.deepStrictEqual(yield* child.ended, { _tag: "Killed", signal: "KILL", coreDumped: false })
    })
  )
)

it.live("what a program on a terminal wrote last is read also after its end", () =>
  withShell(
    Effect.gen(function* () {
      const child = yield* start({ line: "seq 1 700" }, true)
      yield* child.ended
      assert.isTrue((yield* textOf(child.stdout)).trim().endsWith("\n700"))
    })
  )
)

it.live("SSH-I12 the end of the scope ends a child and those it started, also when they ignore the hang-up", () =>
  withShell(
    Effect.gen(function* () {
      for (const onTerminal of [false, true]) {
        const scope = yield* Scope.make()
        const line = "trap '' HUP; sleep 1000 & echo $! $$; wait"
        const child = yield* Scope.provide(start({ line }, onTerminal), scope)
        const pids = (yield* lineOf(child)).split(" ").map(Number)
        assert.isTrue(pids.length === 2 && pids.every(isAlive), String(pids))
        yield* Scope.close(scope, Exit.void)
        for (const pid of pids) yield* gone(pid)
      }
    })
  )
)

it.live("SSH-I12 a process that is killed leaves none of its children", () =>
  Effect.gen(function* () {
    const program = fileURLToPath(new URL("./ShellProcess.ts", import.meta.url))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawn(process.execPath, [program], { stdio: ["ignore", "pipe", "inherit"] })),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    )
    const line = yield* Effect.callback<string>((resume) => {
      let text = ""
      child.stdout.on("data", (bytes: Buffer) => {
        text += bytes.toString("utf8")
        if (text.includes("\n")) resume(Effect.succeed(text.trim()))
      })
    })
    const pids = line.split(" ").map(Number)
    assert.isTrue(pids.length === 4 && pids.every(isAlive), line)
    child.kill("SIGKILL")
    for (const pid of pids) yield* gone(pid)
  })
)
