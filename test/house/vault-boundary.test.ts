/**
 * Who may import the vault, and what the vault may import (VAULT-R01, VAULT-R02): directly or over other files, types too.
 */
import { assert, it } from "@effect/vitest"
import { codeOf, readSources, referencesOf, type Source, targetOf } from "./SourceScanner.ts"

const sources = readSources("src")
const byPath = new Map(sources.map((source) => [source.path, source]))

const isVault = (path: string): boolean =>
  path === "src/services/Vault.ts" || path.startsWith("src/layers/vault/") || path.startsWith("src/protocol/vault/")

/** The operations of a node carry its name and are no part of its assembly. */
const isAssembly = (path: string): boolean =>
  path.startsWith("src/layers/Node") && path !== "src/layers/NodeOperations.ts"

const mayImportVault = (path: string): boolean => isVault(path) || isAssembly(path) || path.startsWith("src/cli/")

/** Encoders that import nothing of the project. */
const LEAF_ENCODERS = new Set(["src/protocol/ZBase32.ts"])

const importsOf = ({ path, text }: Source): ReadonlyArray<string> =>
  referencesOf(text).flatMap(({ specifier }) => targetOf(path, specifier) ?? [])

/** One line for each import that is not allowed, in either direction. */
const violations = (all: ReadonlyArray<Source>): ReadonlyArray<string> =>
  all.flatMap((source) =>
    importsOf(source)
      .filter((target) =>
        isVault(source.path)
          ? !isVault(target) && !LEAF_ENCODERS.has(target)
          : isVault(target) && !mayImportVault(source.path)
      )
      .map((target) => `${source.path} -> ${target}`)
  )

it("VAULT-045 only the assembly and the program import the vault, and the vault only leaf encoders", () => {
  assert.isAbove(sources.filter(({ path }) => isVault(path)).length, 15)
  assert.deepStrictEqual(violations(sources), [])
  for (const path of LEAF_ENCODERS) assert.deepStrictEqual(importsOf(byPath.get(path)!), [])
})

it("VAULT-045 no operation, handler, route, transport, store or public entry reaches the vault over other files", () => {
  const starts = sources.map(({ path }) => path).filter((path) => !mayImportVault(path))
  assert.isAbove(starts.length, 20)
  const seen = new Set<string>()
  const walk = (path: string, trail: ReadonlyArray<string>): void => {
    if (seen.has(path)) return
    seen.add(path)
    const source = byPath.get(path)
    assert.isFalse(isVault(path), [...trail, path].join(" -> "))
    for (const target of source === undefined ? [] : importsOf(source)) walk(target, [...trail, path])
  }
  for (const start of starts) walk(start, [])
})

it("VAULT-046 the vault reads no environment variable and no argument", () => {
  for (const { path, text } of sources.filter((source) => isVault(source.path))) {
    assert.notMatch(codeOf(text), /process\.(?:env|argv)\b|\bConfig(?:Provider)?\./, path)
  }
})

it("each rule finds a planted violation, in both directions", () => {
  const planted: ReadonlyArray<readonly [path: string, specifier: string]> = [
    ["src/layers/handlers/CallHandler.ts", "../vault/FileVault.ts"],
    ["src/layers/NodeOperations.ts", "../services/Vault.ts"],
    ["src/layers/LocalIdentity.ts", "../protocol/vault/KeyPath.ts"],
    ["src/index.ts", "./services/Vault.ts"],
    ["src/layers/vault/FileVault.ts", "../Router.ts"],
    ["src/services/Vault.ts", "./Identity.ts"],
    ["src/protocol/vault/VaultFile.ts", "../identity/NodeId.ts"]
  ]
  for (const [path, specifier] of planted) {
    for (const text of [`import type { x } from "${specifier}"`, `const x = import("${specifier}")`]) {
      assert.lengthOf(violations([{ path, text }]), 1, path)
    }
  }
  const allowed: ReadonlyArray<readonly [path: string, specifier: string]> = [
    ["src/layers/Node.ts", "./vault/FileVault.ts"],
    ["src/cli/commands/vault.ts", "../../services/Vault.ts"],
    ["src/layers/vault/OpenVault.ts", "../../protocol/ZBase32.ts"],
    ["src/layers/vault/OpenVault.ts", "../../protocol/vault/KeyPath.ts"]
  ]
  for (const [path, specifier] of allowed) {
    assert.deepStrictEqual(violations([{ path, text: `import { x } from "${specifier}"` }]), [])
  }
})
