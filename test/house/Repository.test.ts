import { execFileSync } from "node:child_process"
import { readFileSync, statSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { root } from "./SourceScanner.ts"

const read = (path: string): string => readFileSync(join(root, path), "utf8")

const tracked = execFileSync("git", ["ls-files", "-z"], { cwd: root, encoding: "utf8", maxBuffer: 1 << 26 })
  .split("\0")
  .filter((path) => path !== "" && statSync(join(root, path), { throwIfNoEntry: false })?.isFile())

describe("tracked files", () => {
  it("name no machine, no home folder and no package registry", () => {
    // Put together here, so that this file does not find itself.
    const machine = new RegExp(
      [
        "/wo" + "rk/",
        "/ro" + "ot/",
        "/ho" + "me/[a-z]",
        "/Us" + "ers/[A-Za-z]",
        "/tmp/ba" + "sh_jobs",
        "registry\\.np" + "mjs"
      ].join("|")
    )
    assert.isTrue(machine.test(`cd /wo${"rk/main"}`))
    assert.deepStrictEqual(
      tracked
        .filter((path) => !path.startsWith("test/vectors/") && !/\.(?:png|svg|ico|pdf)$/.test(path))
        .flatMap((path) =>
          read(path)
            .split("\n")
            .flatMap((line, index) =>
              machine.test(line) ? [`${path}:${index + 1}: ${line.trim().slice(0, 100)}`] : []
            )
        ),
      []
    )
  })

  it("hold no build output, packages or databases", () => {
    assert.deepStrictEqual(
      tracked.filter((path) => /(?:^|\/)(?:node_modules|dist|coverage)\/|\.(?:tgz|sqlite|db|log)$/.test(path)),
      []
    )
  })
})

describe("packages", () => {
  const manifest: Record<string, Record<string, string> | undefined> = JSON.parse(read("package.json"))
  interface Locked {
    readonly version?: string
    readonly integrity?: string
    readonly resolved?: string
    readonly optional?: boolean
    readonly os?: ReadonlyArray<string>
    readonly cpu?: ReadonlyArray<string>
    readonly libc?: ReadonlyArray<string>
    readonly optionalDependencies?: Readonly<Record<string, string>>
  }
  const lock: { packages: Readonly<Record<string, Locked>> } = JSON.parse(read("package-lock.json"))

  /** Built for another system than the ones the project brings a Node for. */
  const isForeign = (entry: Locked): boolean =>
    entry.optional === true &&
    (entry.os?.includes("linux") !== true ||
      entry.cpu?.some((cpu) => cpu === "x64" || cpu === "arm64") !== true ||
      entry.libc?.includes("glibc") === false)

  it("every dependency has one exact version", () => {
    for (const group of ["dependencies", "optionalDependencies", "devDependencies", "peerDependencies"]) {
      for (const [name, version] of Object.entries(manifest[group] ?? {})) {
        assert.match(version, /^\d+\.\d+\.\d+(?:-[\w.]+)?$/, `${group}: ${name}`)
      }
    }
  })

  it("the lockfile has a hash for every package that can be installed here, and an address for none", () => {
    const entries = Object.entries(lock.packages).filter(([path]) => path !== "")
    assert.isAbove(entries.length, 20)
    assert.deepStrictEqual(
      entries.filter(([, entry]) => !entry.integrity?.startsWith("sha512-") && !isForeign(entry)).map(([path]) => path),
      []
    )
    assert.deepStrictEqual(
      entries.filter(([, entry]) => entry.resolved !== undefined).map(([path]) => path),
      []
    )
  })

  it("the lockfile names every optional package, also those of other systems: npm ci refuses it otherwise", () => {
    assert.deepStrictEqual(
      Object.entries(lock.packages).flatMap(([path, entry]) =>
        Object.keys(entry.optionalDependencies ?? {})
          .filter((name) => {
            const locked = lock.packages[`${path}/node_modules/${name}`] ?? lock.packages[`node_modules/${name}`]
            return locked?.version === undefined
          })
          .map((name) => `${path} -> ${name}`)
      ),
      []
    )
  })

  it("install scripts are off", () => {
    assert.match(read(".npmrc"), /^ignore-scripts=true$/m)
  })

  it("no script of the project waits for a pre or post script, which npm leaves out when install scripts are off", () => {
    const names = Object.keys(manifest["scripts"] ?? {})
    assert.include(names, "start")
    assert.deepStrictEqual(
      names.filter((name) => /^(?:pre|post)/.test(name)),
      []
    )
  })
})

describe("documents", () => {
  it("the README shows the two commands", () => {
    assert.match(read("README.md"), /^\s*npm start\b/m)
    assert.match(read("README.md"), /^\s*npm test\b/m)
  })

  it("the change log has a section for what is not released yet", () => {
    assert.match(read("CHANGELOG.md"), /^## \[?Unreleased\]?/m)
  })

  it("both licences are there, and the package says so", () => {
    assert.match(read("LICENSE-MIT"), /^MIT License/)
    assert.match(read("LICENSE-APACHE"), /Apache License\s+Version 2\.0, January 2004/)
    assert.match(read("package.json"), /"license": "MIT OR Apache-2\.0"/)
  })

  it("relative links lead somewhere", () => {
    const broken = tracked
      .filter((path) => path.endsWith(".md") && !path.startsWith("test/"))
      .flatMap((path) =>
        [...read(path).matchAll(/\]\((?!https?:|mailto:|#)([^)#\s]+)[^)]*\)/g)]
          .filter(([, link = ""]) => statSync(join(root, path, "..", link), { throwIfNoEntry: false }) === undefined)
          .map(([, link]) => `${path}: ${link}`)
      )
    assert.deepStrictEqual(broken, [])
  })

  it("launchers and scripts can be run", () => {
    for (const path of ["bin/alknet", ".ci/run"]) {
      assert.isTrue((statSync(join(root, path)).mode & 0o111) !== 0, path)
    }
  })
})
