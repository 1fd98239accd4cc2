/** Every `alknet` command line in a fenced `sh` block of the guides and the README names commands and flags that exist. */
import { execFile } from "node:child_process"
import { globSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { assert, describe, it } from "@effect/vitest"
import { root } from "../house/SourceScanner.ts"

interface CommandLine {
  readonly where: string
  readonly words: ReadonlyArray<string>
}

/** The command lines of a Markdown text, also those inside `"$( … )"`. */
const commandLinesOf = (document: string, markdown: string): ReadonlyArray<CommandLine> =>
  [...markdown.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap((block) =>
    [...(block[1] ?? "").matchAll(/(?<![\w/-])(?:bin\/)?alknet((?: [^\n;|#$()"]+| "[^"$]*")+)/g)].map((line) => ({
      where: document,
      words: (line[1] ?? "").trim().split(/\s+/)
    }))
  )

const groups = new Set(["vault", "peers", "keys", "config"])

/** The words that name the command: one, or two in a group. */
const commandOf = (words: ReadonlyArray<string>): ReadonlyArray<string> => {
  const plain = words.filter(
    (word, index) => !word.startsWith("-") && !/^--(?:home|passphrase-file)$/.test(words[index - 1] ?? "")
  )
  return plain.slice(0, groups.has(plain[0] ?? "") ? 2 : 1)
}

const run = promisify(execFile)
const helpOf = (command: ReadonlyArray<string>): Promise<string> =>
  run(join(root, "bin/alknet"), [...command, "--help"]).then(
    ({ stdout }) => stdout,
    (error: { stderr?: string }) => Promise.reject(new Error(`alknet ${command.join(" ")}: ${error.stderr ?? ""}`))
  )

it("command lines are found, also inside others", () => {
  const markdown =
    '```sh\nbin/alknet --home /tmp/b join "$(bin/alknet --home /tmp/a invite --role user)" --name a # x\n```\n'
  assert.deepStrictEqual(
    commandLinesOf("a.md", markdown).map(({ words }) => commandOf(words)),
    [["join"], ["invite"]]
  )
  assert.deepStrictEqual(commandOf(["vault", "show-phrase"]), ["vault", "show-phrase"])
})

const lines = ["README.md", ...globSync("docs/**/*.md", { cwd: root })]
  .sort()
  .flatMap((document) => commandLinesOf(document, readFileSync(join(root, document), "utf8")))
const commands = new Map<string, Array<CommandLine>>()
for (const line of lines) {
  const name = commandOf(line.words).join(" ")
  commands.set(name, [...(commands.get(name) ?? []), line])
}

describe("commands in the documents", () => {
  it("are some", () => assert.isAbove(commands.size, 5))

  for (const [name, uses] of commands) {
    it(`alknet ${name}`, async () => {
      const help = await helpOf(name.split(" "))
      const globalHelp = await helpOf([])
      assert.match(help, new RegExp(`USAGE\\s+alknet ${name}\\b`))
      for (const { where, words } of uses) {
        for (const flag of words.filter((word) => word.startsWith("--"))) {
          assert.include(help + globalHelp, flag, `${where}: alknet ${words.join(" ")}`)
        }
      }
    })
  }
})
