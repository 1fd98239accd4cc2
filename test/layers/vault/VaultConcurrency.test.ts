import { assert, it } from "@effect/vitest"
import { bytesToHex } from "@noble/hashes/utils.js"
import { Deferred, Duration, Effect, Exit, Fiber, Layer, Redacted, Result, Scope } from "effect"
import { TestClock } from "effect/testing"
import { systemParts } from "../../../src/layers/vault/FileVault.ts"
import { CACHE_MILLIS } from "../../../src/layers/vault/KeyCache.ts"
import { memoryStorage } from "../../../src/layers/vault/VaultStorage.ts"
import { AlreadyUnlocked, VaultAbsent, VaultLocked, WrongPassphrase } from "../../../src/protocol/vault/VaultError.ts"
import { Vault } from "../../../src/services/Vault.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }
import { isZero, layerOf, PASSPHRASE, restoreAbandon, secret, vaultOf, watched } from "./fixture.ts"

const NODE = { _tag: "Node" } as const
const nodeSecret = vectors.paths.keys[0]!.secret
const inMemory = () => watched("/unused", { storage: memoryStorage() })

/** A vault that is locked, whose KDF begins with telling so and ends when it is let. */
const gated = Effect.gen(function* () {
  const began = yield* Deferred.make<void>()
  const gate = yield* Deferred.make<void>()
  let gates = false
  const look = watched("/unused", {
    storage: memoryStorage(),
    deriveKey: (...input) =>
      Effect.suspend(() =>
        gates
          ? Deferred.succeed(began, undefined).pipe(
              Effect.andThen(Deferred.await(gate)),
              Effect.andThen(systemParts.deriveKey(...input))
            )
          : systemParts.deriveKey(...input)
      )
  })
  const vault = yield* vaultOf(look.parts)
  yield* restoreAbandon(vault)
  yield* vault.lock
  gates = true
  return { ...look, vault, began: Deferred.await(began), release: Deferred.succeed(gate, undefined) }
})

it.live("VAULT-030 of two unlocks at once one succeeds and the other finds it unlocked", () =>
  Effect.gen(function* () {
    const { parts } = inMemory()
    const vault = yield* vaultOf(parts)
    yield* restoreAbandon(vault)
    yield* vault.lock
    const unlock = Effect.result(vault.unlock(secret(PASSPHRASE)))
    const [first, second] = yield* Effect.all([unlock, unlock], { concurrency: 2 })
    assert.isTrue(Result.isSuccess(first))
    assert.deepStrictEqual(second, Result.fail(new AlreadyUnlocked()))
  })
)

it.live("VAULT-030 lock during unlock ends it with VaultLocked and everything wiped", () =>
  Effect.gen(function* () {
    const { began, buffers, vault } = yield* gated
    const unlocking = yield* Effect.forkChild(Effect.result(vault.unlock(secret(PASSPHRASE))))
    yield* began
    yield* vault.lock
    assert.isTrue(buffers.every(isZero))
    assert.deepStrictEqual(yield* Fiber.join(unlocking), Result.fail(new VaultLocked()))
    assert.strictEqual((yield* vault.status).state, "Locked")
  })
)

it.live("VAULT-030 an interrupted unlock leaves the vault locked, wiped, and free for the next", () =>
  Effect.gen(function* () {
    const { began, buffers, release, vault } = yield* gated
    const unlocking = yield* Effect.forkChild(vault.unlock(secret(PASSPHRASE)))
    yield* began
    yield* Fiber.interrupt(unlocking)
    assert.isTrue(buffers.every(isZero))
    assert.strictEqual((yield* vault.status).state, "Locked")
    yield* release
    yield* vault.unlock(secret(PASSPHRASE))
    assert.strictEqual((yield* vault.status).state, "Unlocked")
  })
)

it.live("a lock while a vault is being made leaves it made and locked", () =>
  Effect.gen(function* () {
    const began = yield* Deferred.make<void>()
    const gate = yield* Deferred.make<void>()
    const { buffers, parts } = watched("/unused", {
      storage: memoryStorage(),
      deriveKey: (...input) =>
        Effect.andThen(
          Effect.andThen(Deferred.succeed(began, undefined), Deferred.await(gate)),
          systemParts.deriveKey(...input)
        )
    })
    const vault = yield* vaultOf(parts)
    const restoring = yield* Effect.forkChild(restoreAbandon(vault))
    yield* Deferred.await(began)
    yield* vault.lock
    yield* Deferred.succeed(gate, undefined)
    yield* Fiber.join(restoring)
    assert.strictEqual((yield* vault.status).state, "Locked")
    assert.isTrue(buffers.every(isZero))
  })
)

it.effect("VAULT-032 auto-lock counts from the last use of a key, and asking for the status is no use", () =>
  Effect.gen(function* () {
    const { buffers, parts } = inMemory()
    const vault = yield* vaultOf({ ...parts, autoLock: Duration.minutes(5) })
    yield* restoreAbandon(vault)
    assert.strictEqual((yield* vault.status).autoLockAt, 5 * 60_000)
    yield* TestClock.adjust("4 minutes")
    yield* Effect.scoped(vault.key(NODE))
    yield* TestClock.adjust("4 minutes")
    const at8 = yield* vault.status
    assert.strictEqual(at8.state, "Unlocked")
    assert.strictEqual(at8.autoLockAt, 9 * 60_000)
    yield* TestClock.adjust("59 seconds")
    assert.strictEqual((yield* vault.status).state, "Unlocked")
    yield* TestClock.adjust("1 second")
    assert.strictEqual((yield* vault.status).state, "Locked")
    assert.isTrue(buffers.every(isZero))
    // And again after the next unlock.
    yield* vault.unlock(secret(PASSPHRASE))
    yield* TestClock.adjust("5 minutes")
    assert.strictEqual((yield* vault.status).state, "Locked")
  })
)

it.effect("without auto-lock the vault stays unlocked, and cached keys expire behind its back", () =>
  Effect.gen(function* () {
    const vault = yield* vaultOf(inMemory().parts)
    yield* restoreAbandon(vault)
    yield* Effect.scoped(vault.key(NODE))
    yield* TestClock.adjust(Duration.millis(CACHE_MILLIS * 30))
    assert.strictEqual((yield* vault.status).state, "Unlocked")
    yield* Effect.scoped(vault.key(NODE))
  })
)

it.live("VAULT-034 a lock wipes the vault and leaves the copies of open scopes alone", () =>
  Effect.gen(function* () {
    const { buffers, parts } = inMemory()
    const vault = yield* vaultOf(parts)
    yield* restoreAbandon(vault)
    const scope = yield* Scope.make()
    const pair = yield* Scope.provide(vault.key(NODE), scope)
    assert.isFalse(isZero(Redacted.value(pair.secret)))
    yield* vault.lock
    assert.isTrue(buffers.every(isZero))
    assert.strictEqual(bytesToHex(Redacted.value(pair.secret)), nodeSecret)
    assert.deepStrictEqual(yield* Effect.flip(Effect.scoped(vault.key(NODE))), new VaultLocked())
    yield* Scope.close(scope, Exit.void)
    assert.isTrue(isZero(Redacted.value(pair.secret)))
  })
)

it.live.each(["success", "failure", "interruption"] as const)("VAULT-034 a key is wiped on %s of its scope", (end) =>
  Effect.gen(function* () {
    const vault = yield* vaultOf(inMemory().parts)
    yield* restoreAbandon(vault)
    const got = yield* Deferred.make<Uint8Array>()
    const use = Effect.scoped(
      Effect.gen(function* () {
        const { secret: held } = yield* vault.key(NODE)
        const bytes = Redacted.value(held)
        assert.strictEqual(bytesToHex(bytes), nodeSecret)
        yield* Deferred.succeed(got, bytes)
        if (end === "failure") return yield* Effect.fail("no")
        if (end === "interruption") return yield* Effect.never
      })
    )
    const fiber = yield* Effect.forkChild(Effect.exit(use))
    const bytes = yield* Deferred.await(got)
    if (end === "interruption") yield* Fiber.interrupt(fiber)
    else yield* Fiber.await(fiber)
    assert.isTrue(isZero(bytes))
  })
)

it.live("VAULT-034 two holders of one key have copies of their own", () =>
  Effect.gen(function* () {
    const vault = yield* vaultOf(inMemory().parts)
    yield* restoreAbandon(vault)
    const kept = yield* vault.key(NODE)
    yield* Effect.scoped(vault.key(NODE))
    assert.strictEqual(bytesToHex(Redacted.value(kept.secret)), nodeSecret)
  })
)

it.live("closing the layer locks the vault for good, and what runs then unlocks nothing", () =>
  Effect.gen(function* () {
    const { buffers, parts } = inMemory()
    const scope = yield* Scope.make()
    const context = yield* Scope.provide(Layer.build(layerOf(parts)), scope)
    const vault = yield* Effect.provide(Vault, context)
    assert.deepStrictEqual(yield* Effect.flip(vault.unlock(secret(PASSPHRASE))), new VaultAbsent())
    yield* restoreAbandon(vault)
    yield* Scope.close(scope, Exit.void)
    assert.isTrue(buffers.every(isZero))
    assert.deepStrictEqual(yield* Effect.flip(vault.unlock(secret(PASSPHRASE))), new VaultLocked())
    assert.isTrue(buffers.every(isZero))
  })
)

it.live("failures wipe what they had in hand", () =>
  Effect.gen(function* () {
    const { buffers, parts } = inMemory()
    const vault = yield* vaultOf(parts)
    yield* restoreAbandon(vault)
    yield* vault.lock
    yield* Effect.flip(vault.unlock(secret("a wrong passphrase")))
    const change = vault.changePassphrase({ current: secret("a wrong passphrase"), next: secret("the next one") })
    assert.deepStrictEqual(yield* Effect.flip(change), new WrongPassphrase())
    yield* Effect.exit(vault.reveal(secret(PASSPHRASE), () => Effect.die("a defect while showing")))
    assert.isAbove(buffers.length, 8)
    assert.isTrue(buffers.every(isZero))
  })
)
