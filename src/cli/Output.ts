/**
 * What a command says. The answer goes to standard output, everything about it to standard error; with `--json` standard
 * output carries exactly one JSON value, or one per line, and nothing else.
 */
import { Context, Effect, Layer } from "effect"
import { settings } from "./Globals.ts"
import { compactJson } from "./Printable.ts"
import { type Column, tableLines } from "./Table.ts"

/** Waits until the bytes are with the operating system, so that an exit right after loses none of them. */
export const writeTo = (stream: NodeJS.WriteStream, bytes: string | Uint8Array): Effect.Effect<void> =>
  Effect.callback((resume) => {
    stream.write(bytes, () => resume(Effect.void))
  })

export class Output extends Context.Service<
  Output,
  {
    /** Answers are for programs. */
    readonly json: boolean
    readonly quiet: boolean
    readonly color: boolean
    /** Columns of the terminal that standard output is; 0 where it is none. */
    readonly width: number
    /** The answer: `value` for programs, or the lines for people. */
    readonly answer: (value: unknown, lines: string | ReadonlyArray<string>) => Effect.Effect<void>
    /** A table for people, the same rows as values for programs. */
    readonly table: (
      value: unknown,
      columns: ReadonlyArray<Column>,
      rows: ReadonlyArray<ReadonlyArray<string>>
    ) => Effect.Effect<void>
    /** Something about the answer, on standard error; silent with `--quiet`. */
    readonly note: (text: string) => Effect.Effect<void>
    /** Something that should be looked at, on standard error, also with `--quiet`. */
    readonly warn: (text: string) => Effect.Effect<void>
  }
>()("alknet/cli/Output") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(settings, ({ color, json, quiet }) => {
      const width = process.stdout.isTTY ? (process.stdout.columns ?? 0) : 0
      const print = (lines: string | ReadonlyArray<string>) => {
        const text = typeof lines === "string" ? lines : lines.join("\n")
        return text === "" ? Effect.void : writeTo(process.stdout, `${text}\n`)
      }
      const answer = (value: unknown, lines: string | ReadonlyArray<string>) => print(json ? compactJson(value) : lines)
      return Output.of({
        json,
        quiet,
        color: color && process.stderr.isTTY === true && process.env["NO_COLOR"] === undefined,
        width,
        answer,
        table: (value, columns, rows) => answer(value, rows.length === 0 ? [] : tableLines(columns, rows, width)),
        note: (text) => (quiet ? Effect.void : writeTo(process.stderr, `${text}\n`)),
        warn: (text) => writeTo(process.stderr, `warning: ${text}\n`)
      })
    })
  )
}
