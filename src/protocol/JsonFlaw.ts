/**
 * Where a text stops being JSON (RFC 8259), for people who typed it: line, column and what was expected there.
 *
 * It judges as `JSON.parse` does and gives no value; what parses needs no second look.
 */

export interface JsonFlaw {
  /** From 1. */
  readonly line: number
  /** From 1, in characters. */
  readonly column: number
  /** What is wrong or missing there, such as `expected ":"`. */
  readonly problem: string
}

/** The first flaw; undefined where the text is JSON. */
export const jsonFlawOf = (text: string): JsonFlaw | undefined => {
  const found = new Scan(text).run()
  if (found === undefined) return undefined
  const before = text.slice(0, found.at)
  const lineStart = before.lastIndexOf("\n") + 1
  return {
    line: before.split("\n").length,
    column: Array.from(before.slice(lineStart)).length + 1,
    problem: found.at >= text.length ? `the text ends here: ${found.problem}` : found.problem
  }
}

interface Found {
  readonly at: number
  readonly problem: string
}

/** What may come next. */
type Next = "value" | "value or ]" | "name or }" | "name" | ":" | ", or end" | "nothing"

const EXPECTED: Readonly<Record<Exclude<Next, ", or end">, string>> = {
  value: "expected a value",
  "value or ]": 'expected a value or "]"',
  "name or }": 'expected a name in double quotes or "}"',
  name: "expected a name in double quotes",
  ":": 'expected ":"',
  nothing: "expected nothing more"
}

const space = /[ \t\n\r]*/y
const scalar = /true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y
// All but controls, the quote and the backslash.
const plainCharacters = /[ !#-[\]-\uffff]*/y
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y

class Scan {
  readonly #text: string
  readonly #open: Array<"{" | "["> = []
  #at = 0
  #next: Next = "value"

  constructor(text: string) {
    this.#text = text
  }

  run(): Found | undefined {
    while (true) {
      this.#skip(space)
      if (this.#at >= this.#text.length) return this.#next === "nothing" ? undefined : this.#flaw(this.#expected)
      const found = this.#step(this.#text[this.#at]!)
      if (found !== undefined) return found
    }
  }

  #step(character: string): Found | undefined {
    switch (this.#next) {
      case "value":
      case "value or ]":
        if (character === "]" && this.#next === "value or ]") return this.#close()
        return this.#value(character)
      case "name":
      case "name or }":
        if (character === "}" && this.#next === "name or }") return this.#close()
        if (character !== '"') return this.#flaw(this.#expected)
        this.#next = ":"
        return this.#string()
      case ":":
        if (character !== ":") return this.#flaw(this.#expected)
        return this.#take("value")
      case ", or end": {
        const open = this.#open.at(-1)
        if (character === ",") return this.#take(open === "{" ? "name" : "value")
        return character === (open === "{" ? "}" : "]") ? this.#close() : this.#flaw(this.#expected)
      }
      case "nothing":
        return this.#flaw(this.#expected)
    }
  }

  #value(character: string): Found | undefined {
    if (character === "{" || character === "[") {
      this.#open.push(character)
      return this.#take(character === "{" ? "name or }" : "value or ]")
    }
    const expected = this.#expected
    this.#afterValue()
    if (character === '"') return this.#string()
    return this.#skip(scalar) ? undefined : this.#flaw(expected)
  }

  /** From the opening quote to the closing one. */
  #string(): Found | undefined {
    this.#at++
    while (true) {
      this.#skip(plainCharacters)
      const character = this.#text[this.#at]
      if (character === '"') {
        this.#at++
        return undefined
      }
      if (character === undefined) return this.#flaw("the string has no closing quote")
      if (character !== "\\") return this.#flaw("a line end or control character inside a string")
      if (!this.#skip(escape)) return this.#flaw("a backslash that begins no escape")
    }
  }

  get #expected(): string {
    if (this.#next !== ", or end") return EXPECTED[this.#next]
    return `expected "," or "${this.#open.at(-1) === "{" ? "}" : "]"}"`
  }

  /** Moves over what matches here; false where nothing does. */
  #skip(pattern: RegExp): boolean {
    pattern.lastIndex = this.#at
    const matches = pattern.test(this.#text)
    if (matches) this.#at = pattern.lastIndex
    return matches
  }

  #take(next: Next): undefined {
    this.#at++
    this.#next = next
  }

  #close(): undefined {
    this.#open.pop()
    this.#at++
    this.#afterValue()
  }

  #afterValue(): void {
    this.#next = this.#open.length === 0 ? "nothing" : ", or end"
  }

  #flaw(problem: string): Found {
    return { at: this.#at, problem }
  }
}
