import { assert, it } from "@effect/vitest"
import { CACHE_ENTRIES, CACHE_MILLIS, KeyCache } from "../../../src/layers/vault/KeyCache.ts"
import { isZero } from "./fixture.ts"

const key = () => new Uint8Array(32).fill(1)
const never = () => assert.fail("made anew")

it("VAULT-033 of 65 keys the least recently used leaves, wiped", () => {
  const cache = new KeyCache()
  const keys = Array.from({ length: CACHE_ENTRIES }, (_, place) => cache.getOrMake(`${place}`, 0, key))
  // Use the first: now the second is the oldest.
  assert.strictEqual(cache.getOrMake("0", 1, never), keys[0])
  cache.getOrMake("one more", 2, key)
  assert.strictEqual(cache.size, CACHE_ENTRIES)
  assert.deepStrictEqual(
    keys.flatMap((bytes, place) => (isZero(bytes) ? [place] : [])),
    [1]
  )
  let made = 0
  cache.getOrMake("1", 3, () => {
    made++
    return key()
  })
  assert.strictEqual(made, 1)
})

it("VAULT-033 a key lives one hour from its insertion, used or not, and is wiped then", () => {
  const cache = new KeyCache()
  const bytes = cache.getOrMake("a", 0, key)
  assert.strictEqual(cache.getOrMake("a", CACHE_MILLIS - 60_000, never), bytes)
  cache.expire(CACHE_MILLIS - 1)
  assert.isFalse(isZero(bytes))
  cache.expire(CACHE_MILLIS)
  assert.isTrue(isZero(bytes))
  assert.strictEqual(cache.size, 0)
  const again = cache.getOrMake("a", CACHE_MILLIS, key)
  assert.notStrictEqual(cache.getOrMake("a", 2 * CACHE_MILLIS, key), again)
  assert.isTrue(isZero(again))
})

it("clearing wipes everything", () => {
  const cache = new KeyCache()
  const keys = ["a", "b", "c"].map((name) => cache.getOrMake(name, 0, key))
  cache.clear()
  assert.isTrue(keys.every(isZero))
  assert.strictEqual(cache.size, 0)
})
