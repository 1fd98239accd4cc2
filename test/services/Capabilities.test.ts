import { inspect } from "node:util"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Layer, Redacted, Scope } from "effect"
import { Capabilities, CapabilityMissing } from "../../src/services/Capabilities.ts"

const secret = (text: string) => Redacted.make(new TextEncoder().encode(text))
const bag = Capabilities.layer(
  new Map([
    ["openai", secret("sk-0123456789")],
    ["github", secret("ghp-abcdefgh")]
  ])
)
const textOf = (value: Redacted.Redacted<Uint8Array>) => new TextDecoder().decode(Redacted.value(value))

it.effect("VAULT-047 a secret is passed to a function and its copy is wiped after, however that ends", () =>
  Effect.gen(function* () {
    const capabilities = yield* Capabilities
    const copies: Array<Uint8Array> = []
    const use = <A, E>(then: (value: Redacted.Redacted<Uint8Array>) => Effect.Effect<A, E>) =>
      capabilities.use("openai", (value) => {
        copies.push(Redacted.value(value))
        return then(value)
      })
    assert.strictEqual(yield* use((value) => Effect.sync(() => textOf(value))), "sk-0123456789")
    yield* Effect.exit(use(() => Effect.fail("no")))
    yield* Effect.exit(use(() => Effect.interrupt))
    const bug = use((): Effect.Effect<never> => {
      throw new Error("a bug")
    })
    yield* Effect.exit(bug)
    assert.lengthOf(copies, 4)
    assert.isTrue(copies.every((copy) => copy.length === 13 && copy.every((byte) => byte === 0)))
    // The bag itself still holds it.
    assert.strictEqual(yield* capabilities.use("openai", (value) => Effect.sync(() => textOf(value))), "sk-0123456789")
  }).pipe(Effect.provide(bag))
)

it.effect("VAULT-047 a name that is unknown, or was restricted away, is CapabilityMissing", () =>
  Effect.gen(function* () {
    const capabilities = yield* Capabilities
    assert.deepStrictEqual(capabilities.names, ["openai", "github"])
    const use = () => Effect.die("reached")
    for (const name of ["other", "__proto__", ""]) {
      assert.deepStrictEqual(yield* Effect.flip(capabilities.use(name, use)), new CapabilityMissing({ name }))
    }
    const github = yield* capabilities.restrict(["github"])
    assert.deepStrictEqual(github.names, ["github"])
    assert.deepStrictEqual(yield* Effect.flip(github.use("openai", use)), new CapabilityMissing({ name: "openai" }))
    assert.deepStrictEqual(yield* Effect.flip(github.restrict(["openai"])), new CapabilityMissing({ name: "openai" }))
    const none = yield* github.restrict([])
    assert.deepStrictEqual(none.names, [])
  }).pipe(Effect.provide(bag))
)

it.effect("VAULT-036 a bag prints as itself, shows no secret and cannot be cloned", () =>
  Effect.gen(function* () {
    const capabilities = yield* Capabilities
    for (const value of [capabilities, yield* capabilities.restrict(["openai"])]) {
      assert.strictEqual(JSON.stringify(value), '"<capabilities>"')
      assert.strictEqual(`${value}`, "<capabilities>")
      assert.strictEqual(inspect(value, { depth: 10, showHidden: true }), "<capabilities>")
      const raw = inspect(value, { depth: 10, showHidden: true, customInspect: false })
      for (const hidden of ["sk-0123", "ghp-", "115, 107, 45", "73 6b 2d"]) assert.notInclude(raw, hidden)
      assert.throws(() => structuredClone(value))
    }
  }).pipe(Effect.provide(bag))
)

it.effect("the bag has copies of its own, and none any more when its layer is closed", () =>
  Effect.gen(function* () {
    const given = secret("sk-0123456789")
    const scope = yield* Scope.make()
    const context = yield* Scope.provide(Layer.build(Capabilities.layer(new Map([["a", given]]))), scope)
    Redacted.value(given).fill(0)
    const read = Effect.flatMap(Capabilities, (held) =>
      held.use("a", (value) => Effect.sync(() => textOf(value)))
    ).pipe(Effect.provide(context))
    assert.strictEqual(yield* read, "sk-0123456789")
    yield* Scope.close(scope, Exit.void)
    assert.strictEqual(yield* read, "\0".repeat(13))
  })
)

it.effect("a node without credentials has an empty bag", () =>
  Effect.gen(function* () {
    assert.deepStrictEqual((yield* Capabilities).names, [])
  }).pipe(Effect.provide(Capabilities.layerEmpty))
)

it.effect("CALL-085 two bags as one: the first counts, and a name that neither has is CapabilityMissing", () =>
  Effect.gen(function* () {
    const first = yield* Capabilities.fromSecrets(new Map([["a", secret("first a")]]))
    const second = yield* Capabilities.fromSecrets(
      new Map([
        ["a", secret("second a")],
        ["b", secret("second b")]
      ])
    )
    const joined = Capabilities.join(first, second)
    const read = (bag: typeof joined, name: string) => bag.use(name, (value) => Effect.succeed(textOf(value)))
    assert.deepStrictEqual(joined.names, ["a", "b"])
    assert.strictEqual(yield* read(joined, "a"), "first a")
    assert.strictEqual(yield* read(joined, "b"), "second b")
    assert.strictEqual(yield* read(yield* joined.restrict(["b"]), "b"), "second b")
    assert.instanceOf(yield* Effect.flip(read(yield* joined.restrict(["b"]), "a")), CapabilityMissing)
    assert.instanceOf(yield* Effect.flip(joined.restrict(["c"])), CapabilityMissing)
    assert.notInclude(`${inspect(joined)} ${JSON.stringify(joined)} ${String(joined)}`, "first")
  })
)

it.effect("VAULT-047 a secret given as a Buffer survives its use", () =>
  Effect.gen(function* () {
    const bag = yield* Capabilities.fromSecrets(new Map([["a", Redacted.make(Buffer.from("from a buffer"))]]))
    const read = bag.use("a", (value) => Effect.succeed(textOf(value)))
    assert.deepStrictEqual([yield* read, yield* read], ["from a buffer", "from a buffer"])
  })
)
