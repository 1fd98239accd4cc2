import { assert, it } from "@effect/vitest"
import { codeOf, referencesOf, targetOf } from "./SourceScanner.ts"

it("finds every way to name a module", () => {
  const text = [
    'import { a } from "./a.ts"',
    'import type { B } from "./b.ts"',
    'import { type C, type D } from "./c.ts"',
    'import { type E, f } from "./e.ts"',
    "import * as g from './g.ts'",
    'import "./h.ts"',
    "import {\n  i,\n  j\n} from\n  'node:fs'",
    'export * from "./k.ts"',
    'export { l } from "./l.ts"',
    'const m = () => import("./m.ts")',
    'const n = new Worker(new URL("./n.ts", import.meta.url))'
  ].join("\n")
  assert.deepStrictEqual(
    referencesOf(text).map(({ kind, specifier, typeOnly }) => `${specifier} ${kind}${typeOnly ? " type" : ""}`),
    [
      "./a.ts import",
      "./b.ts import type",
      "./c.ts import type",
      "./e.ts import",
      "./g.ts import",
      "./h.ts import",
      "node:fs import",
      "./k.ts export",
      "./l.ts export",
      "./m.ts dynamic",
      "./n.ts thread"
    ]
  )
})

it("takes nothing from comments, strings, templates and regular expressions", () => {
  const text = [
    '// import "./a.ts"',
    '/* import { b } from "./b.ts" */',
    "const c = 'import \"./c.ts\"'",
    'const d = `import "./d.ts" ${"import ./e.ts"} }`',
    "const quote = /[\"'`/]/g",
    "const half = 4 / 2",
    'const url = "https://example.org"; import "./real.ts"'
  ].join("\n")
  assert.deepStrictEqual(
    referencesOf(text).map((reference) => reference.specifier),
    ["./real.ts"]
  )
})

it("keeps code and line breaks, and nothing of comments and strings", () => {
  assert.strictEqual(codeOf('a("Date.now()") /* b\nc */ + d // e'), 'a("") \n + d ')
  assert.strictEqual(codeOf("`x${y({ z: 1 })}w` + v"), '""y({ z: 1 })"" + v')
})

it("resolves relative names only", () => {
  assert.strictEqual(targetOf("src/layers/a/B.ts", "../../protocol/C.ts"), "src/protocol/C.ts")
  assert.strictEqual(targetOf("src/layers/a/B.ts", "effect"), undefined)
})
