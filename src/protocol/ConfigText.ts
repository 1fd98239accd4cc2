/**
 * Where things stand in the text of a TOML file: which statement sets which key, and on which line, so that an error can
 * name the line and a value can be changed without touching the rest of the file.
 *
 * It is no parser: the text has been read by one before, so that strings and brackets are known to be closed.
 */

export interface Statement {
  /** Keys from the root, the table's included. */
  readonly path: ReadonlyArray<string>
  /** From 1. */
  readonly line: number
  /** Offsets of the whole statement, and of its value. */
  readonly from: number
  readonly to: number
  readonly valueFrom: number
  readonly kind: "value" | "table"
}

const BARE = /[A-Za-z0-9_-]/

class Scanner {
  private readonly text: string
  private at = 0
  private line = 1
  private table: ReadonlyArray<string> = []
  readonly statements: Array<Statement> = []

  constructor(text: string) {
    this.text = text
  }

  run(): void {
    while (this.at < this.text.length) {
      const character = this.text[this.at]!
      if (character === "#") this.skipLine()
      else if (/\s|\uFEFF/.test(character)) this.step()
      else if (character === "[") this.header()
      else this.assignment()
    }
  }

  private step(): void {
    if (this.text[this.at] === "\n") this.line++
    this.at++
  }

  private skipLine(): void {
    while (this.at < this.text.length && this.text[this.at] !== "\n") this.at++
  }

  private header(): void {
    const from = this.at
    while (this.text[this.at] === "[") this.at++
    this.table = this.keys("]")
    while (this.text[this.at] === "]") this.at++
    const { line, table } = this
    this.statements.push({ path: table, line, from, to: this.at, valueFrom: from, kind: "table" })
  }

  private assignment(): void {
    const { at: from, line } = this
    const path = [...this.table, ...this.keys("=")]
    this.at++
    while (this.text[this.at] === " " || this.text[this.at] === "\t") this.at++
    const valueFrom = this.at
    this.value()
    this.statements.push({ path, line, from, to: this.at, valueFrom, kind: "value" })
    this.skipLine()
  }

  private keys(stop: string): ReadonlyArray<string> {
    const keys: Array<string> = []
    while (this.at < this.text.length && this.text[this.at] !== stop && this.text[this.at] !== "\n") {
      const character = this.text[this.at]!
      if (character === '"' || character === "'") {
        const from = this.at
        this.string()
        keys.push(this.text.slice(from + 1, this.at - 1))
      } else if (BARE.test(character)) {
        const from = this.at
        while (BARE.test(this.text[this.at] ?? "")) this.at++
        keys.push(this.text.slice(from, this.at))
      } else this.at++
    }
    return keys
  }

  private string(): void {
    const quote = this.text[this.at]!
    const long = this.text.startsWith(quote.repeat(3), this.at)
    const end = long ? quote.repeat(3) : quote
    this.at += end.length
    while (this.at < this.text.length && !this.text.startsWith(end, this.at)) {
      if (quote === '"' && this.text[this.at] === "\\") this.at++
      this.step()
    }
    this.at += end.length
    // A long string may end with up to two quotes of its own.
    while (long && this.text[this.at] === quote) this.at++
  }

  private value(): void {
    let depth = 0
    while (this.at < this.text.length) {
      const character = this.text[this.at]!
      if (character === '"' || character === "'") {
        this.string()
        continue
      }
      if (character === "[" || character === "{") depth++
      if (character === "]" || character === "}") depth--
      if (depth === 0 && (character === "\n" || character === "\r" || character === "#")) break
      if (character === "#") this.skipLine()
      else this.step()
    }
    this.trimBack()
  }

  /** Spaces between the value and the end of the line or a comment are not part of it. */
  private trimBack(): void {
    while (this.text[this.at - 1] === " " || this.text[this.at - 1] === "\t") this.at--
  }
}

/** The statements of a file that a TOML parser has accepted, in order. */
export const scanStatements = (text: string): ReadonlyArray<Statement> => {
  const scanner = new Scanner(text)
  scanner.run()
  return scanner.statements
}

const startsWith = (path: ReadonlyArray<string>, prefix: ReadonlyArray<string>): boolean =>
  prefix.every((key, index) => path[index] === key)

/** The line of the statement that sets this path or the nearest one around it; 1 where there is none. */
export const lineOf = (text: string, path: ReadonlyArray<string>): number => {
  const statements = scanStatements(text)
  for (let length = path.length; length > 0; length--) {
    const wanted = path.slice(0, length)
    const found = statements.find((statement) => startsWith(statement.path, wanted))
    if (found !== undefined) return found.line
  }
  return 1
}

/**
 * The text with a key set to a TOML value, or without it; everything else stays as it is. `table.key` goes into the table
 * where the text has one, else it stands with the keys of the root.
 */
export const withValue = (text: string, key: string, value: string | undefined): string => {
  const statements = scanStatements(text)
  const wanted = key.split(".")
  const isAt = ({ path }: Statement, at: ReadonlyArray<string>) => path.length === at.length && startsWith(path, at)
  const found = statements.find((statement) => statement.kind === "value" && isAt(statement, wanted))
  if (found !== undefined) {
    if (value !== undefined) return text.slice(0, found.valueFrom) + value + text.slice(found.to)
    const lineEnd = text.indexOf("\n", found.to)
    return text.slice(0, found.from) + (lineEnd < 0 ? "" : text.slice(lineEnd + 1))
  }
  if (value === undefined) return text
  const table = statements.find((one) => one.kind === "table" && wanted.length > 1 && isAt(one, wanted.slice(0, -1)))
  if (table !== undefined) {
    const lineEnd = text.indexOf("\n", table.to)
    const end = lineEnd < 0 ? text.length : lineEnd
    return `${text.slice(0, end)}\n${wanted.at(-1)} = ${value}${text.slice(end)}`
  }
  const firstTable = statements.find(({ kind }) => kind === "table")?.from ?? text.length
  const before = text.slice(0, firstTable)
  const gap = before === "" || before.endsWith("\n") ? "" : "\n"
  return `${before}${gap}${key} = ${value}\n${text.slice(firstTable)}`
}
