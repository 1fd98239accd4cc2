/** The reporter that counts a whole run, over a small run of its own. */
import { spawnSync } from "node:child_process"
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { root } from "./SourceScanner.ts"

const folder = join(root, ".cache", `closing-line-${process.pid}`)
const closing = join(folder, "closing")

const run = (environment: Readonly<Record<string, string>>, ...files: ReadonlyArray<string>) =>
  spawnSync(
    process.execPath,
    [
      join(root, "node_modules/vitest/vitest.mjs"),
      "run",
      "--root",
      folder,
      "--reporter",
      join(root, "scripts/ClosingLine.ts"),
      ...files
    ],
    { cwd: folder, encoding: "utf8", env: { PATH: process.env["PATH"], NO_COLOR: "1", ...environment } }
  )

beforeAll(() => {
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, "vitest.config.ts"), "export default { test: { include: ['*.test.ts'] } }\n")
  const test = (name: string, ...lines: ReadonlyArray<string>) =>
    writeFileSync(join(folder, `${name}.test.ts`), `import { it } from "vitest"\n${lines.join("\n")}\n`)
  const fails = 'throw new Error("x")'
  test("good", 'it("a", () => {})', 'it("b", () => {})')
  test("skips", 'it("a", () => {})', 'it.skip("foreign", () => {})')
  test("fails", 'it("a", () => {})', `it("b", () => { ${fails} })`)
  test("broken", fails)
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

it("counts passed, failed and skipped tests, and a file that does not load as a failure", () => {
  const { status, stdout } = run({})
  assert.strictEqual(stdout.trimEnd().split("\n").at(-1), "4 passed, 2 failed, 1 skipped")
  assert.include(stdout, "skipped  skips.test.ts: foreign\n")
  assert.strictEqual(status, 1)
})

it("leaves the line to whoever named a file for the counts", () => {
  const { status, stdout } = run({ ALKNET_CLOSING_FILE: closing }, "good")
  assert.strictEqual(readFileSync(closing, "utf8"), "2 0 0\n")
  assert.notInclude(stdout, "2 passed, ")
  assert.strictEqual(status, 0)
})

it("what is skipped fails the run in CI, and only there", () => {
  assert.strictEqual(run({}, "skips").status, 0)
  const inCi = run({ CI: "true" }, "skips")
  assert.include(inCi.stdout, "CI=true: 1 skipped tests count as a failure")
  assert.strictEqual(inCi.status, 1)
})
