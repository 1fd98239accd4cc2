/**
 * Programs that a peer runs on this machine: a login shell on a terminal, or one program with pipes (ssh.md section 2).
 *
 * The service starts what it is told: who may run what is decided before (scopes). Nothing that a peer sent reaches a shell
 * unless the peer may run everything. The environment is this: what the node's user has at login, and of the peer's wishes
 * only `LANG`, `LC_*` and `TERM`. A child never outlives its scope.
 */
import { Context, type Effect, Schema, type Scope } from "effect"

export class ShellError extends Schema.TaggedError<ShellError>()("ShellError", {
  /** `NoTerminal`: this platform or installation has no pty. */
  reason: Schema.Literals(["NotFound", "NotExecutable", "NoTerminal", "TooMany", "Io"]),
  hint: Schema.String
}) {
  override get message() {
    return this.hint
  }
}

export interface TerminalSize {
  readonly columns: number
  readonly rows: number
  readonly widthPixels: number
  readonly heightPixels: number
}

/** How a child ended. `signal`: without `SIG`. */
export type ChildEnd =
  | { readonly _tag: "Exited"; readonly code: number }
  | { readonly _tag: "Killed"; readonly signal: string; readonly coreDumped: boolean }

export interface Child {
  /** The next bytes of its output; undefined at its end. On a terminal there is no `stderr`. */
  readonly stdout: Effect.Effect<Uint8Array | undefined>
  readonly stderr: Effect.Effect<Uint8Array | undefined>
  /** Waits while the child does not read. A child that has closed its input takes nothing more. */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void>
  readonly endInput: Effect.Effect<void>
  readonly resize: (size: TerminalSize) => Effect.Effect<void>
  /** A name without `SIG`. */
  readonly signal: (name: string) => Effect.Effect<void>
  readonly ended: Effect.Effect<ChildEnd>
}

export interface Terminal {
  readonly term: string
  readonly size: TerminalSize
}

export interface ShellRequest {
  /** Undefined: the login shell. `words`: a program and its arguments. `line`: for the shell, as it is. */
  readonly command: { readonly words: ReadonlyArray<string> } | { readonly line: string } | undefined
  readonly terminal: Terminal | undefined
  /** Wishes; what is not allowed is left out. */
  readonly environment: Readonly<Record<string, string>>
}

export class Shell extends Context.Service<
  Shell,
  {
    readonly start: (request: ShellRequest) => Effect.Effect<Child, ShellError, Scope.Scope>
  }
>()("alknet/Shell") {}
