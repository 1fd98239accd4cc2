/** What is asked on a terminal, on a real pseudo-terminal: `script` of util-linux makes one. */
import { spawn, spawnSync } from "node:child_process"
import { existsSync } from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import { alknet, secretFile, temporaryFolder } from "./Alknet.ts"

const PROGRAM = fileURLToPath(new URL("../../bin/alknet", import.meta.url))
const PATIENT = 120_000
const hasScript = spawnSync("script", ["--version"]).status === 0

interface Terminal {
  /** Completes when the pattern matches what came after the last match. */
  readonly shows: (pattern: RegExp) => Effect.Effect<RegExpExecArray>
  readonly soFar: Effect.Effect<string>
  readonly types: (text: string) => Effect.Effect<void>
  /** Exit code and everything shown. */
  readonly ended: Effect.Effect<{ readonly code: number | null; readonly text: string }>
}

const terminal = (args: ReadonlyArray<string>): Effect.Effect<Terminal, never, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.sync(() => {
        const command = [PROGRAM, ...args].map((one) => `'${one}'`).join(" ")
        return spawn("script", ["-qec", command, "/dev/null"], {
          stdio: ["pipe", "pipe", "inherit"],
          env: { PATH: process.env["PATH"], HOME: "/nonexistent", TERM: "xterm" }
        })
      }),
      (child) => Effect.sync(() => child.kill("SIGKILL"))
    ),
    (child) => {
      let text = ""
      let from = 0
      let code: number | null | undefined
      const listeners = new Set<() => void>()
      const changed = () => {
        for (const listener of listeners) listener()
      }
      child.stdout.on("data", (bytes: Buffer) => {
        text += bytes.toString("utf8")
        changed()
      })
      child.on("close", (status) => {
        code = status
        changed()
      })
      child.stdin.on("error", () => {})
      const until = <A>(look: () => A | undefined): Effect.Effect<A> =>
        Effect.callback((resume) => {
          const listener = () => {
            const found = look()
            if (found === undefined) return
            listeners.delete(listener)
            resume(Effect.succeed(found))
          }
          listeners.add(listener)
          listener()
          return Effect.sync(() => listeners.delete(listener))
        })
      return {
        shows: (pattern) =>
          until(() => {
            const match = pattern.exec(text.slice(from))
            if (match !== null) from += match.index + match[0].length
            else if (code !== undefined) throw new Error(`ended without ${pattern}: ${text}`)
            return match ?? undefined
          }),
        soFar: Effect.sync(() => text),
        types: (typed) => Effect.sync(() => void child.stdin.write(typed)),
        ended: until(() => (code === undefined ? undefined : { code, text }))
      }
    }
  )

describe.skipIf(!hasScript)("on a terminal", () => {
  it.live(
    "a passphrase is asked for without echo; backspace works",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const home = join(folder, "home")
        const passphrase = secretFile(folder, "passphrase", "correct horse")
        yield* alknet(["--home", home, "vault", "create", "--yes", "--passphrase-file", passphrase])
        const screen = yield* terminal(["--home", home, "vault", "show-phrase", "--json"])
        yield* screen.shows(/Passphrase of the vault: /)
        yield* screen.types("correct horsx\u007fe\r")
        yield* screen.shows(/\{"words":\[/)
        const { code, text } = yield* screen.ended
        assert.strictEqual(code, 0)
        assert.notInclude(text, "horse")
        assert.notInclude(text, "horsx")
      }),
    PATIENT
  )

  it.live(
    "create asks for three of the words, and makes nothing when they do not come",
    () =>
      Effect.gen(function* () {
        const folder = yield* temporaryFolder
        const home = join(folder, "home")
        const passphrase = secretFile(folder, "passphrase", "correct horse")
        const args = ["--home", home, "vault", "create", "--words", "12", "--passphrase-file", passphrase]

        const wrong = yield* terminal(args)
        for (let round = 0; round < 3; round++) {
          yield* wrong.shows(/Word \d+: /)
          yield* wrong.types("no\r")
        }
        assert.strictEqual((yield* wrong.ended).code, 1)
        assert.isFalse(existsSync(join(home, "vault")))

        const right = yield* terminal(args)
        yield* right.shows(/Write these words down/)
        const words = yield* shown(right)
        for (let round = 0; round < 3; round++) {
          const [, place] = yield* right.shows(/Word (\d+): /)
          yield* right.types(`${words[Number(place) - 1]}\r`)
        }
        const { code, text } = yield* right.ended
        assert.strictEqual(code, 0, text)
        assert.isTrue(existsSync(join(home, "vault")))
      }),
    PATIENT
  )

  it.live(
    "a new passphrase is asked for twice, and two different ones change nothing",
    () =>
      Effect.gen(function* () {
        const home = join(yield* temporaryFolder, "home")
        const screen = yield* terminal(["--home", home, "vault", "create", "--yes"])
        yield* screen.shows(/New passphrase[^:]*: /)
        // Both at once, as somebody pastes them; an arrow key is no part of a passphrase.
        yield* screen.types("correct\u001b[A horse\rcorrect house\r")
        yield* screen.shows(/The same again: /)
        const { code, text } = yield* screen.ended
        assert.strictEqual(code, 1)
        assert.include(text, "not the same")
        assert.isFalse(existsSync(join(home, "vault")))
      }),
    PATIENT
  )

  it.live(
    "Ctrl-C at a question ends the command with 130",
    () =>
      Effect.gen(function* () {
        const home = join(yield* temporaryFolder, "home")
        const screen = yield* terminal(["--home", home, "vault", "create", "--yes"])
        yield* screen.shows(/New passphrase[^:]*: /)
        yield* screen.types("secret\u0003")
        const { code, text } = yield* screen.ended
        assert.strictEqual(code, 130)
        assert.notInclude(text, "secret")
        assert.isFalse(existsSync(join(home, "vault")))
      }),
    PATIENT
  )
})

/** The words that `create` showed, in order. */
const shown = (screen: Terminal): Effect.Effect<ReadonlyArray<string>> =>
  Effect.map(screen.soFar, (text) => [...text.matchAll(/\b\d+ ([a-z]{3,8})\b/g)].map((match) => match[1] ?? ""))
