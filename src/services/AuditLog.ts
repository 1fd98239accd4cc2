/**
 * The audit log: one line for each connection and each decision about a credential, in a form that fail2ban can read.
 *
 * Kept apart from the program's own log, because its format is a promise and its lines must hold no secret whatever the
 * log level (identity.md section 11, protocol/identity/LogLine.ts).
 */
import { Clock, Console, Context, Effect, Layer } from "effect"
import { type AuditEvent, formatLogLine } from "../protocol/identity/LogLine.ts"

export class AuditLog extends Context.Service<
  AuditLog,
  {
    /** Writes one line with the time of the clock. Never fails. */
    readonly record: (event: AuditEvent) => Effect.Effect<void>
  }
>()("alknet/AuditLog") {
  /** Lines go to standard error. */
  static readonly layer = Layer.succeed(
    this,
    this.of({
      record: (event) => Effect.flatMap(Clock.currentTimeMillis, (at) => Console.error(formatLogLine(at, event)))
    })
  )

  /** Nothing is written. */
  static readonly layerSilent = Layer.succeed(this, this.of({ record: () => Effect.void }))

  /** Lines are added to an array of the caller's: for tests, and for a program that shows them itself. */
  static readonly layerCollect = (lines: Array<string>): Layer.Layer<AuditLog> =>
    Layer.succeed(
      this,
      this.of({
        record: (event) =>
          Effect.map(Clock.currentTimeMillis, (at) => {
            lines.push(formatLogLine(at, event))
          })
      })
    )
}
