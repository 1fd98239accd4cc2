/** Loading is what Node does, not what the test runner makes of it: the cases run in Node processes of their own. */
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
const own = { Effect, OperationContext: Alknet.OperationContext, Operation: Alknet.Operation, succeed: Effect.succeed }
const shown = (exports) => Object.fromEntries(Object.entries(exports).map(([name, value]) =>
  [name, name in own ? value === own[name] : value]))
const run = ({ change, file }) => Effect.gen(function* () {
  const { files, load } = yield* ModuleLoader.make(file)
  const once = Effect.map(Effect.result(load), Result.match({
    onSuccess: ({ exports }) => ({ exports: shown(exports), files: files() }),
    onFailure: ({ hint, message }) => ({ message, hint, files: files() })
  }))
  const first = yield* once
  if (change === undefined) return [first]
  writeFileSync(...change)
  return [first, yield* once]
})
const scenarios = JSON.parse(process.argv[2])
console.log(JSON.stringify(await Effect.runPromise(Effect.forEach(scenarios, (one) => Effect.scoped(run(one))))))
`
)

interface Loaded {
  readonly exports?: Readonly<Record<string, unknown>>
  readonly message?: string
  readonly hint?: string
  readonly files: ReadonlyArray<string>
}

const run = promisify(execFile)
const PATIENT = 120_000

interface Scenario {
  readonly files: Readonly<Record<string, string>>
  /** Loads it again after this file was written. */
  readonly change?: readonly [string, string]
}

/** Loads the `main.ts` of each scenario, in one process; paths come back without the folder. */
const loads = async (...scenarios: ReadonlyArray<Scenario>): Promise<ReadonlyArray<ReadonlyArray<Loaded>>> => {
  const parent = mkdtempSync(join(tmpdir(), "alknet-module-"))
  try {
    const written = scenarios.map(({ change, files }, index) => {
      const folder = join(parent, String(index))
      mkdirSync(folder)
      for (const [name, text] of Object.entries(files)) {
        mkdirSync(dirname(join(folder, name)), { recursive: true })
        writeFileSync(join(folder, name), text)
      }
      const file = join(folder, "main.ts")
      return change === undefined ? { file } : { file, change: [join(folder, change[0]), change[1]] }
    })
    const { stderr, stdout } = await run(process.execPath, [driver, JSON.stringify(written)], { timeout: PATIENT })
    assert.strictEqual(stderr, "")
    return JSON.parse(stdout.replaceAll(new RegExp(`${parent}/\\d+/`, "g"), ""))
  } finally {
    rmSync(parent, { recursive: true, force: true })
  }
}

const library = (name: string, code: string) => ({
  [`node_modules/${name}/package.json`]: JSON.stringify({ name, type: "module", exports: "./index.js" }),
  [`node_modules/${name}/index.js`]: code
})

describe("a user's module", () => {
  it(
    "is evaluated anew by each load, with what it imports of its own, and not with packages",
    async () => {
      const main =
        'import { part } from "./parts/part.ts"\nimport { n } from "pack"\nexport const value: string = part + n'
      const [loaded] = await loads({
        files: {
          "main.ts": main,
          "parts/part.ts": 'export const part = "one"',
          ...library("pack", "let count = 0\nexport const n = ++count")
        },
        change: ["parts/part.ts", 'export const part = "two"']
      })
      const files = ["main.ts", "parts/part.ts"]
      assert.deepStrictEqual(loaded, [
        { exports: { value: "one1" }, files },
        { exports: { value: "two1" }, files }
      ])
    },
    PATIENT
  )

  it(
    "shares this program's Effect and alknet, wherever it is and whatever lies beside it",
    async () => {
      const main = [
        'export { OperationContext, Operation } from "alknet"',
        'export * as Effect from "effect/Effect"',
        'export { succeed } from "library"'
      ]
      const [loaded] = await loads({
        files: {
          "main.ts": main.join("\n"),
          ...library("effect", "export const Effect = {}"),
          ...library("alknet", "export const Operation = {}"),
          ...library("library", 'import { Effect } from "effect"\nexport const { succeed } = Effect')
        }
      })
      const shared = { Effect: true, Operation: true, OperationContext: true, succeed: true }
      assert.deepStrictEqual(loaded?.[0]?.exports, shared)
    },
    PATIENT
  )

  it(
    "that cannot be loaded names file, line and column, also of what it imports",
    async () => {
      const cases: ReadonlyArray<readonly [Scenario["files"], RegExp]> = [
        [
          { "main.ts": 'import "./part.ts"', "part.ts": "const a = 1\nconst b: number = = 2\n" },
          /^part\.ts:2:19: SyntaxError: Expression expected$/
        ],
        [{ "main.ts": "export const a =\n" }, /^main\.ts:1: SyntaxError: Expression expected$/],
        [{ "main.ts": "const a = 1\nenum Color { Red }\n" }, /^main\.ts:2:1: SyntaxError: .*enum/],
        [{ "main.ts": '// first\nimport "./absent.ts"\n' }, /^main\.ts:2: Cannot find module/],
        [{ "main.ts": '\n\nimport { x } from "left-out"\n' }, /^main\.ts:3: Cannot find package 'left-out'/],
        [
          { "main.ts": 'import { b } from "./part.ts"\nexport const c = b\n', "part.ts": "export const a = 1" },
          /^main\.ts:1:10: SyntaxError: .* does not provide an export named 'b'$/
        ],
        [
          { "main.ts": 'type Erased = {\n  readonly a: number\n}\nthrow new TypeError("no good")\n' },
          /^main\.ts:4:7: TypeError: no good$/
        ],
        [{ "main.ts": "throw 7" }, /^main\.ts: it threw while it loaded$/],
        [{}, /^main\.ts: there is no such file$/],
        [{ "main.ts/x": "" }, /^main\.ts: it is no file$/]
      ]
      const loaded = await loads(...cases.map(([files]) => ({ files })))
      for (const [index, [, pattern]] of cases.entries()) assert.match(loaded[index]?.[0]?.message ?? "", pattern)
      assert.include(loaded[2]?.[0]?.hint, "no enum")
    },
    PATIENT
  )

  it(
    "that failed once is loaded when it is mended",
    async () => {
      const [loaded] = await loads({
        files: { "main.ts": 'import { a } from "./a.ts"\nexport const b = a' },
        change: ["a.ts", "export const a = 7"]
      })
      assert.match(loaded?.[0]?.message ?? "", /^main\.ts:1: Cannot find module/)
      assert.deepStrictEqual(loaded?.[1], { exports: { b: 7 }, files: ["main.ts", "a.ts"] })
    },
    PATIENT
  )
})
