import * as fs from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import * as fc from "fast-check"
import * as FolderTree from "../../../src/layers/files/FolderTree.ts"
import * as MemoryTree from "../../../src/layers/files/MemoryTree.ts"
import { type FileError, FileTree, type OpenFlags } from "../../../src/services/FileTree.ts"

type Tree = FileTree["Service"]

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => {
    const folder = fs.mkdtempSync(join(tmpdir(), "alknet-model-"))
    // As the root of a tree in memory.
    fs.chmodSync(folder, 0o755)
    return folder
  }),
  (folder) => Effect.sync(() => fs.rmSync(folder, { recursive: true, force: true }))
)

const treeOf = (layer: Layer.Layer<FileTree, FileError>) =>
  Effect.map(Layer.build(layer), (context) => Context.get(context, FileTree))

const flags = fc.record<OpenFlags>({
  read: fc.constant(true),
  write: fc.constant(true),
  append: fc.boolean(),
  create: fc.boolean(),
  truncate: fc.boolean(),
  exclusive: fc.boolean()
})
const path = fc
  .array(fc.constantFrom("a", "b", "c", ".."), { minLength: 1, maxLength: 4 })
  .map((parts) => `/${parts.join("/")}`)
const target = fc.array(fc.constantFrom("a", "b", "..", "."), { minLength: 1, maxLength: 3 }).map((p) => p.join("/"))

type Step =
  | { readonly call: "write"; readonly path: string; readonly flags: OpenFlags; readonly offset: number }
  | { readonly call: "link"; readonly path: string; readonly target: string }
  | { readonly call: "rename" | "replace" | "hardLink"; readonly path: string; readonly to: string }
  | {
      readonly call: "mkdir" | "rmdir" | "remove" | "list" | "stat" | "read" | "real" | "change"
      readonly path: string
    }

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ call: fc.constant("write" as const), path, flags, offset: fc.nat(20) }),
  fc.record({ call: fc.constant("link" as const), path, target }),
  fc.record({ call: fc.constantFrom("rename", "replace", "hardLink"), path, to: path }),
  fc.record({
    call: fc.constantFrom("mkdir", "mkdir", "rmdir", "remove", "list", "stat", "read", "real", "change"),
    path
  })
)

const reading: OpenFlags = { read: true, write: false, append: false, create: false, truncate: false, exclusive: false }

const run = (tree: Tree, one: Step): Effect.Effect<unknown, FileError, Scope.Scope> => {
  switch (one.call) {
    case "write":
      return Effect.flatMap(tree.open(one.path, one.flags), (file) => file.write(one.offset, Buffer.from("text")))
    case "link":
      return tree.symbolicLink(one.target, one.path)
    case "rename":
    case "replace":
      return tree.rename(one.path, one.to, one.call === "replace")
    case "hardLink":
      return tree.hardLink(one.path, one.to)
    case "mkdir":
      return tree.makeDirectory(one.path, 0o700)
    case "rmdir":
      return tree.removeDirectory(one.path)
    case "remove":
      return tree.remove(one.path)
    case "list":
      return Effect.map(Effect.flatten(tree.list(one.path)), (entries) => entries.map(({ name }) => name).sort())
    case "stat":
      return Effect.map(tree.linkStat(one.path), ({ mode = 0, size }) => [mode, (mode & 0o170000) === 0o040000 || size])
    case "read":
      return Effect.map(
        Effect.flatMap(tree.open(one.path, reading), (file) => file.read(1, 10)),
        (bytes) => Buffer.from(bytes).toString()
      )
    case "real":
      return tree.realPath(one.path)
    case "change":
      return tree.setAttributes(one.path, { mode: 0o750, times: { accessed: 5, modified: 6 } })
  }
}

/** What came of it. Systems differ in which of several true reasons they name: only that it was refused counts. */
const outcome = (tree: Tree, one: Step) =>
  Effect.scoped(Effect.match(run(tree, one), { onSuccess: (value) => ["ok", value], onFailure: () => ["refused"] }))

describe("MemoryTree", () => {
  it.live("does what a folder does, whatever is asked of both", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 5, maxLength: 40 }), (steps) =>
          Effect.gen(function* () {
            const folder = yield* treeOf(FolderTree.layer(yield* temporaryFolder))
            const memory = yield* treeOf(MemoryTree.layer())
            for (const one of steps) {
              const [wanted, found] = [yield* outcome(folder, one), yield* outcome(memory, one)]
              assert.deepEqual(found, wanted, JSON.stringify(one))
            }
          }).pipe(Effect.scoped, Effect.runPromise)
        ),
        { numRuns: 300 }
      )
    )
  )

  it.effect("holds no more than it may, and has room again after a removal", () =>
    Effect.gen(function* () {
      const tree = yield* treeOf(MemoryTree.layer({ bytesMax: 1000 }))
      const write = (name: string, bytes: number) =>
        Effect.scoped(
          Effect.flatMap(tree.open(name, { ...reading, write: true, create: true }), (file) =>
            file.write(0, new Uint8Array(bytes))
          )
        )
      yield* write("/a", 600)
      yield* tree.hardLink("/a", "/b")
      assert.strictEqual((yield* Effect.flip(write("/c", 500))).reason, "NoSpace")
      yield* tree.remove("/a")
      assert.strictEqual((yield* Effect.flip(write("/c", 500))).reason, "NoSpace")
      yield* tree.remove("/b")
      yield* write("/c", 1000)
      yield* tree.setAttributes("/c", { size: 0 })
      yield* write("/d", 1000)
    })
  )
})
