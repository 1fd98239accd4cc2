/** Loading is what Node does, not what the test runner makes of it: every case runs in a Node process of its own. */
import { execFile } from "node:child_process"
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { root } from "../house/SourceScanner.ts"

/** Inside the project, so that it finds its packages; the modules that it loads are elsewhere. */
const drivers = join(root, ".cache/modules", String(process.pid))
afterAll(() => rmSync(drivers, { recursive: true, force: true }))

const driver = join(drivers, "driver.ts")
mkdirSync(drivers, { recursive: true })
writeFileSync(
  driver,
  `
import { writeFileSync } from "node:fs"
import { Effect, Result } from "effect"
import * as Alknet from "../../../src/index.ts"
import * as ModuleLoader from "../../../src/layers/ModuleLoader.ts"
const [file, changed, text] = process.argv.slice(2)
const own = { Effect, OperationContext: Alknet.OperationContext, Operation: Alknet.Operation, succeed: Effect.succeed }
const shown = (exports) => Object.fromEntries(Object.entries(exports).map(([name, value]) =>
  [name, name in own ? value === own[name] : value]))
console.log(JSON.stringify(await Effect.runPromise(Effect.scoped(Effect.gen(function* () {
  const { files, load } = yield* ModuleLoader.make(file)
  const once = Effect.map(Effect.result(load), Result.match({
    onSuccess: ({ exports }) => ({ exports: shown(exports), files: files() }),
    onFailure: ({ hint, message }) => ({ message, hint, files: files() })
  }))
  const first = yield* once
  if (changed === undefined) return [first]
  writeFileSync(changed, text)
  return [first, yield* once]
})))))
`
)

interface Loaded {
  readonly exports?: Readonly<Record<string, unknown>>
  readonly message?: string
  readonly hint?: string
  readonly files: ReadonlyArray<string>
}

const run = promisify(execFile)

/** Loads `main.ts` of a folder with these files, and again after a change; paths come back without the folder. */
const loads = async (
  files: Readonly<Record<string, string>>,
  change?: readonly [string, string]
): Promise<ReadonlyArray<Loaded>> => {
  const folder = mkdtempSync(join(tmpdir(), "alknet-module-"))
  try {
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true })
      writeFileSync(join(folder, name), text)
    }
    const changed = change === undefined ? [] : [join(folder, change[0]), change[1]]
    const { stderr, stdout } = await run(process.execPath, [driver, join(folder, "main.ts"), ...changed], {
      timeout: 60_000
    })
    assert.strictEqual(stderr, "")
    return JSON.parse(stdout.replaceAll(`${folder}/`, ""))
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}

const failureOf = async (files: Readonly<Record<string, string>>): Promise<{ message: string; hint: string }> => {
  const [{ hint = "", message = "it loaded" } = {}] = await loads(files)
  return { message, hint }
}

const library = (name: string, code: string) => ({
  [`node_modules/${name}/package.json`]: JSON.stringify({ name, type: "module", exports: "./index.js" }),
  [`node_modules/${name}/index.js`]: code
})

describe("a user's module", () => {
  it("is evaluated anew by each load, with what it imports of its own, and not with packages", async () => {
    const loaded = await loads(
      {
        "main.ts":
          'import { part } from "./parts/part.ts"\nimport { n } from "pack"\nexport const value: string = part + n',
        "parts/part.ts": 'export const part = "one"',
        ...library("pack", "let count = 0\nexport const n = ++count")
      },
      ["parts/part.ts", 'export const part = "two"']
    )
    const files = ["main.ts", "parts/part.ts"]
    assert.deepStrictEqual(loaded, [
      { exports: { value: "one1" }, files },
      { exports: { value: "two1" }, files }
    ])
  })

  it("shares this program's Effect and alknet, wherever it is and whatever lies beside it", async () => {
    const [loaded] = await loads({
      "main.ts": [
        'export { OperationContext, Operation } from "alknet"',
        'export * as Effect from "effect/Effect"',
        'export { succeed } from "library"'
      ].join("\n"),
      ...library("effect", "export const Effect = {}"),
      ...library("alknet", "export const Operation = {}"),
      ...library("library", 'import { Effect } from "effect"\nexport const { succeed } = Effect')
    })
    assert.deepStrictEqual(loaded?.exports, { Effect: true, Operation: true, OperationContext: true, succeed: true })
  })

  it("that cannot be loaded names file, line and column, also of what it imports", async () => {
    const syntax = await failureOf({
      "main.ts": 'import "./part.ts"',
      "part.ts": "const a = 1\nconst b: number = = 2\n"
    })
    assert.strictEqual(syntax.message, "part.ts:2:19: SyntaxError: Expression expected")
    const types = await failureOf({ "main.ts": "const a = 1\nenum Color { Red }\n" })
    assert.match(types.message, /^main\.ts:2:1: SyntaxError: .*enum/)
    assert.include(types.hint, "no enum")
    const missing = await failureOf({ "main.ts": '// first\nimport "./absent.ts"\n' })
    assert.match(missing.message, /^main\.ts:2: Cannot find module/)
    const absent = await failureOf({ "main.ts": '\n\nimport { x } from "left-out"\nexport const y = x\n' })
    assert.match(absent.message, /^main\.ts:3: Cannot find package 'left-out'/)
    const name = await failureOf({
      "main.ts": 'import { b } from "./part.ts"\nexport const c = b\n',
      "part.ts": "export const a = 1"
    })
    assert.match(name.message, /^main\.ts:1:10: SyntaxError: .* does not provide an export named 'b'$/)
    const threw = await failureOf({
      "main.ts": 'type Erased = {\n  readonly a: number\n}\nthrow new TypeError("no good")\n'
    })
    assert.strictEqual(threw.message, "main.ts:4:7: TypeError: no good")
    assert.strictEqual((await failureOf({ "main.ts": "throw 7" })).message, "main.ts: it threw while it loaded")
  }, 120_000)

  it("that failed once is loaded when it is mended", async () => {
    const [first, second] = await loads({ "main.ts": 'import { a } from "./a.ts"\nexport const b = a' }, [
      "a.ts",
      "export const a = 7"
    ])
    assert.match(first?.message ?? "", /^main\.ts:1: Cannot find module/)
    assert.deepStrictEqual(second, { exports: { b: 7 }, files: ["main.ts", "a.ts"] })
  })

  it("that is not there or is a folder says so", async () => {
    assert.strictEqual((await failureOf({})).message, "main.ts: there is no such file")
    assert.strictEqual((await failureOf({ "main.ts/x": "" })).message, "main.ts: it is no file")
  })
})
