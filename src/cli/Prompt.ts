/**
 * Questions on a terminal. They are asked on standard error, because standard output belongs to the answer, and read from
 * standard input; nothing is asked where either is no terminal. Ctrl-C leaves the terminal as it was.
 */
import { Effect, Redacted } from "effect"
import type { Secret } from "../services/Vault.ts"

/** Whether somebody can be asked. */
export const canAsk = (): boolean => process.stdin.isTTY === true && process.stderr.isTTY === true

const CTRL_C = "\u0003"
const CTRL_D = "\u0004"
const BACKSPACES = ["\u007f", "\b"]
/** What arrow and function keys send: not part of a line. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: keys send it
const KEY_SEQUENCES = /\u001b(?:\[[0-9;]*[A-Za-z~]|O[A-Z])/g
/** Longest line that is taken, in characters. */
const LINE_MAX = 4096

/** Asks, and gives one line from the terminal; interrupts on Ctrl-C and on an end of input. */
const readLine = (question: string, echo: boolean): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const { stdin } = process
    const typed: Array<string> = []
    const wasRaw = stdin.isRaw
    const decoder = new TextDecoder()
    const restore = () => {
      stdin.off("data", onData).off("end", onEnd).pause()
      stdin.setRawMode(wasRaw)
      process.stderr.write("\n")
    }
    const settle = (outcome: Effect.Effect<string>) => {
      restore()
      resume(outcome)
    }
    const onEnd = () => settle(Effect.interrupt)
    const onData = (chunk: Uint8Array) => {
      const characters = [...decoder.decode(chunk, { stream: true }).replace(KEY_SEQUENCES, "")]
      for (const [index, character] of characters.entries()) {
        if (character === "\r" || character === "\n") {
          // What was typed or pasted ahead belongs to the next question.
          const ahead = characters.slice(index + 1).join("")
          settle(Effect.succeed(typed.join("")))
          if (ahead !== "") stdin.unshift(Buffer.from(ahead))
          return
        }
        if (character === CTRL_C || (character === CTRL_D && typed.length === 0)) return settle(Effect.interrupt)
        if (BACKSPACES.includes(character)) {
          if (typed.pop() !== undefined && echo) process.stderr.write("\b \b")
        } else if (character >= " " && typed.length < LINE_MAX) {
          typed.push(character)
          if (echo) process.stderr.write(character)
        }
      }
    }
    // The terminal's own echo is off before anybody is asked to type.
    stdin.setRawMode(true)
    stdin.on("data", onData).on("end", onEnd).resume()
    process.stderr.write(question)
    return Effect.sync(restore)
  })

/** Asks for a line. */
export const ask = (question: string): Effect.Effect<string> => readLine(question, true)

/** Asks for a secret; nothing that is typed is shown. */
export const askSecret = (question: string): Effect.Effect<Secret> =>
  Effect.map(readLine(question, false), (text) =>
    Redacted.make(new TextEncoder().encode(text), { label: "passphrase" })
  )
