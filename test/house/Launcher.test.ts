/**
 * `bin/alknet` in trees of its own: a copy of the launcher, programs that print where they were started from, and a PATH
 * that holds only what the test puts there.
 */
import { type SpawnSyncReturns, spawnSync } from "node:child_process"
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { tmpdir } from "node:os"
import { delimiter, dirname, join } from "node:path"
import { afterEach, assert, beforeEach, it } from "@effect/vitest"
import { root } from "./SourceScanner.ts"

let folder = ""
let tools = ""

const write = (path: string, text: string, mode = 0o644): string => {
  const target = join(folder, path)
  mkdirSync(dirname(target), { recursive: true })
  writeFileSync(target, text)
  chmodSync(target, mode)
  return target
}

/** A stand-in for Node: says its version, and its last arguments where it is asked to run something. */
const fakeNode = (path: string, version: string): string =>
  write(path, `#!/bin/sh\n[ "$1" = --version ] && { echo ${version}; exit; }\necho "${path} $*"\n`, 0o755)

const start = (program: string, path: string, ...arguments_: ReadonlyArray<string>): SpawnSyncReturns<string> =>
  spawnSync(program, arguments_, { cwd: tmpdir(), env: { PATH: path, HOME: folder }, encoding: "utf8" })

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "alknet-launcher-"))
  tools = join(folder, "tools")
  mkdirSync(tools)
  for (const tool of ["sh", "dirname", "readlink", "uname", "find"]) {
    const found = spawnSync("sh", ["-c", `command -v ${tool}`], { encoding: "utf8" }).stdout.trim()
    symlinkSync(found, join(tools, tool))
  }
  mkdirSync(join(folder, "package/bin"), { recursive: true })
  copyFileSync(join(root, "bin/alknet"), join(folder, "package/bin/alknet"))
  chmodSync(join(folder, "package/bin/alknet"), 0o755)
  write("package/package.json", "{}")
})

afterEach(() => rmSync(folder, { recursive: true, force: true }))

it("the real one says its version from any folder, through links that are absolute and relative", () => {
  symlinkSync(join(root, "bin/alknet"), join(folder, "absolute"))
  mkdirSync(join(folder, "deep"))
  symlinkSync("../absolute", join(folder, "deep/relative"))
  for (const program of [join(root, "bin/alknet"), join(folder, "absolute"), join(folder, "deep/relative")]) {
    const { status, stderr, stdout } = start(program, process.env["PATH"] ?? "", "--version")
    assert.match(stdout, /^alknet v\d+\.\d+\.\d+\n$/)
    assert.strictEqual(stderr, "")
    assert.strictEqual(status, 0)
  }
})

it("takes the sources where there is no bundle, where they are newer, and where their names changed", () => {
  fakeNode("tools/node", "v24.1.0")
  const program = join(folder, "package/bin/alknet")
  const source = write("package/src/cli/entry.ts", "")
  assert.include(start(program, tools, "x").stdout, "src/cli/entry.ts x\n")
  const bundle = write("package/dist/cli/alknet.mjs", "")
  for (const path of [source, dirname(source), join(folder, "package/src"), join(folder, "package/package.json")]) {
    utimesSync(path, 1000, 1000)
  }
  assert.include(start(program, tools, "x").stdout, "dist/cli/alknet.mjs x\n")
  utimesSync(dirname(source), 3000, 3000)
  utimesSync(bundle, 2000, 2000)
  assert.include(start(program, tools, "x").stdout, "src/cli/entry.ts x\n")
})

it("takes the bundle where there are no sources", () => {
  fakeNode("tools/node", "v22.19.0")
  write("package/dist/cli/alknet.mjs", "")
  assert.include(start(join(folder, "package/bin/alknet"), tools, "a b", "*").stdout, "dist/cli/alknet.mjs a b *\n")
})

// The project brings a Node for Linux; elsewhere there is none to prefer.
if (process.platform === "linux") {
  it("prefers the package's own Node, inside it and beside it, to one on PATH", () => {
    const own = `node-linux-${process.arch}/bin/node`
    fakeNode("tools/node", "v26.0.0")
    const program = join(folder, "package/bin/alknet")
    fakeNode(own, "v24.0.0")
    assert.isTrue(start(program, tools).stdout.startsWith(`${own} `))
    fakeNode(`package/node_modules/${own}`, "v24.0.0")
    assert.isTrue(start(program, tools).stdout.startsWith(`package/node_modules/${own} `))
  })
}

it("says in one line that there is no Node, or only one that is too old", () => {
  const program = join(folder, "package/bin/alknet")
  const none = start(program, tools)
  assert.match(none.stderr, /^alknet: needs Node 22\.19 or newer, and there is none on PATH\..*\n$/)
  assert.strictEqual(none.status, 1)
  for (const version of ["v18.20.4", "v20.20.2", "v22.18.0"]) {
    fakeNode("tools/node", version)
    const old = start(program, tools)
    assert.match(old.stderr, new RegExp(`^alknet: needs Node 22\\.19 or newer, and .* is ${version}\\..*\n$`))
    assert.strictEqual(old.stdout, "")
    assert.strictEqual(old.status, 1)
  }
})

it("becomes the program: exit codes and signals are the program's own", () => {
  const real = [dirname(process.execPath), tools].join(delimiter)
  write("package/dist/cli/alknet.mjs", "process.exit(Number(process.argv[2]))")
  assert.strictEqual(start(join(folder, "package/bin/alknet"), real, "130").status, 130)
  write("package/dist/cli/alknet.mjs", 'process.kill(process.pid, "SIGTERM"); setInterval(() => {}, 1000)')
  assert.strictEqual(start(join(folder, "package/bin/alknet"), real).signal, "SIGTERM")
})
