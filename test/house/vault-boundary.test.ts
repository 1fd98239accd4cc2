/**
 * Who may import the vault, and what the vault may import (VAULT-R01, VAULT-R02). Read from the import lines of every source
 * file, so that a type import counts as well.
 */
import { readdirSync, readFileSync } from "node:fs"
import { dirname, join, relative, resolve } from "node:path"
import { assert, it } from "@effect/vitest"

const root = resolve(import.meta.dirname, "../..")
const source = join(root, "src")

const files = readdirSync(source, { recursive: true, encoding: "utf8" })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => file.replaceAll("\\", "/"))

/** Every module that a text names: static and dynamic imports, re-exports, workers, `require` and `resolve`. */
const importsOf = (text: string): ReadonlyArray<string> => {
  const pattern =
    /(?:\bfrom\s*|\bimport\s*\(?\s*|\brequire\s*\(\s*|\bresolve\s*\(\s*|\bnew URL\s*\(\s*)["'`]([^"'`]+)["'`]/g
  return [...text.matchAll(pattern)].map((match) => match[1]!)
}

/** The project's own files that a file imports, from `src/`. */
const localImportsOf = (file: string): ReadonlyArray<string> =>
  importsOf(readFileSync(join(source, file), "utf8"))
    .filter((name) => name.startsWith("."))
    .map((name) => relative(source, resolve(source, dirname(file), name)).replaceAll("\\", "/"))

const isVault = (file: string): boolean =>
  file === "services/Vault.ts" || file.startsWith("layers/vault/") || file.startsWith("protocol/vault/")

/** The assembly, the command line, and the public entries, which hold nothing but re-exports. */
const isAllowedImporter = (file: string): boolean =>
  isVault(file) || /^layers\/Node[^/]*(?:\/|$)/.test(file) || file.startsWith("cli/") || isPublicEntry(file)
const isPublicEntry = (file: string): boolean => file === "index.ts" || file === "testing.ts"

/** Encoders without any dependency of their own. */
const LEAF_ENCODERS = new Set(["protocol/ZBase32.ts"])

it("VAULT-045 only the vault, the assembly and the command line import the vault", () => {
  const offenders = files
    .filter((file) => !isAllowedImporter(file))
    .flatMap((file) =>
      localImportsOf(file)
        .filter(isVault)
        .map((vault) => `${file} -> ${vault}`)
    )
  assert.deepStrictEqual(offenders, [])
})

it("VAULT-045 the vault imports nothing of the project but itself and leaf encoders", () => {
  const vault = files.filter(isVault)
  assert.isAbove(vault.length, 15)
  const offenders = vault.flatMap((file) =>
    localImportsOf(file)
      .filter((imported) => !isVault(imported) && !LEAF_ENCODERS.has(imported))
      .map((imported) => `${file} -> ${imported}`)
  )
  assert.deepStrictEqual(offenders, [])
  for (const encoder of LEAF_ENCODERS) assert.deepStrictEqual(localImportsOf(encoder), [])
})

it("VAULT-045 no operation, handler, route, transport or store reaches the vault over any path of imports", () => {
  const reached = new Map<string, string>()
  const starts = files.filter((file) => !isAllowedImporter(file))
  for (const start of starts) {
    const seen = new Set<string>()
    const walk = (file: string): void => {
      if (seen.has(file) || !files.includes(file)) return
      seen.add(file)
      if (isVault(file)) reached.set(start, file)
      for (const next of localImportsOf(file)) walk(next)
    }
    walk(start)
  }
  assert.deepStrictEqual([...reached], [])
})

it("the public entries only re-export, so that the vault reaches nobody through them", () => {
  for (const file of files.filter(isPublicEntry)) {
    const code = readFileSync(join(source, file), "utf8")
      .replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, "")
      .replace(/export\s+(?:type\s+)?(?:\*(?:\s+as\s+\w+)?|\{[^}]*\})\s+from\s+"[^"]+"/g, "")
    assert.strictEqual(code.trim(), "", file)
  }
  const importers = files.filter((file) => localImportsOf(file).some(isPublicEntry))
  assert.deepStrictEqual(importers, [])
})

it("VAULT-R03 the vault reads no environment variable and no argument", () => {
  for (const file of files.filter(isVault)) {
    assert.notMatch(readFileSync(join(source, file), "utf8"), /process\.(?:env|argv)\b|ConfigProvider|\bConfig\./, file)
  }
})

it("the reader of import lines sees every kind of them", () => {
  const text = `import a from "./a.ts"\nimport type { b } from './b.ts'\nexport * from "./c.ts"\nimport "./d.ts"
    const e = await import("./e.ts")\nrequire("./f.ts")\nnew URL("./g.ts", x)\nimport {\n  h\n} from "./h.ts"
    type I = import("./i.ts").I`
  assert.deepStrictEqual(
    importsOf(text),
    ["a", "b", "c", "d", "e", "f", "g", "h", "i"].map((name) => `./${name}.ts`)
  )
})
