import { assert, it } from "@effect/vitest"
import { importCycles, importViolations } from "./ImportRules.ts"
import { readSources } from "./SourceScanner.ts"

const sources = readSources("src")

it("imports go protocol <- services <- layers <- cli", () => {
  assert.isAbove(sources.length, 10)
  assert.deepStrictEqual(importViolations(sources), [])
})

it("no modules import each other in a circle", () => {
  assert.deepStrictEqual(importCycles(sources), [])
})

it("each rule finds a planted violation", () => {
  const planted: ReadonlyArray<readonly [path: string, specifier: string, rule: string]> = [
    ["src/protocol/A.ts", "../services/B.ts", "protocol must not import services"],
    ["src/protocol/A.ts", "node:fs/promises", "protocol does no input and output"],
    ["src/protocol/A.ts", "node:net", "protocol does no input and output"],
    ["src/services/A.ts", "../layers/B.ts", "services must not import layers"],
    ["src/services/A.ts", "node:crypto", "a service is a contract"],
    ["src/layers/A.ts", "../cli/B.ts", "layers must not import cli"],
    ["src/layers/handlers/CallHandler.ts", "./PingHandler.ts", "a handler never imports another handler"],
    ["src/layers/handlers/call/Gates.ts", "../ping/Pong.ts", "a handler never imports another handler"],
    ["src/layers/handlers/CallHandler.ts", "../vault/File.ts", "only the assembly and the program"],
    ["src/layers/A.ts", "../index.ts", "nobody imports the public entries"],
    ["src/index.ts", "./cli/main.ts", "the program is not part of the library"],
    ["src/layers/A.ts", "../../test/B.ts", "src imports only src"],
    ["src/layers/A.ts", "./B.js", "imports name the file"],
    ["src/odd/A.ts", "../layers/B.ts", "every file is in one of the rooms"]
  ]
  for (const [path, specifier, rule] of planted) {
    for (const text of [`import { x } from "${specifier}"`, `const x = await import("${specifier}")`]) {
      const violations = importViolations([{ path, text }])
      assert.lengthOf(violations, 1, `${path} ${text}`)
      assert.include(violations[0], rule)
    }
  }
  assert.lengthOf(importViolations([{ path: "src/layers/A.ts", text: 'export * from "./B.ts"' }]), 1)
})

it("what is allowed is allowed", () => {
  const text = (specifier: string) => `import { x } from "${specifier}"`
  assert.deepStrictEqual(
    importViolations([
      { path: "src/layers/handlers/CallHandler.ts", text: text("./call/Gates.ts") },
      { path: "src/layers/NodeAssembly.ts", text: text("./vault/File.ts") },
      { path: "src/protocol/A.ts", text: 'import { isIP, isIPv6 } from "node:net"' },
      { path: "src/cli/vault.ts", text: text("../layers/vault/File.ts") },
      { path: "src/index.ts", text: 'export * from "./services/Router.ts"' }
    ]),
    []
  )
})

it("finds a planted circle, and leaves types alone", () => {
  const circle = (statement: string) =>
    importCycles([
      { path: "src/layers/A.ts", text: 'import { b } from "./B.ts"' },
      { path: "src/layers/B.ts", text: statement }
    ])
  assert.deepStrictEqual(circle('import { a } from "./A.ts"'), [
    "src/layers/A.ts -> src/layers/B.ts -> src/layers/A.ts"
  ])
  assert.deepStrictEqual(circle('import type { A } from "./A.ts"'), [])
})
