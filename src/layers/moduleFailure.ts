/**
 * Why a module did not load, and where: what Node throws for syntax, for a missing import and for code that failed, as a
 * `ModuleError`. Where the place is only in the text that Node prints, it is read from there.
 */
import { readFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { ModuleError } from "../services/ModuleError.ts"

interface Place {
  readonly file: string
  readonly line?: number
  readonly column?: number
}

const pathOf = (place: string): string => {
  const withoutQuery = place.replace(/\?[^?]*$/, "")
  return withoutQuery.startsWith("file:") ? fileURLToPath(withoutQuery) : withoutQuery
}

/** Before the stack of a syntax error stand its place, lines of code, and mostly a mark below the column. */
const atSyntax = (stack: string): Place | undefined => {
  const found = /^((?:file:\/\/)?\/[^\n]*):(\d+)\n(?:(?:[^\n]+\n){1,8}?( *)\^)?/.exec(stack)
  if (found === null) return undefined
  const place = { file: pathOf(found[1]!), line: Number(found[2]) }
  return found[3] === undefined ? place : { ...place, column: found[3].length + 1 }
}

/** The first frame that belongs to a file of the user. */
const atFrame = (stack: string, mark: string): Place | undefined => {
  const found = new RegExp(`(file://[^\\s()]*\\?${mark}=\\d+):(\\d+):(\\d+)`).exec(stack)
  return found === null ? undefined : { file: pathOf(found[1]!), line: Number(found[2]), column: Number(found[3]) }
}

/** The first line of a file that holds one of these texts in quotes. */
export const lineWith = (file: string, texts: ReadonlyArray<string>): number | undefined => {
  let source: string
  try {
    source = readFileSync(file, "utf8")
  } catch {
    return undefined
  }
  const lines = source.split("\n")
  for (const text of texts) {
    const index = lines.findIndex((line) => ['"', "'", "`"].some((quote) => line.includes(text + quote)))
    if (index >= 0) return index + 1
  }
  return undefined
}

/** Who imports what is not there; Node says which file, not which line. */
const atImport = (message: string): Place | undefined => {
  const found = /^Cannot find (?:module|package) '([^']+)' imported from (.+)$/m.exec(message)
  if (found === null) return undefined
  const file = pathOf(found[2]!)
  const missing = pathOf(found[1]!)
  const line = lineWith(file, [missing, missing.slice(missing.lastIndexOf("/"))])
  return line === undefined ? { file } : { file, line }
}

const hintOf = (code: unknown): string => {
  switch (code) {
    case "ERR_MODULE_NOT_FOUND":
      return "is it installed beside the file, and does a relative import name the file with its ending?"
    case "ERR_UNSUPPORTED_TYPESCRIPT_SYNTAX":
      return "only types that can be erased run as they are: no enum, no namespace, no parameter property"
    default:
      return ""
  }
}

/** What importing `file` was rejected with. `mark` is the member of the query that marks the user's files. */
export const moduleFailure = (file: string, mark: string, error: unknown): ModuleError => {
  if (!(error instanceof Error)) return new ModuleError({ file, problem: "it threw while it loaded", hint: "" })
  const stack = error.stack ?? ""
  const code = "code" in error ? error.code : undefined
  const place = atImport(error.message) ?? atSyntax(stack) ?? atFrame(stack, mark) ?? { file }
  const problem = (error.message.split("\n")[0] ?? "").replaceAll(new RegExp(`\\?${mark}=\\d+`, "g"), "")
  return new ModuleError({
    ...place,
    problem: error.name === "Error" || problem === "" ? problem || error.name : `${error.name}: ${problem}`,
    hint: hintOf(code)
  })
}
