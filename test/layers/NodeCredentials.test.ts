import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, Logger, Option, Redacted } from "effect"
import { CAPABILITY_PURPOSE, capabilities, rotateCredentials } from "../../src/layers/NodeCredentials.ts"
import * as MemoryCredentialStore from "../../src/layers/store/MemoryCredentialStore.ts"
import * as MemoryVault from "../../src/layers/vault/MemoryVault.ts"
import { BlobInvalid, DecryptFailed, VaultLocked } from "../../src/protocol/vault/VaultError.ts"
import { Capabilities } from "../../src/services/Capabilities.ts"
import { CredentialStore, CredentialStoreError } from "../../src/services/CredentialStore.ts"
import { Vault } from "../../src/services/Vault.ts"
import vectors from "../vectors/vault.json" with { type: "json" }

const ABANDON = `${"abandon ".repeat(11)}about`
const node = Layer.merge(MemoryVault.layer(ABANDON), MemoryCredentialStore.layer)
const secret = (text: string) => Redacted.make(new TextEncoder().encode(text))
const textOf = (value: Redacted.Redacted<Uint8Array>) => new TextDecoder().decode(Redacted.value(value))
const id = (name: string, purpose = CAPABILITY_PURPOSE) => ({ purpose, name })
const names = Array.from({ length: 10 }, (_, place) => `secret-${place}`)

const sealAll = Effect.gen(function* () {
  const vault = yield* Vault
  const store = yield* CredentialStore
  for (const name of names) {
    yield* store.put(id(name), yield* vault.encrypt(id(name), secret(`value of ${name}`), 2), Option.none())
  }
})
const textAt = (name: string) =>
  Effect.gen(function* () {
    return Option.getOrThrow(yield* (yield* CredentialStore).get(id(name)))
  })
const openAt = (name: string) =>
  Effect.gen(function* () {
    return textOf(yield* (yield* Vault).decrypt(id(name), yield* textAt(name)))
  })

it.live("VAULT-044 rotating moves everything to the target, names what it cannot open, and leaves that as it is", () =>
  Effect.gen(function* () {
    yield* sealAll
    const store = yield* CredentialStore
    const legacy = JSON.stringify(vectors.blobs.v2.blob)
    yield* store.put(id("legacy"), legacy, Option.none())
    yield* store.put(id("broken"), "not a blob", Option.none())
    const other = yield* textAt("secret-0")
    yield* store.put(id("foreign"), other, Option.none())

    const report = yield* rotateCredentials(3)
    assert.deepStrictEqual(report.rotated, [id("legacy"), ...names.map((name) => id(name))])
    assert.deepStrictEqual(report.skipped, [])
    assert.deepStrictEqual(report.failed, [
      { id: id("broken"), error: new BlobInvalid({ field: "blob" }) },
      { id: id("foreign"), error: new DecryptFailed() }
    ])
    assert.strictEqual(yield* textAt("broken"), "not a blob")
    assert.strictEqual(yield* textAt("foreign"), other)
    assert.strictEqual(yield* openAt("legacy"), vectors.blobs.plaintext)
    for (const name of names) {
      assert.strictEqual(yield* openAt(name), `value of ${name}`)
      assert.deepInclude(JSON.parse(yield* textAt(name)), { format: 3, keyVersion: 3 })
    }
    const again = yield* rotateCredentials(3)
    assert.deepStrictEqual(again.rotated, [])
    assert.lengthOf(again.skipped, 11)
    assert.lengthOf(again.failed, 2)
  }).pipe(Effect.provide(node))
)

it.live("VAULT-044 stopped midway nothing is lost, and repeating it does the rest", () =>
  Effect.gen(function* () {
    yield* sealAll
    const store = yield* CredentialStore
    let puts = 0
    const stopping = CredentialStore.of({
      ...store,
      put: (...input) => (++puts === 5 ? Effect.never : store.put(...input))
    })
    const rotating = yield* Effect.forkChild(Effect.provideService(rotateCredentials(3), CredentialStore, stopping), {
      startImmediately: true
    })
    yield* Effect.yieldNow
    assert.strictEqual(puts, 5)
    yield* Fiber.interrupt(rotating)
    for (const name of names) assert.strictEqual(yield* openAt(name), `value of ${name}`)
    const report = yield* rotateCredentials(3)
    assert.lengthOf(report.skipped, 4)
    assert.lengthOf(report.rotated, 6)
    for (const name of names) assert.strictEqual(yield* openAt(name), `value of ${name}`)
  }).pipe(Effect.provide(node))
)

it.live("VAULT-R45 a credential that somebody changes meanwhile keeps the change", () =>
  Effect.gen(function* () {
    yield* sealAll
    const store = yield* CredentialStore
    const vault = yield* Vault
    let raced = false
    const racing = CredentialStore.of({
      ...store,
      put: (at, text, expected) =>
        Effect.gen(function* () {
          if (!raced) {
            raced = true
            const changed = yield* Effect.orDie(vault.encrypt(at, secret("changed"), 2))
            yield* store.put(at, changed, expected)
          }
          yield* store.put(at, text, expected)
        })
    })
    const report = yield* Effect.provideService(rotateCredentials(3), CredentialStore, racing)
    assert.lengthOf(report.rotated, 10)
    assert.strictEqual(yield* openAt("secret-0"), "changed")
    const always = CredentialStore.of({
      ...store,
      put: ({ purpose, name }) => Effect.fail(new CredentialStoreError({ reason: "Conflict", purpose, name }))
    })
    const refused = yield* Effect.provideService(rotateCredentials(4), CredentialStore, always)
    assert.lengthOf(refused.failed, 10)
  }).pipe(Effect.provide(node))
)

it.live("a locked vault rotates nothing and says so for each", () =>
  Effect.gen(function* () {
    yield* sealAll
    yield* (yield* Vault).lock
    const report = yield* rotateCredentials(3)
    assert.deepStrictEqual(
      report.failed,
      names.map((name) => ({ id: id(name), error: new VaultLocked() }))
    )
  }).pipe(Effect.provide(node))
)

it.live("VAULT-R47 the bag holds what opens of purpose credential, and a warning names what does not", () =>
  Effect.gen(function* () {
    yield* sealAll
    const store = yield* CredentialStore
    const vault = yield* Vault
    yield* store.put(id("broken"), "not a blob", Option.none())
    yield* store.put(id("x", "note"), yield* vault.encrypt(id("x", "note"), secret("a note")), Option.none())
    const lines: Array<string> = []
    const logger = Logger.make(({ message }) => void lines.push(String(message)))
    yield* Effect.gen(function* () {
      const bag = yield* Capabilities
      assert.deepStrictEqual(bag.names, names)
      const text = yield* bag.use("secret-3", (value) => Effect.sync(() => textOf(value)))
      assert.strictEqual(text, "value of secret-3")
    }).pipe(Effect.provide(Layer.provide(capabilities, Logger.layer([logger]))))
    assert.lengthOf(lines, 1)
    assert.include(lines[0], "broken")
  }).pipe(Effect.provide(node))
)
