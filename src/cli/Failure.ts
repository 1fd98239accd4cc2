/**
 * How a command fails: one sentence, a hint, a code for programs and an exit code.
 *
 * | exit | meaning |
 * |---|---|
 * | 0 | done |
 * | 1 | failed |
 * | 2 | wrong usage |
 * | 3 | denied by the other side |
 * | 4 | the other side cannot be reached |
 * | 130 | interrupted |
 * | 141 | whoever read standard output has gone, as if SIGPIPE had ended the command |
 *
 * The typed errors of services become a `Failure` in Explain.ts; commands make one directly for what only they can know.
 */
import { Data } from "effect"

export type ExitCode = 1 | 2 | 3 | 4 | 130 | 141

/** What is wrong with one part of an input. */
export interface InputIssue {
  /** Names of members and places in arrays, from the outside in; empty for the whole input. */
  readonly path: ReadonlyArray<string | number>
  readonly message: string
}

export class Failure extends Data.TaggedError("Failure")<{
  /** Stable, upper case: what a program compares. */
  readonly code: string
  /** One sentence without a final stop, printable. */
  readonly message: string
  /** What to do; may be empty. */
  readonly hint: string
  readonly exit: ExitCode
  /** Shown one a line. */
  readonly issues?: ReadonlyArray<InputIssue>
}> {}

/** Something failed on this side. */
export const failed = (code: string, message: string, hint = ""): Failure =>
  new Failure({ code, message, hint, exit: 1 })

/** The command line does not make sense. */
export const wrongUsage = (message: string, hint = ""): Failure =>
  new Failure({ code: "USAGE", message, hint, exit: 2 })

/** The other side said no. */
export const denied = (code: string, message: string, hint = ""): Failure =>
  new Failure({ code, message, hint, exit: 3 })

/** The other side could not be reached. */
export const unreachable = (message: string, hint = ""): Failure =>
  new Failure({ code: "UNREACHABLE", message, hint, exit: 4 })

/** A program of the other side ended with a status other than 0, which becomes that of this process; nothing is said. */
export class RemoteExit extends Data.TaggedError("RemoteExit")<{ readonly status: number }> {}
