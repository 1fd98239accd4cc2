import { type ChildProcess, fork, spawnSync } from "node:child_process"
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync
} from "node:fs"
import { basename, dirname, join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Result } from "effect"
import { type FileSteps, type NewFile, nodeSteps } from "../../../src/layers/vault/FileSteps.ts"
import { fileStorage } from "../../../src/layers/vault/VaultStorage.ts"
import { VaultBusy, VaultExists, VaultInsecure, WrongPassphrase } from "../../../src/protocol/vault/VaultError.ts"
import type { Vault } from "../../../src/services/Vault.ts"
import { folder, PASSPHRASE, restoreAbandon, secret, vaultOf, vaultPath, watched } from "./fixture.ts"

const NEXT = "the next passphrase"
const change = (vault: Vault["Service"]) => vault.changePassphrase({ current: secret(PASSPHRASE), next: secret(NEXT) })

/** Which of the two passphrases opens the file. */
const opensWith = (path: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const opens: Array<string> = []
      for (const passphrase of [PASSPHRASE, NEXT]) {
        const vault = yield* vaultOf(watched(path).parts)
        const result = yield* Effect.result(vault.unlock(secret(passphrase)))
        if (Result.isSuccess(result)) opens.push(passphrase)
        else assert.deepStrictEqual(result.failure, new WrongPassphrase())
      }
      return opens
    })
  )

/** A locked vault at a new path. */
const existing = Effect.gen(function* () {
  const path = yield* vaultPath
  yield* Effect.scoped(Effect.flatMap(vaultOf(watched(path).parts), restoreAbandon))
  return path
})

/** The real steps, of which the one with this number and everything after it does not happen; undefined: all do. */
const breaking = (at: number | undefined, code: string | "killed") => {
  let count = 0
  const log: Array<string> = []
  const run = <A>(name: string, step: () => Promise<A>): Promise<A> => {
    const number = count++
    log.push(name)
    if (at === undefined || number < at) return step()
    // A failing disk fails one step and lets the clean-up work; a killed process does nothing any more.
    if (code !== "killed" && number > at) return step()
    return Promise.reject(Object.assign(new Error("not to be seen"), { code: code === "killed" ? "EKILLED" : code }))
  }
  const wrapFile = (file: NewFile): NewFile => ({
    write: (bytes) => run("write", () => file.write(bytes)),
    sync: () => run("sync", file.sync),
    close: () => file.close()
  })
  const steps: FileSteps = {
    makeFolder: (path) => run("makeFolder", () => nodeSteps.makeFolder(path)),
    create: (path) => run("create", () => nodeSteps.create(path).then(wrapFile)),
    link: (from, to) => run("link", () => nodeSteps.link(from, to)),
    rename: (from, to) => run("rename", () => nodeSteps.rename(from, to)),
    remove: (path) => run("remove", () => nodeSteps.remove(path)),
    list: (path) => run("list", () => nodeSteps.list(path)),
    exists: (path) => run("exists", () => nodeSteps.exists(path)),
    readSmall: (path) => run("readSmall", () => nodeSteps.readSmall(path)),
    syncFolder: (path) => run("syncFolder", () => nodeSteps.syncFolder(path))
  }
  return { steps, log }
}

const stepsOfChange = Effect.gen(function* () {
  const { log, steps } = breaking(undefined, "")
  const path = yield* existing
  yield* change(yield* vaultOf(watched(path, { storage: fileStorage(path, steps) }).parts))
  return log
})

it.live("VAULT-025 a write goes lock, temporary file, sync, publish, sync of the folder, unlock", () =>
  Effect.gen(function* () {
    const log = yield* stepsOfChange
    const lock = ["create", "write", "link", "remove"]
    const write = ["list", "create", "write", "sync", "rename", "syncFolder"]
    assert.deepStrictEqual(log, [...lock, ...write, "remove"])
  })
)

it.live.each(["ENOSPC", "EIO", "killed"])(
  "VAULT-026 after %s at any step exactly one passphrase opens the file",
  (code) =>
    Effect.gen(function* () {
      const steps = (yield* stepsOfChange).length
      let changed = 0
      for (let at = 0; at < steps; at++) {
        const path = yield* existing
        const vault = yield* vaultOf(watched(path, { storage: fileStorage(path, breaking(at, code).steps) }).parts)
        const exit = yield* Effect.exit(change(vault))
        const opens = yield* opensWith(path)
        assert.lengthOf(opens, 1, `step ${at}`)
        if (opens[0] === NEXT) changed++
        if (Exit.isSuccess(exit)) assert.deepStrictEqual(opens, [NEXT])
        else {
          const error = yield* Effect.flip(exit)
          assert.strictEqual(error._tag, "VaultIo")
          assert.notInclude(`${error} ${error.message} ${JSON.stringify(error)}`, dirname(path))
          if (error._tag === "VaultIo") assert.strictEqual(error.code, code === "killed" ? "EKILLED" : code)
        }
        // What was left behind hinders nobody: the lock is ours no more, and the next write cleans up.
        const [passphrase] = opens
        const next = yield* vaultOf(watched(path).parts)
        yield* next.changePassphrase({ current: secret(passphrase!), next: secret("the last passphrase") })
        assert.deepStrictEqual(readdirSync(dirname(path)), [basename(path)], `step ${at}`)
      }
      assert.isAbove(changed, 0)
      assert.isBelow(changed, steps)
    })
)

it.live("VAULT-026 a create that fails at any step leaves no vault or a whole one", () =>
  Effect.gen(function* () {
    for (let at = 0; at < 16; at++) {
      const path = yield* vaultPath
      const { steps } = breaking(at, "ENOSPC")
      const vault = yield* vaultOf(watched(path, { storage: fileStorage(path, steps) }).parts)
      yield* Effect.exit(restoreAbandon(vault))
      if (existsSync(path)) assert.deepStrictEqual(yield* opensWith(path), [PASSPHRASE], `step ${at}`)
      else yield* restoreAbandon(yield* vaultOf(watched(path).parts))
    }
  })
)

const withoutLinks = (code: string): FileSteps => ({
  ...nodeSteps,
  link: () => Promise.reject(Object.assign(new Error("no links"), { code }))
})

it.live.each(["EPERM", "ENOTSUP"])(
  "VAULT-024 where hard links give %s a vault is made all the same, and never over another",
  (code) =>
    Effect.gen(function* () {
      const path = yield* vaultPath
      const parts = watched(path, { storage: fileStorage(path, withoutLinks(code)) }).parts
      yield* restoreAbandon(yield* vaultOf(parts))
      assert.deepStrictEqual(yield* opensWith(path), [PASSPHRASE])
      const before = readFileSync(path)
      assert.deepStrictEqual(yield* Effect.flip(parts.storage.write("other", "create")), new VaultExists())
      assert.deepStrictEqual(readFileSync(path), before)
      assert.deepStrictEqual(readdirSync(dirname(path)), ["vault"])
    })
)

it.live("VAULT-024 of two writers of one new file the second finds it taken", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const storage = fileStorage(path)
    yield* storage.write("first", "create")
    assert.deepStrictEqual(yield* Effect.flip(storage.write("second", "create")), new VaultExists())
    assert.strictEqual(readFileSync(path, "utf8"), "first")
    assert.strictEqual(statSync(path).mode & 0o777, 0o600)
    assert.deepStrictEqual(readdirSync(dirname(path)), ["vault"])
  })
)

it.live("VAULT-025 the lock of a living process is busy, that of a dead one is taken over", () =>
  Effect.gen(function* () {
    const path = yield* existing
    const lock = `${path}.lock`
    const vault = yield* vaultOf(watched(path).parts)
    // Process 1 lives everywhere.
    writeFileSync(lock, "1\n")
    assert.deepStrictEqual(yield* Effect.flip(change(vault)), new VaultBusy())
    assert.strictEqual(readFileSync(lock, "utf8"), "1\n")
    const dead = spawnSync(process.execPath, ["-e", ""]).pid
    writeFileSync(lock, `${dead}\n`)
    yield* change(vault)
    assert.isFalse(existsSync(lock))
    // Our own number, from an earlier life.
    writeFileSync(lock, `${process.pid}\n`)
    yield* vault.changePassphrase({ current: secret(NEXT), next: secret(PASSPHRASE) })
    assert.deepStrictEqual(readdirSync(dirname(path)), ["vault"])
  })
)

it.live("VAULT-025 a lock without a pid is busy while it is young and taken over later", () =>
  Effect.gen(function* () {
    const path = yield* existing
    const vault = yield* vaultOf(watched(path).parts)
    writeFileSync(`${path}.lock`, "")
    assert.deepStrictEqual(yield* Effect.flip(change(vault)), new VaultBusy())
    const old = Date.now() / 1000 - 11
    utimesSync(`${path}.lock`, old, old)
    yield* change(vault)
  })
)

it.live("VAULT-025 two vaults of one process take turns or say that they are busy", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const create = Effect.scoped(Effect.flatMap(vaultOf(watched(path).parts), restoreAbandon))
    const results = yield* Effect.all(
      Array.from({ length: 8 }, () => Effect.result(create)),
      { concurrency: 8 }
    )
    assert.lengthOf(results.filter(Result.isSuccess), 1)
    for (const result of results) {
      if (Result.isFailure(result)) assert.include(["VaultBusy", "VaultExists"], result.failure._tag)
    }
    assert.deepStrictEqual(yield* opensWith(path), [PASSPHRASE])
  })
)

it.live("VAULT-023 nothing is written into a folder that others may write to", () =>
  Effect.gen(function* () {
    const home = join(yield* folder, "shared")
    mkdirSync(home)
    chmodSync(home, 0o777)
    const vault = yield* vaultOf(watched(join(home, "vault")).parts)
    assert.deepStrictEqual(yield* Effect.flip(restoreAbandon(vault)), new VaultInsecure({ reason: "directory" }))
    assert.deepStrictEqual(readdirSync(home), [])
  })
)

it.live("VAULT-023 a vault file that others may read, or in a folder that they may write to, is not opened", () =>
  Effect.gen(function* () {
    const path = yield* existing
    const vault = yield* vaultOf(watched(path).parts)
    for (const mode of [0o640, 0o604, 0o660]) {
      chmodSync(path, mode)
      assert.deepStrictEqual(
        yield* Effect.flip(vault.unlock(secret(PASSPHRASE))),
        new VaultInsecure({ reason: "mode" })
      )
      assert.deepStrictEqual(yield* Effect.flip(vault.status), new VaultInsecure({ reason: "mode" }))
    }
    chmodSync(path, 0o600)
    chmodSync(dirname(path), 0o770)
    assert.deepStrictEqual(
      yield* Effect.flip(vault.unlock(secret(PASSPHRASE))),
      new VaultInsecure({ reason: "directory" })
    )
    chmodSync(dirname(path), 0o700)
    yield* vault.unlock(secret(PASSPHRASE))
  })
)

/** Another process that runs `writer.ts`; it is killed with the scope. */
const writer = (...input: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => fork(join(import.meta.dirname, "writer.ts"), input, { stdio: "ignore", execArgv: [] })),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
const message = (child: ChildProcess) =>
  Effect.callback<unknown>((resume) => void child.once("message", (value) => resume(Effect.succeed(value))))
const ended = (child: ChildProcess) =>
  Effect.callback<void>((resume) =>
    child.exitCode === null && child.signalCode === null
      ? void child.once("exit", () => resume(Effect.void))
      : resume(Effect.void)
  )

it.live("VAULT-025 of two processes that create at once one wins", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const children = yield* Effect.all([writer("create", path), writer("create", path)])
    const answers = yield* Effect.all(children.map(message), { concurrency: 2 })
    assert.lengthOf(
      answers.filter((answer) => answer === "made"),
      1
    )
    for (const answer of answers) assert.include(["made", "VaultExists", "VaultBusy"], answer)
    assert.deepStrictEqual(yield* opensWith(path), [PASSPHRASE])
  }).pipe(Effect.scoped)
)

it.live(
  "VAULT-026 a process that is killed at any moment leaves a file that opens with exactly one of the passphrases",
  () =>
    Effect.gen(function* () {
      const path = yield* existing
      for (let round = 0; round < 12; round++) {
        yield* Effect.scoped(
          Effect.gen(function* () {
            const child = yield* writer("change for ever", path, PASSPHRASE, NEXT)
            yield* message(child)
            // It changes the passphrase there and back, each in a few milliseconds; the round decides when it is hit.
            yield* Effect.sleep(round * 1.7)
            child.kill("SIGKILL")
            yield* ended(child)
          })
        )
        assert.lengthOf(yield* opensWith(path), 1, `round ${round}`)
      }
      const [current] = yield* opensWith(path)
      const vault = yield* vaultOf(watched(path).parts)
      yield* vault.changePassphrase({ current: secret(current!), next: secret("the last passphrase") })
      assert.deepStrictEqual(readdirSync(dirname(path)), ["vault"])
    }),
  60_000
)
