/**
 * Failures that the other side must not read: they get an incident id, which is in the answer and in the log, where the
 * cause stands (CALL-R26). Logs hold ids, names and causes, never a payload or a token.
 */
import { randomBytes } from "node:crypto"
import { Cause, Effect } from "effect"
import { type CallError, incidentError } from "../../protocol/call/CallError.ts"

const INCIDENT_BYTES = 6

/** Logs the cause and gives what the caller may know. `code` is the code of an undeclared failure that had one. */
export const reportIncident = (
  what: string,
  operation: string | undefined,
  cause: Cause.Cause<unknown>,
  code?: string
): Effect.Effect<CallError> =>
  Effect.suspend(() => {
    const incident = randomBytes(INCIDENT_BYTES).toString("hex")
    const details = { incident, operation, ...(code === undefined ? {} : { code }), cause: Cause.pretty(cause) }
    return Effect.as(Effect.logError(what, details), incidentError(incident, operation, code))
  })
