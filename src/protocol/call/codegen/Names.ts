/** Names and string literals for generated TypeScript: whatever the text they are made of, they stay what they are. */

/** What the generated text itself refers to, or what a module may not or should not declare. */
const RESERVED = [
  "Array",
  "Boolean",
  "Error",
  "Function",
  "Infinity",
  "NaN",
  "Number",
  "Object",
  "Operation",
  "Promise",
  "ReadonlyArray",
  "Schema",
  "String",
  "Symbol",
  "Uint8Array"
]

/** The longest part of a name that is kept: what is longer is nobody's to read. */
const WORDS_MAX = 80

const capitalised = (word: string): string => word.charAt(0).toUpperCase() + word.slice(1)

/** `fs/readFile` -> `FsReadFile`, `FILE_NOT_FOUND` -> `FileNotFound`. Always an identifier, and never a keyword. */
export const pascalCase = (text: string): string => {
  const words = text.split(/[^A-Za-z0-9]+/).filter((word) => word !== "")
  const shouts = words.every((word) => word === word.toUpperCase())
  const joined = words.map((word) => capitalised(shouts ? word.toLowerCase() : word)).join("")
  const name = joined.slice(0, WORDS_MAX)
  return /^[A-Z]/.test(name) ? name : `_${name}`
}

/** Gives each name once; the second to ask for it gets it with a number. */
export class Names {
  readonly #taken: Set<string>

  constructor(reserved: ReadonlyArray<string> = RESERVED) {
    this.#taken = new Set(reserved)
  }

  take(wanted: string): string {
    let name = wanted
    for (let count = 2; this.#taken.has(name); count++) name = `${wanted}${count}`
    this.#taken.add(name)
    return name
  }
}

/** A string literal that no text can leave. Line separators are escaped for readers that take them for line ends. */
export const quoted = (text: string): string =>
  JSON.stringify(text).replaceAll("\u2028", "\\u2028").replaceAll("\u2029", "\\u2029")

/** The key of an object literal. A plain `__proto__` there would set the prototype. */
export const keyOf = (text: string): string => {
  if (text === "__proto__") return `["__proto__"]`
  return /^[A-Za-z_$][A-Za-z0-9_$]*$/.test(text) ? text : quoted(text)
}

/** The key of a type literal. */
export const typeKeyOf = (text: string): string => (text === "__proto__" ? quoted(text) : keyOf(text))

/** Lines inside brackets, one step further in. */
export const block = (open: string, lines: ReadonlyArray<string>, close: string): string =>
  lines.length === 0
    ? open + close
    : [open, lines.map((line) => `  ${line.replaceAll("\n", "\n  ")}`).join(",\n"), close].join("\n")
