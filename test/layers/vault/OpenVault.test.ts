import { assert, it } from "@effect/vitest"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Effect, Exit, Layer, Result, Scope } from "effect"
import { TestClock } from "effect/testing"
import { vi } from "vitest"
import { OpenVault } from "../../../src/layers/vault/OpenVault.ts"
import { memoryStorage } from "../../../src/layers/vault/VaultStorage.ts"
import { specOfKeyVersion, specOfRole } from "../../../src/protocol/vault/KeyPath.ts"
import { Vault } from "../../../src/services/Vault.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }
import { isZero, layerOf, restoreAbandon, vaultOf, watched } from "./fixture.ts"

const node = Result.getOrThrow(specOfRole({ _tag: "Node" }))
const sealing = Result.getOrThrow(specOfKeyVersion(2))

it("VAULT-R32 wiping zeroes the seed and every cached key, and leaves copies alone", () => {
  const seed = hexToBytes(vectors.paths.seed)
  const vault = new OpenVault(seed, false, 0)
  const copy = vault.copyKey(node, 0)
  const cached = [node, sealing].map((spec) => vault.withKey(spec, 0, (key) => key))
  assert.strictEqual(bytesToHex(copy), vectors.paths.keys[0]!.secret)
  assert.isFalse([seed, ...cached].some(isZero))
  vault.wipe()
  assert.isTrue([seed, ...cached].every(isZero))
  assert.strictEqual(bytesToHex(copy), vectors.paths.keys[0]!.secret)
})

it.live("VAULT-034 every lock, and closing the layer, wipes what was open", () =>
  Effect.gen(function* () {
    const wipe = yield* Effect.acquireRelease(
      Effect.sync(() => vi.spyOn(OpenVault.prototype, "wipe")),
      (spy) => Effect.sync(() => spy.mockRestore())
    )
    const parts = () => watched("/unused", { storage: memoryStorage() }).parts
    const vault = yield* vaultOf(parts())
    yield* restoreAbandon(vault)
    assert.strictEqual(wipe.mock.calls.length, 0)
    yield* vault.lock
    assert.strictEqual(wipe.mock.calls.length, 1)
    yield* vault.lock
    assert.strictEqual(wipe.mock.calls.length, 1)

    const scope = yield* Scope.make()
    const context = yield* Scope.provide(Layer.build(layerOf(parts())), scope)
    yield* Effect.provide(Effect.flatMap(Vault, restoreAbandon), context)
    yield* Scope.close(scope, Exit.void)
    assert.strictEqual(wipe.mock.calls.length, 2)
  })
)

it.effect("VAULT-033 a timer wipes a cached key one hour after its insertion, though nobody asks", () =>
  Effect.gen(function* () {
    const copyKey = yield* Effect.acquireRelease(
      Effect.sync(() => vi.spyOn(OpenVault.prototype, "copyKey")),
      (spy) => Effect.sync(() => spy.mockRestore())
    )
    const vault = yield* vaultOf(watched("/unused", { storage: memoryStorage() }).parts)
    yield* restoreAbandon(vault)
    const use = Effect.scoped(vault.key({ _tag: "SshHost" }))
    yield* use
    const open = copyKey.mock.contexts[0]
    if (!(open instanceof OpenVault)) return assert.fail("no key was copied")
    const cached = open.withKey(Result.getOrThrow(specOfRole({ _tag: "SshHost" })), 0, (key) => key)
    yield* TestClock.adjust("59 minutes")
    yield* use
    assert.isFalse(isZero(cached))
    yield* TestClock.adjust("61 seconds")
    assert.isTrue(isZero(cached))
    assert.isUndefined(open.nextExpiry)
    // The next key is looked after again.
    yield* use
    assert.isNumber(open.nextExpiry)
    yield* TestClock.adjust("61 minutes")
    assert.isUndefined(open.nextExpiry)
  })
)
