/** What somebody who is logged in may start, by scopes and by the limits of a certificate (ssh.md section 2). */
import { Result } from "effect"
import { makeScope, scopesCover, scopesMatch } from "../../../protocol/identity/Scope.ts"
import { parseCommandLine } from "../../../protocol/ssh/CommandLine.ts"
import type { Principal } from "../../../services/Identity.ts"
import type { ShellRequest } from "../../../services/Shell.ts"
import type { Limits } from "./Login.ts"

/** What runs. */
export type Program =
  | { readonly kind: "shell"; readonly command: undefined }
  | { readonly kind: "exec"; readonly command: NonNullable<ShellRequest["command"]>; readonly text: string }
  | { readonly kind: "sftp"; readonly mayWrite: boolean }

export const READ_SCOPE = "sftp:read"
export const WRITE_SCOPE = "sftp:write"

/** What a client asked for. */
export type Wish =
  | { readonly kind: "shell" }
  | { readonly kind: "exec"; readonly text: string }
  | { readonly kind: "sftp" }

/** The program for a wish; undefined: no. A certificate that forces a command has its way whatever is asked. */
export const programFor = (principal: Principal, limits: Limits, wish: Wish): Program | undefined => {
  const forced = limits.forceCommand
  if (forced === undefined) return allowed(principal, wish)
  return allowed(principal, forced === "internal-sftp" ? { kind: "sftp" } : { kind: "exec", text: forced })
}

const allowed = ({ scopes }: Principal, wish: Wish): Program | undefined => {
  switch (wish.kind) {
    case "shell":
      return scopesMatch(scopes, "ssh:shell") ? { kind: "shell", command: undefined } : undefined
    case "sftp":
      return scopesMatch(scopes, READ_SCOPE) ? { kind: "sftp", mayWrite: scopesMatch(scopes, WRITE_SCOPE) } : undefined
    case "exec": {
      const { text } = wish
      if (text.includes("\0") || text.trim() === "") return undefined
      // Who may run everything may have a shell read the line.
      if (scopesCover(scopes, ["ssh:exec:*"])) return { kind: "exec", command: { line: text }, text }
      const words = Result.getOrUndefined(parseCommandLine(text))
      const requirement = words === undefined ? undefined : Result.getOrUndefined(makeScope("ssh", "exec", words[0]!))
      if (words === undefined || requirement === undefined || !scopesMatch(scopes, requirement)) return undefined
      return { kind: "exec", command: { words }, text }
    }
  }
}
