import { assert, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { expandScopes, isPresetName, PRESETS } from "../../../src/protocol/identity/Presets.ts"
import {
  makeScope,
  parseScopePattern,
  parseScopeRequirement,
  scopeCovers,
  scopeMatches,
  scopesCover,
  scopesMatch
} from "../../../src/protocol/identity/Scope.ts"

it("ID-026 patterns match by segment", () => {
  const cases: ReadonlyArray<readonly [string, string, boolean]> = [
    ["*", "anything", true],
    ["*", "a:b:c", true],
    ["git:read:*", "git:read", false],
    ["git:read:*", "git:read:a:b", true],
    ["git:*:s", "git:read:s", true],
    ["git:*:s", "git:read:x:s", false],
    ["git:read", "git:read:s", false],
    ["git:read", "git:read:site", false],
    ["Git:read", "git:read", false],
    ["ssh:forward:*:22", "ssh:forward:[::1]:22", true],
    ["ssh:forward:[::1]:22", "ssh:forward:[::1]:22", true]
  ]
  for (const [pattern, requirement, expected] of cases) {
    assert.strictEqual(scopeMatches(pattern, requirement), expected, `${pattern} and ${requirement}`)
  }
})

it("text outside the grammar grants nothing and satisfies nothing", () => {
  const broken = [
    "",
    ":",
    "a:",
    ":a",
    "a::b",
    "a b",
    "a\n",
    "é",
    "a:b*",
    "**",
    "%",
    "%4",
    "%2a",
    "%41",
    "%2F",
    "a:%7E",
    "[::1",
    "::1",
    "[::0:1]",
    "[::1]x",
    "[1.2.3.4]",
    "[fe80::1%25a]",
    "[FE80::1]",
    "[]",
    `${"a:".repeat(8)}a`,
    "a".repeat(129),
    `${"a".repeat(127)}:`.repeat(3)
  ]
  for (const text of broken) {
    assert.isTrue(Result.isFailure(parseScopePattern(text)), text)
    assert.isFalse(scopeMatches(text, text), text)
    assert.isFalse(scopeMatches("*", text), text)
    assert.isFalse(scopeCovers("*", text), text)
    assert.isFalse(scopeCovers(text, text), text)
  }
  for (const text of [
    `${"a:".repeat(7)}a`,
    "a".repeat(128),
    "A.b_~-/@+=,9",
    "%2A:%3A:%25:%00:%C3%A9",
    "[::]:[2001:db8::1]"
  ]) {
    assert.isTrue(scopeMatches("*", text), text)
    assert.isTrue(scopeMatches(text, text), text)
  }
  assert.isTrue(Result.isFailure(parseScopeRequirement("git:read:*")), "a requirement has no *")
  assert.isFalse(scopeMatches("*", "git:read:*"))
})

it("ID-027 values of a request are encoded or refused, and never match more than themselves", () => {
  const cases: ReadonlyArray<readonly [string, string | undefined]> = [
    ["*", "ssh:exec:%2A"],
    ["a:b", "ssh:exec:a%3Ab"],
    ["a%3Ab", "ssh:exec:a%253Ab"],
    ["", undefined],
    ["a\n", "ssh:exec:a%0A"],
    ["\u0000", "ssh:exec:%00"],
    ["x".repeat(300), undefined],
    ["é".repeat(50), undefined],
    ["\ud800", undefined],
    ["0:0:0:0:0:0:0:1", "ssh:exec:[::1]"],
    ["FE80::A", "ssh:exec:[fe80::a]"],
    ["fe80::1%eth0", "ssh:exec:fe80%3A%3A1%25eth0"],
    ["[::1]", "ssh:exec:%5B%3A%3A1%5D"],
    ["git-upload-pack", "ssh:exec:git-upload-pack"]
  ]
  for (const [value, expected] of cases) {
    assert.strictEqual(Result.getOrUndefined(makeScope("ssh", "exec", value)), expected, value)
  }
  const others = cases.flatMap(([, scope]) => (scope === undefined ? [] : [scope]))
  for (const held of others) {
    for (const asked of others) assert.strictEqual(scopeMatches(held, asked), held === asked)
  }
})

it("ID-027 two values give the same requirement only where they are the same address", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary", maxLength: 40 }), fc.string({ unit: "binary", maxLength: 40 }), (a, b) => {
      const first = Result.getOrUndefined(makeScope("s", "a", a))
      const second = Result.getOrUndefined(makeScope("s", "a", b))
      if (first === undefined || second === undefined) return
      assert.isTrue(scopeMatches("*", first))
      if (!first.includes("[")) assert.strictEqual(scopeMatches(first, second), a === b)
    })
  )
})

const segment = fc.constantFrom("*", "a", "b", "c")
const pattern = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => segments.join(":"))
const requirement = fc
  .array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 5 })
  .map((segments) => segments.join(":"))

it("ID-028 what a covered pattern matches, the covering one matches; covers is reflexive and transitive", () => {
  let used = 0
  fc.assert(
    fc.property(pattern, pattern, pattern, requirement, (p, q, r, asked) => {
      assert.isTrue(scopeCovers(p, p))
      if (scopeCovers(p, q)) {
        if (scopeCovers(q, r)) assert.isTrue(scopeCovers(p, r))
        if (scopeMatches(q, asked)) {
          used++
          assert.isTrue(scopeMatches(p, asked), `${p} covers ${q}, which matches ${asked}`)
        }
      }
    }),
    { numRuns: 20_000 }
  )
  assert.isAbove(used, 100)
})

it("ID-028 a pattern that is not covered matches something that the other does not", () => {
  // Every requirement of up to 4 segments over two known words and one that no pattern holds decides it exactly.
  const words = ["a", "b", "other"]
  const grow = (texts: ReadonlyArray<string>) => texts.flatMap((text) => words.map((word) => `${text}:${word}`))
  const one = words
  const two = grow(one)
  const three = grow(two)
  const all = [...one, ...two, ...three, ...grow(three)]
  const small = fc.array(fc.constantFrom("*", "a", "b"), { minLength: 1, maxLength: 3 }).map((list) => list.join(":"))
  fc.assert(
    fc.property(small, small, (p, q) => {
      const allowed = all.filter((asked) => scopeMatches(q, asked))
      assert.strictEqual(
        scopeCovers(p, q),
        allowed.every((asked) => scopeMatches(p, asked)),
        `${p} and ${q}`
      )
    }),
    { numRuns: 2000 }
  )
})

it("ID-029 user and guest hold no shell, command, forward or management scope", () => {
  const denied = [
    "ssh:shell",
    "ssh:exec:ls",
    "ssh:forward:127.0.0.1:5432",
    "ssh:listen:0.0.0.0:80",
    "ssh:socket:/x",
    "node:admin"
  ]
  for (const asked of denied) {
    assert.isFalse(scopesMatch(PRESETS.user, asked), asked)
    assert.isFalse(scopesMatch(PRESETS.guest, asked), asked)
    assert.isFalse(scopesMatch([], asked), asked)
    assert.isTrue(scopesMatch(PRESETS.admin, asked), asked)
  }
  assert.isTrue(scopesMatch(PRESETS.user, "git:write:site"))
  assert.isTrue(scopesCover(PRESETS.user, PRESETS.guest))
  assert.isFalse(scopesCover(PRESETS.guest, PRESETS.user))
})

it("a preset expands to plain scopes, each once", () => {
  assert.deepStrictEqual(expandScopes("guest", ["fs:read", "git:read:site"]), ["msg:send", "fs:read", "git:read:site"])
  assert.deepStrictEqual(expandScopes(undefined, ["a", "a"]), ["a"])
  assert.isTrue(isPresetName("admin"))
  assert.isFalse(isPresetName("toString"))
})
