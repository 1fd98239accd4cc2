/**
 * What a program finds when it starts: the home, shell and search path of the node's user, and of the wishes of a peer only
 * those that change nothing but the language and the terminal.
 */
import { statSync } from "node:fs"
import { userInfo } from "node:os"

/** Longest value of a variable that a peer may set, and how many it may. */
export const VARIABLE_MAX_CHARACTERS = 256
export const VARIABLES_MAX = 32

/** Where programs are looked for when nobody says. */
const SEARCH_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"

/** Whether a peer may set a variable of this name. */
export const isWishedVariable = (name: string): boolean => /^(?:LANG|TERM|LC_[A-Z_]{1,32})$/.test(name)

/** The user of this node. A user without an entry in the system's tables has what a shell needs least. */
const user = (): { readonly username: string; readonly homedir: string; readonly shell: string } => {
  try {
    const { homedir, shell, username } = userInfo()
    return { username, homedir, shell: shell ?? "/bin/sh" }
  } catch {
    return { username: String(process.getuid?.() ?? "user"), homedir: "/", shell: "/bin/sh" }
  }
}

export interface Surroundings {
  readonly shell: string
  readonly directory: string
  readonly variables: Readonly<Record<string, string>>
}

export interface Place {
  /** Instead of the user's own. */
  readonly shell?: string
  /** Folders where programs are looked for, as in `PATH`. */
  readonly searchPath?: string
}

export const surroundings = (wishes: Readonly<Record<string, string>>, place: Place): Surroundings => {
  const { homedir, shell: own, username } = user()
  const wanted = Object.entries(wishes).filter(
    ([name, value]) => isWishedVariable(name) && value.length <= VARIABLE_MAX_CHARACTERS && !value.includes("\0")
  )
  const login = place.shell ?? own
  return {
    shell: login,
    directory: isDirectory(homedir) ? homedir : "/",
    variables: {
      HOME: homedir,
      USER: username,
      LOGNAME: username,
      SHELL: login,
      PATH: place.searchPath ?? SEARCH_PATH,
      ...Object.fromEntries(wanted.slice(0, VARIABLES_MAX))
    }
  }
}

const isDirectory = (path: string): boolean => {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}
