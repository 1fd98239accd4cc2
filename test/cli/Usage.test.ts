/** The frame of the program: help, wrong usage, completions, config. No node and no vault. */
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { Command } from "effect/cli"
import { program } from "../../src/cli/Program.ts"
import { alknet, errorOf, privateFolder, temporaryFolder } from "./Alknet.ts"

/** Everything that can be typed, by path. */
const leaves = (
  command: Command.Command.Any,
  path: ReadonlyArray<string>
): ReadonlyArray<readonly [string, Command.Command.Any]> => {
  const here = [...path, command.name]
  const children = command.subcommands.flatMap((group) => group.commands)
  return children.length === 0 ? [[here.join(" "), command]] : children.flatMap((child) => leaves(child, here))
}

/** Each command is a process of its own; a busy machine starts few of them a second. */
const PATIENT = 120_000

describe("help and wrong usage", () => {
  it.live(
    "the version is one line",
    () =>
      Effect.gen(function* () {
        const ran = yield* alknet(["--version"])
        assert.match(ran.stdout, /^alknet v\d+\.\d+\.\d+\n$/)
        assert.strictEqual(ran.code, 0)
      }),
    PATIENT
  )

  it("every command has a description and examples, which are commands of its own", () => {
    const all = leaves(program, [])
    assert.isAtLeast(all.length, 35)
    for (const [path, { description, examples }] of all) {
      assert.isNotEmpty(description, path)
      assert.isNotEmpty(examples, path)
      for (const { command } of examples) {
        assert.include(command, path === "alknet help" || path === "alknet lock" ? path : "alknet", path)
      }
      assert.isTrue(
        examples.some(({ command }) => command.includes(path)),
        path
      )
    }
  })

  it.live(
    "help goes to standard output, also as a command",
    () =>
      Effect.gen(function* () {
        const ran = yield* alknet(["vault", "create", "--help"])
        assert.deepStrictEqual([ran.code, ran.stderr], [0, ""])
        assert.include(ran.stdout, "EXAMPLES")
        assert.strictEqual((yield* alknet(["help", "vault", "create"])).stdout, ran.stdout)
        const whole = yield* alknet([])
        assert.strictEqual(whole.code, 0)
        for (const name of ["up", "serve-ops", "invite", "call", "codegen", "doctor"])
          assert.include(whole.stdout, `  ${name} `)
      }),
    PATIENT
  )

  it.live(
    "an unknown command is wrong usage, and a near one is offered",
    () =>
      Effect.gen(function* () {
        const ran = yield* alknet(["peres", "list"])
        assert.strictEqual(ran.code, 2)
        assert.strictEqual(ran.stdout, "")
        assert.match(ran.stderr, /^alknet: .*"peres".*did you mean "peers"\?.*\n$/)
        const help = yield* alknet(["help", "peres"])
        assert.deepStrictEqual([help.code, help.stderr], [2, ran.stderr])
      }),
    PATIENT
  )

  it.live(
    "wrong flags and values are one line, as JSON with --json before or after the command",
    () =>
      Effect.gen(function* () {
        for (const args of [
          ["--json", "peers", "list", "--nope"],
          ["keys", "add", "--scope", "call:*", "--expires", "soon", "--json"],
          ["call", "--json"],
          ["config", "set", "nope", "1", "--json"]
        ]) {
          const ran = yield* alknet(args)
          assert.strictEqual(ran.code, 2, args.join(" "))
          assert.strictEqual(ran.stdout, "", args.join(" "))
          assert.strictEqual(errorOf(ran).code, "USAGE")
        }
      }),
    PATIENT
  )

  it.live(
    "completion scripts for three shells",
    () =>
      Effect.gen(function* () {
        for (const [shell, args] of [
          ["bash", ["completions", "bash"]],
          ["zsh", ["--completions", "zsh"]],
          ["fish", ["completions", "fish"]]
        ] as const) {
          const ran = yield* alknet(args)
          assert.strictEqual(ran.code, 0, shell)
          for (const word of ["peers", "codegen", "serve-ops", "stream"]) assert.include(ran.stdout, word, shell)
        }
      }),
    PATIENT
  )
})

describe("the config file", () => {
  it.live(
    "is set, shown and checked; comments stay",
    () =>
      Effect.gen(function* () {
        const home = privateFolder(yield* temporaryFolder, "home")
        const path = join(home, "alknet.toml")
        writeFileSync(path, "# mine\nlabel = 'old' # a name\n")
        assert.strictEqual((yield* alknet(["--home", home, "config", "set", "label", "desk"])).code, 0)
        assert.strictEqual(
          (yield* alknet(["--home", home, "config", "set", "listen", "127.0.0.1:0", "[::1]:0"])).code,
          0
        )
        assert.strictEqual(
          readFileSync(path, "utf8"),
          '# mine\nlabel = "desk" # a name\nlisten = ["127.0.0.1:0", "[::1]:0"]\n'
        )
        const shown = yield* alknet(["--home", home, "config", "show", "--json"])
        assert.deepStrictEqual(JSON.parse(shown.stdout), { label: "desk", listen: ["127.0.0.1:0", "[::1]:0"] })
        assert.strictEqual((yield* alknet(["--home", home, "config", "check"])).code, 0)
      }),
    PATIENT
  )

  it.live(
    "an unknown key, a wrong value and broken TOML name the line, and the file stays as it is",
    () =>
      Effect.gen(function* () {
        const home = privateFolder(yield* temporaryFolder, "home")
        const path = join(home, "alknet.toml")
        for (const [text, line] of [
          ["\n\nlisten = 4433\n", 3],
          ['label = "x"\nlable = "y"\n', 2],
          ['label = "x"\n\nlisten = [\n', 4],
          ['listen = ["nowhere"]\n', 1]
        ] as const) {
          writeFileSync(path, text)
          const ran = yield* alknet(["--home", home, "config", "check", "--json"])
          assert.strictEqual(ran.code, 1)
          assert.include(errorOf(ran).message, `line ${line}`)
          assert.strictEqual(readFileSync(path, "utf8"), text)
        }
        const refused = yield* alknet(["--home", home, "config", "set", "log-level", "info"])
        assert.strictEqual(refused.code, 1)
        assert.strictEqual(readFileSync(path, "utf8"), 'listen = ["nowhere"]\n')
      }),
    PATIENT
  )
})
