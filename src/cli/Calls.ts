/**
 * Calls to a peer from a command: one connection, and an answer that says in the user's words what went wrong.
 */
import { Duration, Effect, Option, Schema, Stream } from "effect"
import type { CallError } from "../protocol/call/CallError.ts"
import type { OperationKind } from "../protocol/call/Operation.ts"
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

/** How long a question about an operation may take that only makes an answer better. */
const KIND_WITHIN = Duration.seconds(5)

export interface Calls {
  readonly connection: CallConnection["Service"]
  readonly call: (name: string, input: Schema.Json, timeout: Duration.Input) => Effect.Effect<Schema.Json, Failure>
  /** Every run is a request of its own; stopping it ends the one of the other side. */
  readonly subscribe: (
    name: string,
    input: Schema.Json,
    timeout?: Duration.Input
  ) => Stream.Stream<Schema.Json, Failure>
  /** What the other side says that an operation is; undefined where it does not say. */
  readonly kindOf: (name: string) => Effect.Effect<OperationKind | undefined>
}

const decodeKind = Schema.decodeUnknownOption(
  Schema.Struct({ op_type: Schema.Literals(["query", "mutation", "subscription"]) })
)

/** Dials a peer for calls; the connection ends with the scope. */
export const connectForCalls = Effect.fnUntraced(function* (target: NamedTarget) {
  const client = yield* CallClient
  const connection = yield* Effect.mapError(client.connect(target), (error) => explainDial(error, target.name))
  const explain = (error: CallError) => explained(target.name, connection, error)
  const calls: Calls = {
    connection,
    call: (name, input, timeout) =>
      Effect.catch(connection.call(name, input, { timeout }), (error) => Effect.flatMap(explain(error), Effect.fail)),
    subscribe: (name, input, timeout) =>
      Stream.catch(connection.subscribe(name, input, timeout === undefined ? {} : { timeout }), (error) =>
        Stream.unwrap(Effect.map(explain(error), Stream.fail))
      ),
    kindOf: (name) => {
      const plain = name.replace(/^\//, "")
      // The operations of discovery describe others, not themselves.
      if (plain.startsWith("services/")) return Effect.succeed("query" as const)
      return connection.call("services/schema", { name: plain }, { timeout: KIND_WITHIN }).pipe(
        Effect.map((document) => Option.getOrUndefined(decodeKind(document))?.op_type),
        Effect.catch(() => Effect.succeed(undefined))
      )
    }
  }
  return calls
})
