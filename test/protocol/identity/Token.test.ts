import { randomBytes } from "node:crypto"
import { assert, it } from "@effect/vitest"
import {
  hashToken,
  isToken,
  isTokenHash,
  isTokenPrefix,
  makeToken,
  TokenHashes,
  tokenPrefix
} from "../../../src/protocol/identity/Token.ts"
import { vectors } from "./Vectors.ts"

it("ID-018 the published token has its prefix and hash", () => {
  const { token, prefix, sha256 } = vectors.token
  assert.strictEqual(tokenPrefix(token), prefix)
  assert.strictEqual(hashToken(token), sha256)
  assert.isTrue(isToken(token) && isTokenPrefix(prefix) && isTokenHash(sha256))
})

it("ID-R26 a hash is found among others, whichever bit another differs in", () => {
  const hash = hashToken(vectors.token.token)
  const others = Array.from({ length: 256 }, (_, bit) => {
    const bytes = Buffer.from(hash.slice(7), "hex")
    bytes[bit >> 3]! ^= 1 << (bit & 7)
    return `sha256:${bytes.toString("hex")}`
  })
  assert.strictEqual(new TokenHashes(others).indexOf(hash), -1)
  assert.strictEqual(new TokenHashes([]).indexOf(hash), -1)
  for (const position of [0, 1, 128, 256]) {
    assert.strictEqual(new TokenHashes(others.toSpliced(position, 0, hash)).indexOf(hash), position)
  }
})

it("ID-018 100000 new tokens fit the grammar, do not repeat, and use each character equally often", () => {
  const count = 100_000
  const seen = new Set<string>()
  const counts = new Map<string, number>()
  for (let index = 0; index < count; index++) {
    const token = makeToken(randomBytes)
    if (!isToken(token) || token.length !== 30) assert.fail("a token outside the grammar")
    seen.add(token)
    for (const character of token.slice(4)) counts.set(character, (counts.get(character) ?? 0) + 1)
  }
  assert.strictEqual(seen.size, count)
  const expected = (count * 26) / 62
  const chiSquare = [...counts.values()].reduce((sum, found) => sum + (found - expected) ** 2 / expected, 0)
  assert.strictEqual(counts.size, 62)
  // 61 degrees of freedom: above 150 once in 10^9 runs; taking bytes modulo 62 gives more than 10000.
  assert.isBelow(chiSquare, 150)
})

it("ID-018 bytes that would favour some characters are drawn again", () => {
  const draws = [Uint8Array.of(248, 255, 0, 61, 62), new Uint8Array(26).fill(247)]
  assert.strictEqual(
    makeToken(() => draws.shift()!),
    `alk_0z0${"z".repeat(23)}`
  )
})

it("ID-020 text outside the grammar is no token", () => {
  const broken = [
    "",
    "alk_",
    `alk_${"😀".repeat(13)}`,
    `alk_${"a".repeat(21)}`,
    `alk_${"a".repeat(87)}`,
    `ALK_${"a".repeat(26)}`,
    `alk_${"a".repeat(26)}\n`,
    `alk_${"a".repeat(25)}-`,
    `alk_${"a".repeat(1_000_000)}`,
    `alk_${Buffer.from([0xff, 0xfe]).toString()}${"a".repeat(26)}`
  ]
  for (const text of broken) assert.isFalse(isToken(text), text.slice(0, 40))
  for (const length of [22, 86]) assert.isTrue(isToken(`alk_${"a".repeat(length)}`))
})
