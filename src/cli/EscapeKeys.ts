/**
 * The escapes of a terminal session, as OpenSSH has them: at the start of a line `~.` ends it and `~~` is one `~`. All else
 * goes to the other side, a `~` that no escape follows with what came after it.
 */

const TILDE = 0x7e
const DOT = 0x2e
const LINE_ENDS: ReadonlyArray<number> = [0x0a, 0x0d]

export interface Typed {
  /** What goes to the other side. */
  readonly bytes: Uint8Array
  /** Nothing after it counts. */
  readonly isEnd: boolean
}

/** Reads what is typed, in whatever pieces it comes. */
export const makeEscapeReader = (): ((typed: Uint8Array) => Typed) => {
  let state: "lineStart" | "tilde" | "inLine" = "lineStart"
  return (typed) => {
    const bytes: Array<number> = []
    for (const byte of typed) {
      if (state === "tilde") {
        if (byte === DOT) return { bytes: Uint8Array.from(bytes), isEnd: true }
        bytes.push(TILDE)
        state = "inLine"
        if (byte === TILDE) continue
      } else if (state === "lineStart" && byte === TILDE) {
        state = "tilde"
        continue
      }
      bytes.push(byte)
      state = LINE_ENDS.includes(byte) ? "lineStart" : "inLine"
    }
    return { bytes: Uint8Array.from(bytes), isEnd: false }
  }
}
