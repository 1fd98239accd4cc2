import { mkdtempSync, renameSync, rmSync, utimesSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { changed, lookAt } from "../../src/layers/moduleWatch.ts"

const arrange = Effect.gen(function* () {
  const folder = yield* Effect.acquireRelease(
    Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-watch-"))),
    (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
  )
  const file = join(folder, "a.ts")
  writeFileSync(file, "one")
  return { folder, file }
})

describe("a change of a file", () => {
  it.live("is seen when it is written, and when another takes its place by a rename as editors do", () =>
    Effect.gen(function* () {
      const { file, folder } = yield* arrange
      const written = yield* Effect.forkChild(changed(yield* lookAt([file])), { startImmediately: true })
      writeFileSync(file, "three")
      yield* Fiber.join(written)
      const renamed = yield* Effect.forkChild(changed(yield* lookAt([file])), { startImmediately: true })
      writeFileSync(join(folder, "new"), "three")
      renameSync(join(folder, "new"), file)
      yield* Fiber.join(renamed)
    })
  )

  it.live("that came before anybody waited is seen too, also the end of the file", () =>
    Effect.gen(function* () {
      const { file } = yield* arrange
      const look = yield* lookAt([file])
      rmSync(file)
      yield* changed(look)
      const absent = yield* lookAt([file])
      writeFileSync(file, "back")
      yield* changed(absent)
    })
  )

  it.live("is none where only something beside it changes, unless the folder is looked at", () =>
    Effect.gen(function* () {
      const { file, folder } = yield* arrange
      const alone = yield* Effect.forkChild(changed(yield* lookAt([file])), { startImmediately: true })
      const both = yield* Effect.forkChild(changed(yield* lookAt([file, folder])), { startImmediately: true })
      writeFileSync(join(folder, "b.ts"), "beside")
      yield* Fiber.join(both)
      assert.isUndefined(alone.pollUnsafe())
      utimesSync(file, 1, 1)
      yield* Fiber.join(alone)
    })
  )
})
