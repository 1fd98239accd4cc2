import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Worker } from "node:worker_threads"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, type Scope } from "effect"
import * as fc from "fast-check"
import * as FolderTree from "../../../src/layers/files/FolderTree.ts"
import { type FileError, FileTree, type OpenFlags } from "../../../src/services/FileTree.ts"

const SECRET = "what is outside"

const reading: OpenFlags = { read: true, write: false, append: false, create: false, truncate: false, exclusive: false }
const writing: OpenFlags = { ...reading, write: true, create: true }

/** A folder that is the tree, beside one with a secret that nothing may reach. */
const withTree = Effect.gen(function* () {
  const base = yield* Effect.acquireRelease(
    Effect.sync(() => fs.mkdtempSync(join(fs.realpathSync(tmpdir()), "alknet-tree-"))),
    (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
  )
  const outside = join(base, "outside")
  const folder = join(base, "folder")
  fs.mkdirSync(outside)
  fs.mkdirSync(folder)
  fs.writeFileSync(join(outside, "secret"), SECRET)
  const tree = Context.get(yield* Layer.build(FolderTree.layer(folder)), FileTree)
  return { tree, folder, outside, base }
})

type Tree = FileTree["Service"]

const read = (tree: Tree, path: string) =>
  Effect.scoped(
    Effect.flatMap(tree.open(path, reading), (file) =>
      Effect.map(file.read(0, 1000), (bytes) => Buffer.from(bytes).toString())
    )
  )
const write = (tree: Tree, path: string, text: string, flags = writing) =>
  Effect.scoped(Effect.flatMap(tree.open(path, flags), (file) => file.write(0, Buffer.from(text))))
const names = (tree: Tree, path: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const next = yield* tree.list(path)
      const all: Array<string> = []
      for (let batch = yield* next; batch.length > 0; batch = yield* next) all.push(...batch.map(({ name }) => name))
      return all.sort()
    })
  )
const reasonOf = <A>(effect: Effect.Effect<A, FileError, Scope.Scope>) =>
  Effect.scoped(
    Effect.match(effect, {
      onSuccess: () => "ok",
      onFailure: (error) => error.reason as string
    })
  )

describe("FolderTree", () => {
  it.live("files and directories are made, read, changed, moved and removed", () =>
    Effect.gen(function* () {
      const { folder, tree } = yield* withTree
      yield* tree.makeDirectory("/a")
      yield* write(tree, "/a/one", "first")
      assert.strictEqual(yield* read(tree, "a/../a/./one"), "first")
      yield* write(tree, "/a/one", " more", { ...writing, append: true })
      assert.strictEqual(yield* read(tree, "/a/one"), "first more")
      yield* tree.setAttributes("/a/one", { size: 5, mode: 0o104600, times: { accessed: 10, modified: 20 } })
      const { mode, size, times } = yield* tree.stat("/a/one")
      // Set-user-id was asked for and is not there.
      assert.deepStrictEqual([mode, size, times], [0o100600, 5, { accessed: 10, modified: 20 }])
      yield* write(tree, "/a/two", "second")
      assert.strictEqual(yield* reasonOf(tree.rename("/a/one", "/a/two", false)), "Exists")
      yield* tree.rename("/a/one", "/a/two", true)
      assert.strictEqual(yield* read(tree, "/a/two"), "first")
      yield* tree.hardLink("/a/two", "/three")
      yield* tree.symbolicLink("a/two", "/link")
      assert.strictEqual(yield* read(tree, "/link"), "first")
      assert.strictEqual(yield* tree.readLink("/link"), "a/two")
      assert.strictEqual(yield* tree.realPath("/link"), "/a/two")
      assert.deepStrictEqual(yield* names(tree, "/"), ["a", "link", "three"])
      assert.strictEqual(yield* reasonOf(tree.removeDirectory("/a")), "NotEmpty")
      yield* tree.remove("/a/two")
      yield* tree.rename("/a", "/b", false)
      yield* tree.removeDirectory("/b")
      assert.deepStrictEqual(fs.readdirSync(folder).sort(), ["link", "three"])
      assert.isAbove((yield* tree.space("/")).blocks, 0)
    })
  )

  it.live("every refusal says why, with the path as it was asked", () =>
    Effect.gen(function* () {
      const { folder, tree } = yield* withTree
      fs.writeFileSync(join(folder, "file"), "")
      fs.symlinkSync("loop", join(folder, "loop"))
      const refusals = {
        missing: tree.stat("/missing"),
        under: tree.stat("/file/x"),
        loop: tree.stat("/loop"),
        control: tree.stat("/a\u001b[2Jb"),
        long: tree.stat(`/${"x".repeat(256)}`),
        deep: tree.stat("/a".repeat(300)),
        root: tree.removeDirectory("/"),
        rootUp: tree.remove("/../.."),
        directory: Effect.asVoid(tree.open("/", reading)),
        taken: Effect.asVoid(tree.open("/file", { ...writing, exclusive: true })),
        listed: Effect.asVoid(tree.list("/file"))
      }
      const found = yield* Effect.all(
        Object.fromEntries(Object.entries(refusals).map(([name, effect]) => [name, reasonOf(Effect.asVoid(effect))]))
      )
      assert.deepStrictEqual(found, {
        missing: "NotFound",
        under: "NotDirectory",
        loop: "Loop",
        control: "BadName",
        long: "BadName",
        deep: "BadName",
        root: "Denied",
        rootUp: "Denied",
        directory: "IsDirectory",
        taken: "Exists",
        listed: "NotDirectory"
      })
      const error = yield* Effect.flip(tree.stat("/missing"))
      assert.strictEqual(error.path, "/missing")
    })
  )

  it.live("links lead on inside and never out", () =>
    Effect.gen(function* () {
      const { base, folder, outside, tree } = yield* withTree
      fs.mkdirSync(join(folder, "in/deep"), { recursive: true })
      fs.writeFileSync(join(folder, "in/deep/file"), "inside")
      const links: ReadonlyArray<readonly [target: string, found: string]> = [
        ["in/deep", "inside"],
        [join(folder, "in/deep"), "inside"],
        [`${folder}/in/../in/deep`, "inside"],
        ["../outside", "Denied"],
        [outside, "Denied"],
        [`${folder}/../outside`, "Denied"],
        [`${base}/folder2`, "Denied"],
        ["/", "Denied"],
        ["in/../../outside", "Denied"],
        ["/proc/self/cwd", "Denied"]
      ]
      for (const [target, found] of links) {
        fs.symlinkSync(target, join(folder, "link"))
        const name = found === "inside" ? "/link/file" : "/link/secret"
        const got = yield* Effect.catch(read(tree, name), ({ reason }) => Effect.succeed<string>(reason))
        assert.strictEqual(got, found, target)
        fs.unlinkSync(join(folder, "link"))
      }
      // A name that must be free is not, also where its link leads to nothing.
      fs.symlinkSync("nothing", join(folder, "dangling"))
      assert.strictEqual(yield* reasonOf(write(tree, "/dangling", "x", { ...writing, exclusive: true })), "Exists")
      assert.strictEqual(yield* reasonOf(write(tree, "/dangling", "x")), "ok")
      assert.strictEqual(yield* read(tree, "/nothing"), "x")
      // A dangling link is no way to make a file outside.
      fs.symlinkSync("../outside/new", join(folder, "out"))
      assert.strictEqual(yield* reasonOf(write(tree, "/out", "x")), "Denied")
      assert.deepStrictEqual(fs.readdirSync(outside), ["secret"])
    })
  )

  it.live("links that lead up and down a thousand times hold no more than the way is deep", () =>
    Effect.gen(function* () {
      const { folder, tree } = yield* withTree
      fs.mkdirSync(join(folder, "a"))
      fs.symlinkSync(`${"a/../".repeat(800)}a`, join(folder, "up-and-down"))
      let most = 0
      const watch = Effect.sync(() => {
        most = Math.max(most, fs.readdirSync("/dev/fd").length)
      })
      const before = fs.readdirSync("/dev/fd").length
      const watching = yield* Effect.forkChild(Effect.forever(watch))
      assert.strictEqual(yield* tree.realPath("/up-and-down"), "/a")
      yield* Fiber.interrupt(watching)
      assert.isAtMost(most, before + 16)
      assert.isAtMost(fs.readdirSync("/dev/fd").length, before)
    })
  )

  it.live("devices, fifos and sockets are not touched", () =>
    Effect.gen(function* () {
      const { folder, tree } = yield* withTree
      const { execFileSync } = yield* Effect.promise(() => import("node:child_process"))
      execFileSync("mkfifo", [join(folder, "fifo")])
      for (const flags of [reading, writing]) {
        assert.strictEqual(yield* reasonOf(Effect.asVoid(tree.open("/fifo", flags))), "Denied")
      }
    })
  )

  it.live("random trees full of links and random calls: nothing outside is read or changed", () =>
    Effect.gen(function* () {
      const { base, folder, outside, tree } = yield* withTree
      const part = fc.constantFrom("a", "b", "c", "..", ".", "secret", "outside")
      const path = fc.array(part, { maxLength: 5 }).map((parts) => `/${parts.join("/")}`)
      const target = fc.oneof(
        path.map((text) => text.slice(1) || "."),
        path.map((text) => `..${text}`),
        path.map((text) => `${base}${text}`),
        path.map((text) => `${folder}${text}`)
      )
      const step = fc.oneof(
        fc.record({ call: fc.constant("link" as const), path, target }),
        fc.record({
          call: fc.constantFrom("read", "write", "mkdir", "rmdir", "remove", "list", "stat", "chmod", "real"),
          path
        }),
        fc.record({ call: fc.constantFrom("rename", "hardLink"), path, to: path })
      )
      const act = (one: {
        readonly call: string
        readonly path: string
        readonly target?: string
        readonly to?: string
      }) => {
        const { call, path, target = "", to = "/" } = one
        switch (call) {
          case "link":
            return tree.symbolicLink(target, path)
          case "read":
            return Effect.map(read(tree, path), (text) => assert.notInclude(text, SECRET))
          case "write":
            return write(tree, path, "x", { ...writing, truncate: true })
          case "mkdir":
            return tree.makeDirectory(path)
          case "rmdir":
            return tree.removeDirectory(path)
          case "remove":
            return tree.remove(path)
          case "list":
            return Effect.asVoid(names(tree, path))
          case "chmod":
            return tree.setAttributes(path, { mode: 0o700, times: { accessed: 1, modified: 1 } })
          case "real":
            return Effect.map(tree.realPath(path), (real) => assert.notInclude(real, ".."))
          case "rename":
            return tree.rename(path, to, true)
          case "hardLink":
            return tree.hardLink(path, to)
          default:
            return Effect.asVoid(tree.stat(path))
        }
      }
      const before = fs.statSync(outside)
      yield* Effect.promise(() =>
        fc.assert(
          fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 30 }), async (steps) => {
            for (const one of steps)
              await Effect.runPromise(
                Effect.exit(act(one)).pipe(
                  Effect.flatMap((exit) =>
                    exit._tag === "Failure" && exit.cause.reasons.some((reason) => reason._tag === "Die")
                      ? Effect.failCause(exit.cause)
                      : Effect.void
                  )
                )
              )
            assert.strictEqual(fs.readFileSync(join(outside, "secret"), "utf8"), SECRET)
            assert.deepStrictEqual(fs.readdirSync(outside), ["secret"])
            assert.deepStrictEqual(fs.readdirSync(base).sort(), ["folder", "outside"])
            assert.strictEqual(fs.statSync(outside).mtimeMs, before.mtimeMs)
            for (const name of fs.readdirSync(folder)) fs.rmSync(join(folder, name), { recursive: true, force: true })
          }),
          { numRuns: 200 }
        )
      )
    })
  )

  it.live("a directory that is swapped with a link to the outside all the time never leads there", () =>
    Effect.gen(function* () {
      const { folder, outside, tree } = yield* withTree
      fs.mkdirSync(join(folder, "real"))
      fs.writeFileSync(join(folder, "real/secret"), "harmless")
      fs.symlinkSync(outside, join(folder, "bad"))
      const swaps = yield* swapping(folder)
      const end = performance.now() + 1500
      const seen = new Set<string>()
      let calls = 0
      while (performance.now() < end) {
        const steps = [
          read(tree, "/a/secret"),
          Effect.map(tree.stat("/a/secret"), ({ size }) => `size ${size}`),
          Effect.map(names(tree, "/a"), (all) => all.join(" ")),
          Effect.as(write(tree, "/a/made", "x"), "wrote"),
          Effect.as(tree.setAttributes("/a/secret", { mode: 0o600 }), "changed")
        ]
        for (const step of steps) {
          seen.add(yield* Effect.catch(step, ({ reason }) => Effect.succeed<string>(reason)))
          calls++
        }
      }
      assert.notInclude([...seen], SECRET)
      assert.notInclude([...seen], `size ${SECRET.length}`)
      assert.deepStrictEqual(fs.readdirSync(outside), ["secret"])
      assert.strictEqual(fs.readFileSync(join(outside, "secret"), "utf8"), SECRET)
      assert.strictEqual(fs.statSync(join(outside, "secret")).mode & 0o777, 0o644)
      // Both sides of the swap were met.
      assert.include([...seen], "harmless")
      assert.include([...seen], "Denied")
      assert.isAbove(swaps(), 100)
      assert.isAbove(calls, 100)
    })
  )
})

/** Swaps `a` between a directory and a link to the outside, in a thread of its own. */
const swapping = (folder: string) =>
  Effect.gen(function* () {
    const counter = new Int32Array(new SharedArrayBuffer(4))
    const code = `
      const { renameSync } = require("node:fs")
      const { workerData: { folder, counter } } = require("node:worker_threads")
      const a = folder + "/a"
      for (;;) {
        try {
          renameSync(folder + "/real", a)
          renameSync(a, folder + "/real")
          renameSync(folder + "/bad", a)
          renameSync(a, folder + "/bad")
          Atomics.add(counter, 0, 1)
        } catch {}
      }`
    yield* Effect.acquireRelease(
      Effect.sync(() => new Worker(code, { eval: true, workerData: { folder, counter } })),
      (worker) => Effect.promise(() => worker.terminate())
    )
    return () => Atomics.load(counter, 0)
  })
