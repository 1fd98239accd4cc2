import { execFileSync } from "node:child_process"
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { PassThrough } from "node:stream"
import { assert, it } from "@effect/vitest"
import { Effect, Redacted, type Scope } from "effect"
import { readSecretFile, readSecretStream, SECRET_MAX_BYTES } from "../../../src/layers/vault/SecretFile.ts"
import { readSecureFile } from "../../../src/layers/vault/SecureFile.ts"
import type { Secret } from "../../../src/services/Vault.ts"

const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-secret-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)
const text = (secret: Secret) => new TextDecoder().decode(Redacted.value(secret))
const written = (content: string, mode = 0o600) =>
  Effect.map(folder, (home) => {
    const path = join(home, "secret")
    writeFileSync(path, content, { mode })
    chmodSync(path, mode)
    return path
  })

it.live.each([
  ["plain", "plain"],
  ["line\n", "line"],
  ["line\r\n", "line"],
  ["x\r\n\n", "x\r\n"],
  ["cr\r", "cr\r"],
  [" spaces \n", " spaces "],
  ["\n", ""],
  ["", ""]
] as const)("VAULT-046 of %j exactly one line end is removed", ([content, expected]) =>
  Effect.gen(function* () {
    assert.strictEqual(text(yield* readSecretFile(yield* written(content))), expected)
  })
)

it.live.each([0o644, 0o640, 0o604, 0o601])("VAULT-046 a secret file of mode %o is refused", (mode) =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(readSecretFile(yield* written("x", mode)))
    assert.deepInclude(error, { _tag: "VaultInsecure", reason: "mode", subject: "secret file" })
  })
)

it.live("VAULT-023 a link, a folder and a pipe are refused, and the pipe does not block", () =>
  Effect.gen(function* () {
    const home = yield* folder
    writeFileSync(join(home, "secret"), "x", { mode: 0o600 })
    symlinkSync(join(home, "secret"), join(home, "link"))
    mkdirSync(join(home, "folder"))
    execFileSync("mkfifo", ["-m", "600", join(home, "pipe")])
    for (const name of ["link", "folder", "pipe"]) {
      const error = yield* Effect.flip(readSecretFile(join(home, name)))
      assert.deepInclude(error, { _tag: "VaultInsecure", reason: "type" }, name)
    }
  })
)

it.live("VAULT-023 a file of another user is refused", () =>
  Effect.gen(function* () {
    const path = yield* written("x")
    const other = process.getuid!() + 1
    const error = yield* Effect.flip(readSecureFile(path, { maxBytes: 10, owner: other }))
    assert.deepInclude(error, { _tag: "VaultInsecure", reason: "owner" })
    if (process.getuid!() === 0) {
      chownSync(path, other, other)
      assert.deepInclude(yield* Effect.flip(readSecretFile(path)), { _tag: "VaultInsecure", reason: "owner" })
    }
  })
)

it.live.each([0o720, 0o702])("VAULT-023 a file in a folder of mode %o is refused", (mode) =>
  Effect.gen(function* () {
    const home = yield* folder
    writeFileSync(join(home, "secret"), "x", { mode: 0o600 })
    chmodSync(home, mode)
    const error = yield* Effect.flip(readSecretFile(join(home, "secret")))
    assert.deepInclude(error, { _tag: "VaultInsecure", reason: "directory" })
  })
)

it.live("a missing file is an error of the file system, with the code and without the path", () =>
  Effect.gen(function* () {
    const error = yield* Effect.flip(readSecretFile("/does-not-exist/secret"))
    assert.deepInclude(error, { _tag: "VaultIo", step: "open", code: "ENOENT" })
    assert.notInclude(`${error.message} ${error.hint} ${JSON.stringify(error)}`, "does-not-exist")
  })
)

it.live("a secret file has a bound", () =>
  Effect.gen(function* () {
    const fits = yield* readSecretFile(yield* written("x".repeat(SECRET_MAX_BYTES)))
    assert.lengthOf(Redacted.value(fits), SECRET_MAX_BYTES)
    const error = yield* Effect.flip(readSecretFile(yield* written("x".repeat(SECRET_MAX_BYTES + 1))))
    assert.deepInclude(error, { _tag: "VaultIo", step: "read", code: "EFBIG" })
  })
)

it.live("VAULT-046 standard input is read to its end under the same rule, and its chunks are wiped", () =>
  Effect.gen(function* () {
    const input = new PassThrough()
    const chunks = [Buffer.from("pass"), Buffer.from("word\n\r\n")]
    for (const chunk of chunks) input.write(chunk)
    input.end()
    assert.strictEqual(text(yield* readSecretStream(input)), "password\n")
    assert.isTrue(chunks.every((chunk) => chunk.every((byte) => byte === 0)))
    assert.strictEqual(text(yield* readSecretStream(input)), "", "read again after its end")
  })
)

it.live("a broken or endless standard input is an error", () =>
  Effect.gen(function* () {
    const broken = new PassThrough()
    broken.destroy(Object.assign(new Error("secret text"), { code: "EIO" }))
    assert.deepInclude(yield* Effect.flip(readSecretStream(broken)), { _tag: "VaultIo", code: "EIO" })
    const endless = new PassThrough({ highWaterMark: 1 << 20 })
    endless.write(new Uint8Array(SECRET_MAX_BYTES + 1))
    assert.deepInclude(yield* Effect.flip(readSecretStream(endless)), { _tag: "VaultIo", code: "EFBIG" })
  })
)
