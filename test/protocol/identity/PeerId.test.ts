import { assert, it } from "@effect/vitest"
import * as fc from "fast-check"
import { isPeerId, peerIdFromName } from "../../../src/protocol/identity/PeerId.ts"

const free = () => false

it("ID-015 a peerId is lower case, at most 63 characters, and not the name of a grant", () => {
  for (const text of ["", "A", "-a", ".a", "a_b", "a".repeat(64), "grant-x", "grant-", "é", "a\n", "a b"]) {
    assert.isFalse(isPeerId(text), text)
  }
  for (const text of ["a", "0", "a-b.c", "a".repeat(63), "grant", "grants-x"]) assert.isTrue(isPeerId(text), text)
})

it("ID-R54 a suggested name is made to fit", () => {
  const cases = [
    ["laptop", "laptop"],
    ["Anna's MacBook", "anna-s-macbook"],
    ["\u001b[31mred\n", "31mred"],
    ["", "peer"],
    ["---", "peer"],
    ["grant-x", "peer-grant-x"],
    ["GRANT", "peer-grant"],
    ["é", "peer"],
    ["__proto__", "proto"]
  ] as const
  for (const [name, expected] of cases) assert.strictEqual(peerIdFromName(name, free), expected)
})

it("ID-R54 a taken name gets -2, -3, … and stays legal", () => {
  const taken = new Set(["a", "a-2", "x".repeat(63)])
  assert.strictEqual(
    peerIdFromName("a", (peerId) => taken.has(peerId)),
    "a-3"
  )
  assert.strictEqual(
    peerIdFromName("x".repeat(200), (peerId) => taken.has(peerId)),
    `${"x".repeat(61)}-2`
  )
})

it("any text becomes a legal name", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), fc.nat(12), (name, takenCount) => {
      const taken = new Set<string>()
      for (let count = 0; count <= takenCount; count++) {
        const peerId = peerIdFromName(name, (candidate) => taken.has(candidate))
        assert.isTrue(isPeerId(peerId), peerId)
        assert.isFalse(taken.has(peerId))
        taken.add(peerId)
      }
    })
  )
})
