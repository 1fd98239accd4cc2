import { lstatSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { assert, it } from "@effect/vitest"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Effect, Fiber, Redacted, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as FileVault from "../../../src/layers/vault/FileVault.ts"
import * as MemoryVault from "../../../src/layers/vault/MemoryVault.ts"
import { sealPayload } from "../../../src/layers/vault/Seal.ts"
import {
  AlreadyUnlocked,
  MnemonicInvalid,
  PassphraseRejected,
  VaultAbsent,
  VaultCorrupted,
  type VaultError,
  VaultExists,
  VaultLocked,
  VaultVersionUnsupported,
  WrongPassphrase
} from "../../../src/protocol/vault/VaultError.ts"
import { encodeZBase32 } from "../../../src/protocol/ZBase32.ts"
import { Vault, type VaultStatus } from "../../../src/services/Vault.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }
import { ABANDON, folder, isZero, PASSPHRASE, restoreAbandon, secret, vaultOf, vaultPath, watched } from "./fixture.ts"

const NODE = { _tag: "Node" } as const
const credential = { purpose: "credential", name: "openai" }
const v3 = JSON.stringify(vectors.blobs.v3.blob)
const keyHex = (vault: Vault["Service"]) =>
  Effect.scoped(Effect.map(vault.key(NODE), (pair) => bytesToHex(Redacted.value(pair.secret))))
const expectError = <A, E>(effect: Effect.Effect<A, E>, error: E) =>
  Effect.map(Effect.flip(effect), (found) => assert.deepStrictEqual(found, error))

it.live(
  "VAULT-014 VAULT-008 a created vault opens again with the same node id and keys, in a file for its user alone",
  () =>
    Effect.gen(function* () {
      const path = join(yield* folder, "new", "home", "vault")
      const first = yield* Effect.gen(function* () {
        const vault = yield* Vault
        assert.deepStrictEqual(yield* vault.status, { state: "Absent", weakKdf: false })
        const shown = yield* vault.create({
          passphrase: secret(PASSPHRASE),
          show: (words) => Effect.succeed(words.length)
        })
        assert.strictEqual(shown, 24)
        const pair = yield* Effect.scoped(vault.key(NODE))
        const { nodeId, state } = yield* vault.status
        assert.strictEqual(state, "Unlocked")
        assert.strictEqual(nodeId, encodeZBase32(pair.publicKey))
        return { nodeId, key: yield* keyHex(vault) }
      }).pipe(Effect.provide(FileVault.layer(path, { kdf: "test" })))

      assert.strictEqual(statSync(path).mode & 0o777, 0o600)
      assert.strictEqual(statSync(dirname(path)).mode & 0o777, 0o700)
      assert.lengthOf(readFileSync(path, "utf8").split("\n"), 4)

      yield* Effect.gen(function* () {
        const vault = yield* Vault
        assert.deepStrictEqual(yield* vault.status, { state: "Locked", nodeId: first.nodeId!, weakKdf: true })
        yield* vault.unlock(secret(PASSPHRASE))
        assert.strictEqual(yield* keyHex(vault), first.key)
        assert.strictEqual((yield* vault.status).nodeId, first.nodeId)
      }).pipe(Effect.provide(FileVault.layer(path, { kdf: "test" })))
    })
)

it.live("VAULT-002 vaults of every word count come back from the words that were shown", () =>
  Effect.forEach([12, 15, 18, 21, 24] as const, (words) =>
    Effect.gen(function* () {
      const vault = yield* vaultOf(watched(yield* vaultPath).parts)
      const mnemonic = yield* vault.create({
        passphrase: secret(PASSPHRASE),
        words,
        show: (shown) => Effect.succeed(shown.join(" "))
      })
      assert.lengthOf(mnemonic.split(" "), words)
      const again = yield* vaultOf(watched(yield* vaultPath).parts)
      yield* again.restore({ passphrase: secret("another one"), mnemonic: secret(mnemonic) })
      assert.strictEqual(yield* keyHex(again), yield* keyHex(vault))
      const revealed = yield* vault.reveal(secret(PASSPHRASE), (shown) => Effect.succeed(shown.join(" ")))
      assert.strictEqual(revealed, mnemonic)
    }).pipe(Effect.scoped)
  )
)

it.effect("VAULT-015 the vector opens, and the same salt, vector and time give the same bytes", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    writeFileSync(path, vectors.vaultFile.file, { mode: 0o600 })
    const opened = yield* vaultOf(watched(path).parts)
    yield* opened.unlock(secret(vectors.vaultFile.passphrase))
    assert.strictEqual(yield* keyHex(opened), vectors.paths.keys[0]!.secret)

    const random = {
      entropy: vectors.vaultFile.entropy,
      salt: "101112131415161718191a1b1c1d1e1f",
      iv: "202122232425262728292a2b"
    }
    const written: Array<string> = []
    const { parts } = watched(path, { random: (what) => hexToBytes(random[what]) })
    const storage = {
      read: Effect.succeedNone,
      exists: Effect.succeed(false),
      write: (text: string) => Effect.sync(() => void written.push(text))
    }
    const made = yield* vaultOf({ ...parts, storage })
    yield* TestClock.setTime(1_790_000_000_000)
    yield* made.create({ passphrase: secret(PASSPHRASE), words: 12, show: () => Effect.void })
    assert.deepStrictEqual(written, [vectors.vaultFile.file])
  })
)

it.live("VAULT-016 a wrong passphrase leaves the vault locked and the file as it was", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const vault = yield* vaultOf(watched(path).parts)
    yield* restoreAbandon(vault)
    yield* vault.lock
    const before = readFileSync(path)
    for (const wrong of ["wrong passphrase", "", "x".repeat(2000)]) {
      yield* expectError(vault.unlock(secret(wrong)), new WrongPassphrase())
    }
    yield* expectError(vault.unlock(Redacted.make(Uint8Array.of(0xff, 0xfe))), new WrongPassphrase())
    assert.strictEqual((yield* vault.status).state, "Locked")
    assert.deepStrictEqual(readFileSync(path), before)
  })
)

it.live("VAULT-017 VAULT-022 a damaged file, or one of a later version, says so and is left as it is", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const vault = yield* vaultOf(watched(path).parts)
    const cases: ReadonlyArray<readonly [string, VaultError]> = [
      ["", new VaultCorrupted({ field: "file" })],
      ["x".repeat(17 * 1024), new VaultCorrupted({ field: "file" })],
      [vectors.vaultFile.file.replace('"t":1', '"t":2'), new VaultCorrupted({ field: "checksum" })],
      [vectors.vaultFile.file.replace('"version":1', '"version":2'), new VaultVersionUnsupported({ version: 2 })]
    ]
    for (const [content, error] of cases) {
      writeFileSync(path, content, { mode: 0o600 })
      yield* expectError(vault.unlock(secret(PASSPHRASE)), error)
      yield* expectError<unknown, VaultError>(vault.status, error)
      assert.strictEqual(readFileSync(path, "utf8"), content)
    }
  })
)

it.live("a node id in the header that is not the one of the payload is damage", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const other = encodeZBase32(new Uint8Array(32).fill(9))
    const { parts } = watched(path)
    // Sealed whole, under a header that names another node.
    const payload = { entropy: new Uint8Array(16), mnemonicPassphrase: new Uint8Array(0) }
    const about = { nodeId: other, created: 1 }
    const text = yield* sealPayload(parts, new TextEncoder().encode(PASSPHRASE), payload, about)
    writeFileSync(path, text, { mode: 0o600 })
    const vault = yield* vaultOf(parts)
    yield* expectError(vault.unlock(secret(PASSPHRASE)), new VaultCorrupted({ field: "nodeId" }))
  })
)

it.live("VAULT-024 create and restore never touch what exists, whatever it is", () =>
  Effect.gen(function* () {
    const home = yield* folder
    writeFileSync(join(home, "file"), "mine")
    mkdirSync(join(home, "folder"))
    symlinkSync(join(home, "nowhere"), join(home, "link"))
    for (const name of ["file", "folder", "link"]) {
      const vault = yield* vaultOf(watched(join(home, name)).parts)
      const create = vault.create({ passphrase: secret(PASSPHRASE), show: () => Effect.die("words were shown") })
      yield* expectError(create, new VaultExists())
      yield* expectError(restoreAbandon(vault), new VaultExists())
    }
    assert.strictEqual(readFileSync(join(home, "file"), "utf8"), "mine")
    assert.isTrue(lstatSync(join(home, "folder")).isDirectory())
    assert.isTrue(lstatSync(join(home, "link")).isSymbolicLink())
  })
)

it.live("VAULT-027 the passphrase changes only with the right current one, under a new salt, and the keys stay", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const vault = yield* vaultOf(watched(path).parts)
    yield* restoreAbandon(vault)
    const key = yield* keyHex(vault)
    for (const state of ["Unlocked", "Locked"] as const) {
      if (state === "Locked") yield* vault.lock
      const before = readFileSync(path, "utf8")
      const current = secret(state === "Unlocked" ? PASSPHRASE : "the second one")
      const next = secret(state === "Unlocked" ? "the second one" : "the third one")
      yield* expectError(vault.changePassphrase({ current: secret("wrong one"), next }), new WrongPassphrase())
      assert.strictEqual(readFileSync(path, "utf8"), before)
      yield* vault.changePassphrase({ current, next })
      assert.strictEqual((yield* vault.status).state, state)
      const [old, now] = [before, readFileSync(path, "utf8")].map((text) => JSON.parse(text.split("\n")[0]!))
      assert.notStrictEqual(now.kdf.salt, old.kdf.salt)
      assert.notStrictEqual(now.cipher.iv, old.cipher.iv)
      assert.strictEqual(now.created, old.created)
    }
    yield* expectError(vault.unlock(secret("the second one")), new WrongPassphrase())
    yield* vault.unlock(secret("the third one"))
    assert.strictEqual(yield* keyHex(vault), key)
  })
)

it.live("VAULT-028 new passphrases have 8 code points to 1024 bytes, and their normalisation does not matter", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const vault = yield* vaultOf(watched(path).parts)
    const create = (passphrase: string) => vault.create({ passphrase: secret(passphrase), show: () => Effect.void })
    // Seven code points of four bytes each.
    for (const short of ["1234567", "\u{1F512}".repeat(7), ""]) {
      yield* expectError<void, VaultError>(create(short), new PassphraseRejected({ reason: "short" }))
    }
    yield* expectError<void, VaultError>(create("x".repeat(1025)), new PassphraseRejected({ reason: "long" }))
    const latin1 = vault.create({ passphrase: Redacted.make(new Uint8Array(9).fill(0xe9)), show: () => Effect.void })
    yield* expectError<void, VaultError>(latin1, new PassphraseRejected({ reason: "encoding" }))
    assert.strictEqual((yield* vault.status).state, "Absent")
    yield* create("caf\u00e9 au lait")
    yield* vault.lock
    yield* vault.unlock(secret("cafe\u0301 au lait"))
    const change = (next: string) =>
      vault.changePassphrase({ current: secret("caf\u00e9 au lait"), next: secret(next) })
    yield* expectError(change("1234567"), new PassphraseRejected({ reason: "short" }))
    yield* change("x".repeat(1024))
  })
)

it.live("VAULT-009 the mnemonic passphrase is kept with the vault and is another secret than its passphrase", () =>
  Effect.gen(function* () {
    const path = yield* vaultPath
    const vault = yield* vaultOf(watched(path).parts)
    yield* vault.restore({
      passphrase: secret(PASSPHRASE),
      mnemonic: secret(ABANDON),
      mnemonicPassphrase: secret("TREZOR")
    })
    const key = yield* keyHex(vault)
    assert.notStrictEqual(key, vectors.paths.keys[0]!.secret)
    yield* vault.lock
    yield* expectError(vault.unlock(secret("TREZOR")), new WrongPassphrase())
    yield* vault.unlock(secret(PASSPHRASE))
    assert.strictEqual(yield* keyHex(vault), key)
  })
)

/** What each operation answers in each state: an error, or the state after it. */
const table: ReadonlyArray<
  readonly [
    string,
    (vault: Vault["Service"]) => Effect.Effect<unknown, VaultError>,
    ...Array<VaultError | VaultStatus["state"]>
  ]
> = [
  [
    "create",
    (v) => v.create({ passphrase: secret(PASSPHRASE), show: () => Effect.void }),
    "Unlocked",
    new VaultExists(),
    new VaultExists()
  ],
  ["restore", restoreAbandon, "Unlocked", new VaultExists(), new VaultExists()],
  ["unlock", (v) => v.unlock(secret(PASSPHRASE)), new VaultAbsent(), "Unlocked", new AlreadyUnlocked()],
  ["lock", (v) => v.lock, "Absent", "Locked", "Locked"],
  [
    "changePassphrase",
    (v) => v.changePassphrase({ current: secret(PASSPHRASE), next: secret("a new passphrase") }),
    new VaultAbsent(),
    "Locked",
    "Unlocked"
  ],
  ["reveal", (v) => v.reveal(secret(PASSPHRASE), () => Effect.void), new VaultAbsent(), "Locked", "Unlocked"],
  ["key", (v) => Effect.scoped(v.key(NODE)), new VaultAbsent(), new VaultLocked(), "Unlocked"],
  ["encrypt", (v) => v.encrypt(credential, secret("x")), new VaultAbsent(), new VaultLocked(), "Unlocked"],
  ["decrypt", (v) => v.decrypt(credential, v3), new VaultAbsent(), new VaultLocked(), "Unlocked"],
  ["rotate", (v) => v.rotate(credential, v3, 4), new VaultAbsent(), new VaultLocked(), "Unlocked"]
]

it.live.each(table)("VAULT-029 %s in each state", ([name, run, ...answers]) =>
  Effect.forEach(["Absent", "Locked", "Unlocked"] as const, (state, column) =>
    Effect.gen(function* () {
      const vault = yield* vaultOf(watched(yield* vaultPath).parts)
      if (state !== "Absent") yield* restoreAbandon(vault)
      if (state === "Locked") yield* vault.lock
      const answer = answers[column]!
      if (typeof answer === "string") {
        yield* run(vault)
        assert.strictEqual((yield* vault.status).state, answer, `${name} in ${state}`)
      } else {
        assert.deepStrictEqual(yield* Effect.flip(run(vault)), answer, `${name} in ${state}`)
        assert.strictEqual((yield* vault.status).state, state, `${name} in ${state}`)
      }
    }).pipe(Effect.scoped)
  )
)

it.live("VAULT-029 unlocking twice runs no second KDF", () =>
  Effect.gen(function* () {
    const look = watched(yield* vaultPath)
    const vault = yield* vaultOf(look.parts)
    yield* restoreAbandon(vault)
    const before = look.derivations
    yield* expectError(vault.unlock(secret("anything")), new AlreadyUnlocked())
    assert.strictEqual(look.derivations, before)
  })
)

it.live("words that cannot be shown leave no vault behind, and a count that does not exist is refused", () =>
  Effect.gen(function* () {
    const look = watched(yield* vaultPath)
    const vault = yield* vaultOf(look.parts)
    const failing = vault.create({
      passphrase: secret(PASSPHRASE),
      show: () => Effect.fail("closed the window" as const)
    })
    assert.strictEqual(yield* Effect.flip(failing), "closed the window")
    assert.strictEqual((yield* vault.status).state, "Absent")
    assert.isTrue(look.buffers.every(isZero))
    const odd = vault.create({ passphrase: secret(PASSPHRASE), words: 13 as 12, show: () => Effect.void })
    yield* expectError<void, VaultError>(odd, new MnemonicInvalid({ reason: "count" }))
  })
)

it.live("changes give the state now and every one after it", () =>
  Effect.gen(function* () {
    const vault = yield* vaultOf(watched(yield* vaultPath).parts)
    const seen = yield* Effect.forkChild(
      vault.changes.pipe(
        Stream.map(({ state }) => state),
        Stream.take(4),
        Stream.runCollect
      ),
      { startImmediately: true }
    )
    yield* restoreAbandon(vault)
    yield* vault.lock
    yield* vault.unlock(secret(PASSPHRASE))
    assert.deepStrictEqual(yield* Fiber.join(seen), ["Absent", "Unlocked", "Locked", "Unlocked"])
  })
)

it.live("the memory vault starts unlocked with its mnemonic and can be locked and unlocked", () =>
  Effect.gen(function* () {
    const vault = yield* Vault
    assert.strictEqual(yield* keyHex(vault), vectors.paths.keys[0]!.secret)
    yield* vault.lock
    yield* expectError(keyHex(vault), new VaultLocked())
    yield* vault.unlock(secret("alknet-test"))
    assert.strictEqual(yield* keyHex(vault), vectors.paths.keys[0]!.secret)
  }).pipe(Effect.provide(MemoryVault.layer(ABANDON)))
)
