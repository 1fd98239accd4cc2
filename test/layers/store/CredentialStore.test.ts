import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect, Layer, Option, Result } from "effect"
import * as MemoryCredentialStore from "../../../src/layers/store/MemoryCredentialStore.ts"
import * as SqliteCredentialStore from "../../../src/layers/store/SqliteCredentialStore.ts"
import {
  CREDENTIAL_MAX_BYTES,
  CREDENTIAL_PAGE,
  CredentialStore,
  CredentialStoreError
} from "../../../src/services/CredentialStore.ts"

const folder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-credentials-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)
const sqlite = Layer.unwrap(Effect.map(folder, (home) => SqliteCredentialStore.layer(join(home, "credentials.db"))))
const id = (name: string, purpose = "credential") => ({ purpose, name })
const conflict = (name: string) =>
  Result.fail(new CredentialStoreError({ reason: "Conflict", purpose: "credential", name }))

for (const [kind, layer] of [
  ["memory", MemoryCredentialStore.layer],
  ["SQLite", sqlite]
] as const) {
  it.live(`VAULT-R46 ${kind}: what is kept comes back as it was, what is not is none`, () =>
    Effect.gen(function* () {
      const store = yield* CredentialStore
      assert.deepStrictEqual(yield* store.get(id("a")), Option.none())
      const text = '{"format":3,\u0000 "not": opened \u20ac\u{1F512}'
      yield* store.put(id("a"), text, Option.none())
      assert.deepStrictEqual(yield* store.get(id("a")), Option.some(text))
      assert.deepStrictEqual(yield* store.get(id("a", "note")), Option.none())
      assert.deepStrictEqual(yield* store.get(id("A")), Option.none())
      assert.isTrue(yield* store.delete(id("a")))
      assert.isFalse(yield* store.delete(id("a")))
      assert.deepStrictEqual(yield* store.get(id("a")), Option.none())
    }).pipe(Effect.provide(layer))
  )

  it.live(`VAULT-R46 ${kind}: a put replaces exactly what was expected, or nothing`, () =>
    Effect.gen(function* () {
      const store = yield* CredentialStore
      const put = (text: string, expected: Option.Option<string>) => Effect.result(store.put(id("a"), text, expected))
      assert.deepStrictEqual(yield* put("one", Option.some("zero")), conflict("a"))
      assert.isTrue(Result.isSuccess(yield* put("one", Option.none())))
      assert.deepStrictEqual(yield* put("two", Option.none()), conflict("a"))
      assert.deepStrictEqual(yield* put("two", Option.some("One")), conflict("a"))
      assert.deepStrictEqual(yield* store.get(id("a")), Option.some("one"))
      assert.isTrue(Result.isSuccess(yield* put("two", Option.some("one"))))
      assert.deepStrictEqual(yield* store.get(id("a")), Option.some("two"))
      const racers = ["x", "y", "z"].map((text) => put(text, Option.some("two")))
      const results = yield* Effect.all(racers, { concurrency: 3 })
      assert.lengthOf(results.filter(Result.isSuccess), 1)
    }).pipe(Effect.provide(layer))
  )

  it.live(`VAULT-R46 ${kind}: lists are by purpose, then name, in pages`, () =>
    Effect.gen(function* () {
      const store = yield* CredentialStore
      const names = ["b", "a", "B", "a/2", "\u{1F512}", "\uFFFD"]
      for (const name of names) yield* store.put(id(name), "x", Option.none())
      yield* store.put(id("z", "alpha"), "x", Option.none())
      const ordered = ["B", "a", "a/2", "b", "\uFFFD", "\u{1F512}"].map((name) => id(name))
      assert.deepStrictEqual(yield* store.list(), [id("z", "alpha"), ...ordered])
      assert.deepStrictEqual(yield* store.list({ purpose: "credential" }), ordered)
      assert.deepStrictEqual(yield* store.list({ purpose: "credential", after: id("a/2") }), ordered.slice(3))
      assert.deepStrictEqual(yield* store.list({ after: id("z", "alpha") }), ordered)
      assert.deepStrictEqual(yield* store.list({ purpose: "other" }), [])
    }).pipe(Effect.provide(layer))
  )

  it.live(`VAULT-R46 ${kind}: a page and a text have a bound`, () =>
    Effect.gen(function* () {
      const store = yield* CredentialStore
      const large = store.put(id("large"), "\u20ac".repeat(CREDENTIAL_MAX_BYTES / 3 + 1), Option.none())
      assert.deepInclude(yield* Effect.flip(large), { reason: "TooLarge" })
      yield* store.put(id("fits"), "x".repeat(CREDENTIAL_MAX_BYTES), Option.none())
      yield* store.delete(id("fits"))
      const names = Array.from({ length: CREDENTIAL_PAGE + 1 }, (_, place) => String(place).padStart(5, "0"))
      for (const name of names) yield* store.put(id(name), "x", Option.none())
      const first = yield* store.list()
      assert.lengthOf(first, CREDENTIAL_PAGE)
      assert.deepStrictEqual(yield* store.list({ after: first.at(-1)! }), [id(names.at(-1)!)])
    }).pipe(Effect.provide(layer))
  )
}

it.live("VAULT-R46 SQLite: two openers of one file see each other's credentials, kept for its user alone", () =>
  Effect.gen(function* () {
    const path = join(yield* folder, "state", "credentials.db")
    const withStore = <A, E>(use: (store: CredentialStore["Service"]) => Effect.Effect<A, E>) =>
      Effect.provide(Effect.flatMap(CredentialStore, use), SqliteCredentialStore.layer(path))
    yield* withStore((first) =>
      Effect.gen(function* () {
        yield* first.put(id("a"), "one", Option.none())
        yield* withStore((second) => second.put(id("a"), "two", Option.some("one")))
        const late = yield* Effect.result(first.put(id("a"), "three", Option.some("one")))
        assert.deepStrictEqual(late, conflict("a"))
      })
    )
    assert.deepStrictEqual(yield* withStore((store) => store.get(id("a"))), Option.some("two"))
    assert.strictEqual(statSync(path).mode & 0o777, 0o600)
    assert.include(readFileSync(path, "latin1"), "two")
  })
)
