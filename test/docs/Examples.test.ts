/**
 * Every fenced `ts` block of the guides and the README is a whole program: it type-checks against the library and runs.
 * Where a `text` block follows it directly, that is what it prints.
 *
 * The programs are written to a folder inside the project, so that they find its packages; `alknet` and `alknet/testing`
 * are the sources, not the build.
 */
import { execFile } from "node:child_process"
import { globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { root } from "../house/SourceScanner.ts"

interface Example {
  readonly document: string
  readonly line: number
  readonly file: string
  readonly code: string
  readonly prints: string | undefined
}

/** Finds the `ts` blocks of a Markdown text, each with the `text` block right after it. */
const examplesOf = (document: string, markdown: string): ReadonlyArray<Example> =>
  [...markdown.matchAll(/^```ts\n([\s\S]*?)^```\n(?:\n```text\n([\s\S]*?)^```\n)?/gm)].map((match) => {
    const line = markdown.slice(0, match.index).split("\n").length
    return {
      document,
      line,
      file: `${document.replaceAll(/[^A-Za-z0-9]/g, "-")}-${line}.ts`,
      code: match[1] ?? "",
      prints: match[2]
    }
  })

const folder = join(root, ".cache/examples", String(process.pid))
const documents = ["README.md", ...globSync("docs/**/*.md", { cwd: root })].sort()
const examples = documents.flatMap((document) => examplesOf(document, readFileSync(join(root, document), "utf8")))

const run = promisify(execFile)

const output = (program: string, ...arguments_: ReadonlyArray<string>): Promise<string> =>
  run(process.execPath, [program, ...arguments_], { cwd: folder, timeout: 60_000, env: { NO_COLOR: "1" } }).then(
    ({ stdout }) => stdout,
    (error: { stdout?: string; stderr?: string }) =>
      Promise.reject(new Error(`${program} failed\n${error.stdout ?? ""}${error.stderr ?? ""}`))
  )

mkdirSync(folder, { recursive: true })
for (const { code, file } of examples) {
  writeFileSync(
    join(folder, file),
    code
      .replaceAll(/from "alknet"/g, 'from "../../../src/index.ts"')
      .replaceAll(/from "alknet\/testing"/g, 'from "../../../src/testing.ts"')
  )
}
writeFileSync(
  join(folder, "tsconfig.json"),
  JSON.stringify({ extends: join(root, "test/tsconfig.json"), include: ["*.ts"], exclude: [] })
)

afterAll(() => rmSync(folder, { recursive: true, force: true }))

it("blocks are found with what they print", () => {
  const found = examplesOf(
    "a.md",
    "# A\n\n```ts\nlet a = 1\n```\n\n```text\nout\n```\n\n```sh\nls\n```\n\n```ts\nb()\n```\n"
  )
  assert.deepStrictEqual(
    found.map(({ code, line, prints }) => [line, code, prints]),
    [
      [3, "let a = 1\n", "out\n"],
      [15, "b()\n", undefined]
    ]
  )
})

it("every example type-checks", async () => {
  assert.isNotEmpty(examples)
  await output(join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", folder)
})

describe("every example runs", () => {
  for (const { document, file, line, prints } of examples) {
    it(`${document}:${line}`, async () => {
      const printed = await output(join(folder, file))
      if (prints !== undefined) assert.strictEqual(printed, prints)
    })
  }
})
