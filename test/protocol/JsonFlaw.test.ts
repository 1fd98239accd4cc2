import { assert, describe, it } from "@effect/vitest"
import fc from "fast-check"
import { jsonFlawOf } from "../../src/protocol/JsonFlaw.ts"

const parses = (text: string): boolean => {
  try {
    JSON.parse(text)
    return true
  } catch {
    return false
  }
}

describe("a text that is no JSON", () => {
  for (const [text, line, column, problem] of [
    ["{name}", 1, 2, 'expected a name in double quotes or "}"'],
    ['{"a": nope}', 1, 7, "expected a value"],
    ['{\n  "a": 1\n  "b": 2\n}', 3, 3, 'expected "," or "}"'],
    ['{"a" 1}', 1, 6, 'expected ":"'],
    ['{"a": 1,}', 1, 9, "expected a name in double quotes"],
    ["[1, 2", 1, 6, 'the text ends here: expected "," or "]"'],
    ["[1,]", 1, 4, "expected a value"],
    ["[", 1, 2, 'the text ends here: expected a value or "]"'],
    ["", 1, 1, "the text ends here: expected a value"],
    ["1 2", 1, 3, "expected nothing more"],
    ['"open', 1, 6, "the text ends here: the string has no closing quote"],
    ['"a\nb"', 1, 3, "a line end or control character inside a string"],
    ['"\\x"', 1, 2, "a backslash that begins no escape"],
    ['{"é😀": tru}', 1, 8, "expected a value"],
    ["{'a': 1}", 1, 2, 'expected a name in double quotes or "}"'],
    ["01", 1, 2, "expected nothing more"]
  ] as const) {
    it(`is told where: ${JSON.stringify(text)}`, () => {
      assert.deepStrictEqual(jsonFlawOf(text), { line, column, problem })
    })
  }

  it("is one exactly where JSON.parse says so", () => {
    const pieces = fc.constantFrom(...'{}[]:," \n\\ue0-+.1', '"a"', "true", "null", '"\\u00e9"', "1e5", "-0.5")
    fc.assert(
      fc.property(
        fc.oneof(
          fc.array(pieces, { maxLength: 12 }).map((all) => all.join("")),
          fc.json()
        ),
        (text) => {
          assert.strictEqual(jsonFlawOf(text) === undefined, parses(text))
        }
      ),
      { numRuns: 5000 }
    )
  })

  it("may be nested as deep as it likes, and its strings as long", () => {
    assert.isUndefined(jsonFlawOf("[".repeat(200_000) + "]".repeat(200_000)))
    assert.isUndefined(jsonFlawOf(`"${"x\\n".repeat(1_000_000)}"`))
  })
})
