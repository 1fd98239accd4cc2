/**
 * Calls to a peer from a command: one connection, and an answer that says in the user's words what went wrong.
 */
import { Duration, Effect, Option, type Schema } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import { CallClient } from "../services/CallClient.ts"
import type { CallConnection } from "../services/CallConnection.ts"
import { explainCall, explainClose, explainDial } from "./Explain.ts"
import type { Failure } from "./Failure.ts"
import type { NamedTarget } from "./Peer.ts"

/** How long the reason of a close may take to arrive after a call has failed of it. */
const REASON_WITHIN = Duration.millis(500)

/** A call that failed because the connection ended is explained by why it ended. */
const explained = (peer: string, connection: CallConnection["Service"], error: CallError): Effect.Effect<Failure> =>
  error.origin === "remote" || error.code !== "INTERNAL"
    ? Effect.succeed(explainCall(error))
    : Effect.map(Effect.timeoutOption(connection.closed, REASON_WITHIN), (reason) =>
        Option.isSome(reason) ? explainClose(peer, reason.value) : explainCall(error)
      )

/** Dials a peer for calls; the connection ends with the scope. */
export const connectForCalls = Effect.fnUntraced(function* (target: NamedTarget) {
  const client = yield* CallClient
  const connection = yield* Effect.mapError(client.connect(target), (error) => explainDial(error, target.name))
  const call = (name: string, input: Schema.Json, timeout: Duration.Input): Effect.Effect<Schema.Json, Failure> =>
    Effect.catch(connection.call(name, input, { timeout }), (error) =>
      Effect.flatMap(explained(target.name, connection, error), Effect.fail)
    )
  return { connection, call }
})
