/**
 * Command lines of SSH `exec` requests as words, without a shell (ssh.md section 2).
 *
 * | written | means |
 * |---|---|
 * | space, tab | between words |
 * | `'...'` | as it is |
 * | `"..."` | as it is, but `\` before `"`, `\`, `$` and a backtick takes that character |
 * | `\x` | the character x, which is no newline |
 *
 * What a shell would act on (pipes, lists, redirections, expansions, globs, comments, substitutions, several lines) is
 * refused and never taken as text: a command must not mean something else here than the person who wrote it believes.
 */
import { Result, Schema } from "effect"

/** The longest command line, in characters. */
export const COMMAND_LINE_MAX = 65_536

export class CommandLineInvalid extends Schema.TaggedError<CommandLineInvalid>()("CommandLineInvalid", {
  /** `shell`: only a shell could do it. `quote`: one is not closed. */
  reason: Schema.Literals(["empty", "shell", "quote", "too long", "characters"])
}) {
  override get message() {
    switch (this.reason) {
      case "shell":
        return "this needs a shell, which is not allowed here: write one program and its arguments"
      case "quote":
        return "a quote or backslash at the end is not closed"
      default:
        return `not a command line: ${this.reason}`
    }
  }
}

/** Characters of which a shell makes something outside of quotes, wherever they stand. */
const ACTIVE = /[|&;<>()$`*?[\n\r]/
/** What a shell acts on where it begins a word, or is one. */
const ACTIVE_FIRST = /^(?:[#~]|[{}!]$|[A-Za-z_][A-Za-z0-9_]*=)/

/** The words; at least one, the first is the program and not empty. */
export const parseCommandLine = (text: string): Result.Result<ReadonlyArray<string>, CommandLineInvalid> => {
  const refuse = (reason: CommandLineInvalid["reason"]) => Result.fail(new CommandLineInvalid({ reason }))
  if (text.length > COMMAND_LINE_MAX) return refuse("too long")
  if (text.includes("\0")) return refuse("characters")
  const words: Array<string> = []
  let word: string | undefined
  /** What of the word stands without quotes and before any. */
  let bare = ""
  let isBare = true
  const end = (): boolean => {
    if (word !== undefined) {
      const acts = words.length === 0 ? ACTIVE_FIRST.test(bare) : /^(?:[#~]|[{}]$)/.test(bare)
      if (acts) return false
      words.push(word)
    }
    word = undefined
    bare = ""
    isBare = true
    return true
  }
  for (let at = 0; at < text.length; at++) {
    const character = text[at]!
    if (character === " " || character === "\t") {
      if (!end()) return refuse("shell")
    } else if (character === "'") {
      const close = text.indexOf("'", at + 1)
      if (close < 0) return refuse("quote")
      word = (word ?? "") + text.slice(at + 1, close)
      isBare = false
      at = close
    } else if (character === '"') {
      const quoted = readDoubleQuoted(text, at + 1)
      if (typeof quoted === "string") return refuse(quoted)
      word = (word ?? "") + quoted.text
      isBare = false
      at = quoted.close
    } else if (character === "\\") {
      const next = text[++at]
      if (next === undefined) return refuse("quote")
      if (next === "\n") return refuse("shell")
      word = (word ?? "") + next
      isBare = false
    } else if (ACTIVE.test(character)) {
      return refuse("shell")
    } else {
      word = (word ?? "") + character
      if (isBare) bare += character
    }
  }
  if (!end()) return refuse("shell")
  const [program] = words
  return program === undefined || program === "" ? refuse("empty") : Result.succeed(words)
}

const readDoubleQuoted = (
  text: string,
  from: number
): { readonly text: string; readonly close: number } | "quote" | "shell" => {
  let out = ""
  for (let at = from; at < text.length; at++) {
    const character = text[at]!
    if (character === '"') return { text: out, close: at }
    if (character === "$" || character === "`") return "shell"
    if (character === "\\" && /["\\$`]/.test(text[at + 1] ?? "")) out += text[++at]
    else out += character
  }
  return "quote"
}
