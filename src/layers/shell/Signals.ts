/** The signals that a peer may send (RFC 4254 section 6.10) and the names of those that end a child on a terminal. */
import { constants } from "node:os"

const NAMES = [
  "ABRT",
  "ALRM",
  "FPE",
  "HUP",
  "ILL",
  "INT",
  "KILL",
  "PIPE",
  "QUIT",
  "SEGV",
  "TERM",
  "USR1",
  "USR2"
] as const
type SignalName = (typeof NAMES)[number]

/** Whether a peer may send a signal of this name, which has no `SIG`. */
export const isSignalName = (name: string): name is SignalName => NAMES.some((known) => known === name)

/** The name of a number, without `SIG`. */
export const signalNameOf = (number: number): string =>
  Object.entries(constants.signals)
    .find(([, value]) => value === number)?.[0]
    .replace(/^SIG/, "") ?? "TERM"
