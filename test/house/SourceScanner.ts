/**
 * Reads what the house tests need from TypeScript text: which modules a file names, and its code without comments and
 * string contents. A scanner of a few states, not a parser: it knows comments, strings, templates and regular
 * expressions, so that what stands in them is never taken for code.
 */
import { globSync, readFileSync } from "node:fs"
import { dirname, join, posix, resolve } from "node:path"
import { fileURLToPath } from "node:url"

export const root = resolve(dirname(fileURLToPath(import.meta.url)), "../..")

export interface ModuleReference {
  readonly specifier: string
  /** What is taken from the module, as it stands between the keyword and `from`; empty for other kinds. */
  readonly clause: string
  /** `import type`, `export type`: gone at run time. */
  readonly typeOnly: boolean
  readonly kind: "import" | "export" | "dynamic" | "thread"
}

export interface Source {
  /** Path from the root of the project, with `/`. */
  readonly path: string
  readonly text: string
}

/** All TypeScript files under the folders, sorted. */
export const readSources = (...folders: ReadonlyArray<string>): ReadonlyArray<Source> =>
  folders
    .flatMap((folder) => globSync(`${folder}/**/*.ts`, { cwd: root }))
    .filter((path) => !path.includes("node_modules"))
    .map((path) => path.replaceAll("\\", "/"))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(root, path), "utf8") }))

interface Masked {
  /** Comments are gone, every string is `"n"`, with n its place in `strings`. Line breaks are kept. */
  readonly code: string
  readonly strings: ReadonlyArray<string>
}

/** After these characters or words a slash starts a regular expression, not a division. */
const beforeExpression = /(?:^|[(,=:[!&|?{};+\-*%<>~^]|\b(?:return|typeof|case|in|of|yield|await))\s*$/

const endOfExpression = (text: string, from: number): number => {
  let inClass = false
  for (let at = from + 1; at < text.length; at++) {
    const character = text[at]
    if (character === "\\") at++
    else if (character === "[") inClass = true
    else if (character === "]") inClass = false
    else if (character === "/" && !inClass) return at + 1
    else if (character === "\n") return from + 1
  }
  return text.length
}

/** Takes comments, strings and regular expressions out of the text. */
const mask = (text: string): Masked => {
  const strings: Array<string> = []
  let code = ""
  let at = 0
  // For each open `${`, how many braces are open inside it.
  const braces: Array<number> = []
  const template = (): void => {
    let content = ""
    while (at < text.length) {
      if (text[at] === "\\") {
        content += text.slice(at, at + 2)
        at += 2
      } else if (text[at] === "`") {
        at++
        break
      } else if (text.startsWith("${", at)) {
        at += 2
        braces.push(0)
        break
      } else content += text[at++]
    }
    code += `"${strings.push(content) - 1}"`
  }
  while (at < text.length) {
    const character = text[at] as string
    if (text.startsWith("//", at)) {
      const end = text.indexOf("\n", at)
      at = end === -1 ? text.length : end
    } else if (text.startsWith("/*", at)) {
      const end = text.indexOf("*/", at + 2)
      const next = end === -1 ? text.length : end + 2
      code += text.slice(at, next).replace(/[^\n]/g, "")
      at = next
    } else if (character === '"' || character === "'") {
      let end = at + 1
      while (end < text.length && text[end] !== character && text[end] !== "\n") end += text[end] === "\\" ? 2 : 1
      code += `"${strings.push(text.slice(at + 1, end)) - 1}"`
      at = end + 1
    } else if (character === "`") {
      at++
      template()
    } else if (character === "/" && beforeExpression.test(code.slice(-16))) {
      const end = endOfExpression(text, at)
      code += " "
      at = end
    } else {
      const open = braces.length - 1
      if (open >= 0 && character === "{") braces[open] = (braces[open] ?? 0) + 1
      if (open >= 0 && character === "}") {
        if (braces[open] === 0) {
          braces.pop()
          at++
          template()
          continue
        }
        braces[open] = (braces[open] ?? 0) - 1
      }
      code += character
      at++
    }
  }
  return { code, strings }
}

/** The code alone: no comments, no contents of strings. */
export const codeOf = (text: string): string => mask(text).code.replace(/"\d+"/g, '""')

/** Every module that the text names, in order. */
export const referencesOf = (text: string): ReadonlyArray<ModuleReference> => {
  const { code, strings } = mask(text)
  const found: Array<ModuleReference & { readonly at: number }> = []
  const collect = (pattern: RegExp, kind: (match: RegExpMatchArray) => ModuleReference["kind"]): void => {
    for (const match of code.matchAll(pattern)) {
      found.push({
        specifier: strings[Number(match.groups?.["string"])] ?? "",
        clause: /^(?:import|export)\s+([^"]*?)\s*\bfrom\b/.exec(match[0])?.[1] ?? "",
        typeOnly: isTypeOnly(match[0]),
        kind: kind(match),
        at: match.index
      })
    }
  }
  collect(/\b(?:import|export)\b(?!\s*\()[^"()=]*?\bfrom\s*"(?<string>\d+)"/g, (match) =>
    match[0].startsWith("import") ? "import" : "export"
  )
  collect(/\bimport\s*"(?<string>\d+)"/g, () => "import")
  collect(/\b(?:import|require)\s*\(\s*"(?<string>\d+)"/g, () => "dynamic")
  collect(/\bnew\s+URL\s*\(\s*"(?<string>\d+)"\s*,\s*import\.meta\.url/g, () => "thread")
  return found.sort((one, other) => one.at - other.at).map(({ at: _, ...reference }) => reference)
}

/** `import type ...`, or braces in which every name is marked `type`. */
const isTypeOnly = (statement: string): boolean => {
  if (/^(?:import|export)\s+type\b/.test(statement)) return true
  const names = /^(?:import|export)\s*\{([^}]*)\}\s*from/.exec(statement)?.[1]
  if (names === undefined) return false
  const parts = names.split(",").filter((name) => name.trim() !== "")
  return parts.length > 0 && parts.every((name) => /^\s*type\s/.test(name))
}

/** The project path that a relative specifier means, or undefined for a package. */
export const targetOf = (from: string, specifier: string): string | undefined =>
  specifier.startsWith(".") ? posix.normalize(posix.join(posix.dirname(from), specifier)) : undefined
