import { assert, it } from "@effect/vitest"
import { makeEscapeReader } from "../../src/cli/EscapeKeys.ts"

/** What reaches the other side of these pieces, and whether the session ended. */
const typed = (...pieces: ReadonlyArray<string>) => {
  const read = makeEscapeReader()
  let text = ""
  for (const piece of pieces) {
    const { bytes, isEnd } = read(Buffer.from(piece))
    text += Buffer.from(bytes).toString()
    if (isEnd) return [text, "end"]
  }
  return [text, "open"]
}

it("~. at the start of a line ends the session, in whatever pieces it comes", () => {
  assert.deepStrictEqual(typed("~."), ["", "end"])
  assert.deepStrictEqual(typed("ls\r~.more"), ["ls\r", "end"])
  assert.deepStrictEqual(typed("ls\n", "~", "."), ["ls\n", "end"])
})

it("elsewhere it is text, and so is a ~ that no escape follows", () => {
  assert.deepStrictEqual(typed("a~."), ["a~.", "open"])
  assert.deepStrictEqual(typed("~x~."), ["~x~.", "open"])
  assert.deepStrictEqual(typed("~~."), ["~.", "open"])
  assert.deepStrictEqual(typed("~", "\r", "~."), ["~\r", "end"])
})
