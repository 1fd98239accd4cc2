import { chmodSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readConfig, writeConfigText } from "../../src/layers/ConfigFile.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-config-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

describe("the config file", () => {
  it.effect("is empty where there is none", () =>
    Effect.gen(function* () {
      assert.deepEqual(yield* readConfig(join(yield* folder, "alknet.toml")), {})
    })
  )

  it.effect("is written whole and for its owner alone; what is not valid is not written", () =>
    Effect.gen(function* () {
      const home = yield* folder
      const path = join(home, "alknet.toml")
      yield* writeConfigText(path, 'label = "a"\n')
      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      const error = yield* Effect.flip(writeConfigText(path, "label = 1\n"))
      assert.strictEqual(error._tag, "ConfigInvalid")
      assert.strictEqual(readFileSync(path, "utf8"), 'label = "a"\n')
      assert.deepEqual(readdirSync(home), ["alknet.toml"])
    })
  )

  it.effect("a folder, 64 KiB and bytes that are no text are refused with the reason", () =>
    Effect.gen(function* () {
      const home = yield* folder
      const path = join(home, "alknet.toml")
      const reason = Effect.map(Effect.flip(readConfig(path)), (error) =>
        error._tag === "ConfigFileError" ? error.reason : error._tag
      )
      mkdirSync(path)
      assert.strictEqual(yield* reason, "EISDIR")
      rmSync(path, { recursive: true })
      writeFileSync(path, "#".repeat(65_537))
      assert.strictEqual(yield* reason, "TooLarge")
      writeFileSync(path, Buffer.from([0x23, 0xff, 0xfe]))
      assert.strictEqual(yield* reason, "Encoding")
      chmodSync(path, 0o600)
    })
  )
})
