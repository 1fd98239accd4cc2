/**
 * What `npm pack` puts into the package, installed into an empty folder: the program starts, the library type-checks and
 * runs, and a module of a user is served by it. It needs the build (`npm run build`), and no network: the dependencies are the
 * project's own.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { afterAll, assert, beforeAll, it } from "@effect/vitest"
import { root } from "../house/SourceScanner.ts"
import { install, PATH, runIn } from "./Installed.ts"

const folder = mkdtempSync(join(tmpdir(), "alknet-package-"))
const modules = join(folder, "node_modules")
const program = join(modules, ".bin/alknet")
const run = runIn(folder)

let packed: ReadonlyArray<string> = []

beforeAll(() => {
  packed = install(folder)
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
  assert.strictEqual(run(program, "--version"), `alknet v${version}\n`)
  assert.match(run(program, "--help"), /USAGE/i)
})

it("the library type-checks for its users, declarations included, and runs", () => {
  const text = [
    'import { type Connection, NodeId, Transport } from "alknet"',
    'import { MemoryTransport } from "alknet/testing"',
    'import { Effect } from "effect"',
    "export const isAnonymous = (connection: Connection): boolean => connection.peer === undefined",
    "console.log(typeof NodeId, await Effect.runPromise(",
    "  Transport.use((transport) => Effect.succeed(transport.name)).pipe(Effect.provide(MemoryTransport.layerAlone))",
    "))"
  ]
  writeFileSync(join(folder, "main.ts"), text.join("\n"))
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

/** The ready line of a running `serve-ops`, which is ended by its process id. */
const serving = async <A>(file: string, home: string, use: (ticket: string) => A): Promise<A> => {
  const args = ["--home", home, "serve-ops", file, "--listen", "127.0.0.1:0", "--anonymous", "call", "--json"]
  const child = spawn(program, args, { cwd: folder, env: { PATH, HOME: folder }, stdio: ["ignore", "pipe", "pipe"] })
  try {
    const said: Array<Buffer> = []
    child.stderr.on("data", (bytes: Buffer) => said.push(bytes))
    for await (const line of createInterface(child.stdout)) return use(JSON.parse(line).ticket)
    throw new Error(Buffer.concat(said).toString("utf8"))
  } finally {
    child.kill("SIGKILL")
  }
}

it("the program serves a user's module, beside packages of its own and far from any, with one Effect for both", async () => {
  const text = [
    'import { AccessControl, Operation, OperationContext, OperationGroup } from "alknet"',
    'import { Context, Effect, Layer, Schema } from "effect"',
    'class Words extends Context.Service<Words, { readonly said: string }>()("test/Words") {}',
    'export const layer = Layer.effect(Words, Effect.succeed({ said: "served" }))',
    'const Say = Operation.query("words/say", { output: Schema.Array(Schema.String), access: AccessControl.open, visibility: "external" })',
    "export const words = OperationGroup.make(Operation.implement(Say, Effect.gen(function* () {",
    "  const [{ said }, { requestId }] = [yield* Words, yield* OperationContext]",
    "  // Fibers of another copy would be of another class.",
    "  const copies = yield* Effect.withFiber((fiber) =>",
    "    Effect.succeed(new Set([fiber, Effect.runFork(Effect.void)].map(Object.getPrototypeOf)).size))",
    "  return [said, typeof requestId, `copies: ${copies}`]",
    "})))"
  ]
  const elsewhere = mkdtempSync(join(tmpdir(), "alknet-module-"))
  try {
    for (const [index, place] of [folder, elsewhere].entries()) {
      const file = join(place, "words.ts")
      writeFileSync(file, text.join("\n"))
      const caller = join(folder, "caller")
      const answer = await serving(file, join(folder, `home${index}`), (ticket) =>
        run(program, "--home", caller, "call", ticket, "words/say", "--json", "--quiet")
      )
      assert.deepStrictEqual(JSON.parse(answer), ["served", "string", "copies: 1"])
    }
  } finally {
    rmSync(elsewhere, { recursive: true, force: true })
  }
}, 120_000)
