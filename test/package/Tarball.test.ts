/**
 * What `npm pack` puts into the package, installed into an empty folder: the program starts, the library type-checks and
 * runs. It needs the build (`npm run build`), and no network: the dependencies are the project's own.
 */
import { execFileSync } from "node:child_process"
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { root } from "../house/SourceScanner.ts"

const folder = mkdtempSync(join(tmpdir(), "alknet-package-"))
const modules = join(folder, "node_modules")
const path = [dirname(process.execPath), "/usr/local/bin", "/usr/bin", "/bin"].join(":")
const run = (program: string, ...arguments_: ReadonlyArray<string>): string =>
  execFileSync(program, arguments_, { cwd: folder, encoding: "utf8", env: { PATH: path, HOME: folder, NO_COLOR: "1" } })

let packed: ReadonlyArray<string> = []

beforeAll(() => {
  assert.isTrue(existsSync(join(root, "dist/index.js")), "there is no build: npm run build")
  const out = execFileSync("npm", ["pack", "--ignore-scripts", "--json", "--silent", "--pack-destination", folder], {
    cwd: root,
    encoding: "utf8",
    env: { PATH: path, HOME: folder }
  })
  const list: ReadonlyArray<{ readonly filename: string; readonly files: ReadonlyArray<{ readonly path: string }> }> =
    JSON.parse(out)
  const parsed = list[0]!
  packed = parsed.files.map((file) => file.path)
  mkdirSync(modules)
  for (const name of readdirSync(join(root, "node_modules"))) {
    if (!name.startsWith(".")) symlinkSync(join(root, "node_modules", name), join(modules, name))
  }
  mkdirSync(join(modules, "alknet"))
  run("tar", "xzf", parsed.filename, "--strip-components=1", "-C", join(modules, "alknet"))
  mkdirSync(join(modules, ".bin"))
  symlinkSync("../alknet/bin/alknet", join(modules, ".bin/alknet"))
  writeFileSync(join(folder, "package.json"), '{ "type": "module" }\n')
})

afterAll(() => rmSync(folder, { recursive: true, force: true }))

it("holds the program, the library and the licences, and neither sources nor tests", () => {
  for (const file of ["bin/alknet", "dist/cli/alknet.mjs", "dist/index.js", "dist/index.d.ts", "dist/testing.d.ts"]) {
    assert.include(packed, file)
  }
  for (const file of ["LICENSE-MIT", "LICENSE-APACHE", "README.md", "CHANGELOG.md", "SECURITY.md"]) {
    assert.include(packed, file)
  }
  assert.deepStrictEqual(
    packed.filter((file) => /^(?:src|test|scripts|bench|node_modules)\//.test(file)),
    []
  )
})

it("the program starts", () => {
  const { version }: { version: string } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))
  assert.strictEqual(run(join(modules, ".bin/alknet"), "--version"), `alknet v${version}\n`)
  assert.match(run(join(modules, ".bin/alknet"), "--help"), /USAGE/i)
})

it("the library type-checks for its users, declarations included, and runs", () => {
  const program = [
    'import { type Connection, NodeId, Transport } from "alknet"',
    'import { MemoryTransport } from "alknet/testing"',
    'import { Effect } from "effect"',
    "export const isAnonymous = (connection: Connection): boolean => connection.peer === undefined",
    "console.log(typeof NodeId, await Effect.runPromise(",
    "  Transport.use((transport) => Effect.succeed(transport.name)).pipe(Effect.provide(MemoryTransport.layerAlone))",
    "))"
  ]
  writeFileSync(join(folder, "main.ts"), program.join("\n"))
  writeFileSync(
    join(folder, "tsconfig.json"),
    JSON.stringify({
      compilerOptions: {
        target: "ES2023",
        lib: ["ES2023", "DOM", "DOM.Iterable", "ESNext.Disposable"],
        module: "NodeNext",
        strict: true,
        noEmit: true,
        types: ["node"]
      },
      include: ["main.ts"]
    })
  )
  run(process.execPath, join(root, "node_modules/typescript/bin/tsc"), "-p", folder)
  assert.strictEqual(run(process.execPath, "main.ts"), "function memory\n")
})
