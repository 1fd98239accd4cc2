/**
 * The program's own log lines, on standard error: time, level, text, and the values that belong to it. The audit log has
 * a format of its own and does not come through here.
 */
import { Array as Arrays, Layer, Logger, type LogLevel, References } from "effect"
import { printable } from "./Printable.ts"

const VALUE_MAX = 400

const shown = (value: unknown): string => {
  const text = typeof value === "string" ? value : (JSON.stringify(value) ?? String(value))
  return printable(text.length > VALUE_MAX ? `${text.slice(0, VALUE_MAX)}…` : text)
}

/** One line of the log. Causes are named by their error only: what else they hold is not checked for secrets. */
const lineLogger = Logger.make<unknown, void>(({ cause, date, fiber, logLevel, message }) => {
  const parts = [date.toISOString(), logLevel.toLowerCase(), ...Arrays.ensure(message).map(shown)]
  for (const [key, value] of Object.entries(fiber.getRef(References.CurrentLogAnnotations))) {
    parts.push(`${key}=${shown(value)}`)
  }
  for (const reason of cause.reasons) {
    const thrown = reason._tag === "Fail" ? reason.error : reason._tag === "Die" ? reason.defect : undefined
    if (thrown instanceof Error) parts.push(`error=${shown(thrown.name)}`)
  }
  process.stderr.write(`${parts.join(" ")}\n`)
})

/** Logs to standard error from this level on. */
export const layerLog = (level: LogLevel.LogLevel): Layer.Layer<never> =>
  Layer.mergeAll(Logger.layer([lineLogger]), Layer.succeed(References.MinimumLogLevel, level))
