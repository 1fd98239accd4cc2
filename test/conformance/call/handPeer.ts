/** A peer whose every answer a case decides: it speaks frames by hand on all streams, and describes operations as it likes. */
import { Effect, Exit, Queue, type Schema } from "effect"
import type { Envelope } from "../../../src/protocol/call/Envelope.ts"
import type { ByHand } from "./carriers.ts"
import { acceptWire, openWire, type Wire } from "./kit.ts"

/** A frame and where it came in. */
export interface Received {
  readonly wire: Wire
  readonly envelope: Envelope
}

export interface Requested {
  readonly operationId: string
  readonly input: Schema.Json
  readonly forwarded_for?: Schema.Json
  readonly auth_token?: string
}

export const requestedOf = ({ envelope }: Received): Requested => envelope.payload as unknown as Requested

/** What it says of itself: the answers of discovery, by operation id. A `code` makes it an error. */
export interface Says {
  list: Schema.Json
  schema: (name: string) => Schema.Json
  /** Names that were asked about. */
  readonly asked: Array<string>
}

/** The document of an operation that everybody may call. */
export const document = (name: string, kind = "query", more: Record<string, Schema.Json> = {}): Schema.Json => ({
  name,
  namespace: "w",
  op_type: kind,
  visibility: "external",
  input_schema: {},
  output_schema: {},
  error_schemas: [],
  access_control: { required_scopes: [], required_scopes_any: null, resource_type: null, resource_action: null },
  ...more
})

export const listOf = (...names: ReadonlyArray<string>): Schema.Json => ({
  operations: names.map((name) => ({ name, namespace: "w", op_type: "query" }))
})

export const handPeer = Effect.fnUntraced(function* (end: ByHand, multiStream: boolean) {
  const inbox = yield* Queue.unbounded<Received>()
  const says: Says = { list: listOf(), schema: (name) => document(name), asked: [] }
  const answer = (received: Received, payload: Schema.Json) => {
    const isError = typeof payload === "object" && payload !== null && "code" in payload
    const { envelope, wire } = received
    return isError
      ? wire.send("call.error", envelope.id, payload)
      : wire.send("call.responded", envelope.id, { output: payload })
  }
  const take = (received: Received): Effect.Effect<unknown> => {
    const { input, operationId } = requestedOf(received)
    if (received.envelope.type === "call.requested" && operationId === "/services/list")
      return answer(received, says.list)
    if (received.envelope.type === "call.requested" && operationId === "/services/schema") {
      const { name } = input as { name: string }
      says.asked.push(name)
      return answer(received, says.schema(name))
    }
    return Queue.offer(inbox, received)
  }
  // What ends with its stream is over: nobody misses the fiber.
  const pump = (wire: Wire) =>
    Effect.exit(Effect.forever(Effect.flatMap(wire.receive, (envelope) => take({ wire, envelope }))))
  const own = yield* openWire(end)
  yield* Effect.forkScoped(pump(own))
  if (multiStream) {
    const accepting = Effect.flatMap(acceptWire(end), (wire) => Effect.forkScoped(pump(wire)))
    yield* Effect.forkScoped(Effect.exit(Effect.forever(accepting)))
  }
  return { own, says, answer, next: Queue.take(inbox), waiting: Effect.map(Queue.poll(inbox), Exit.succeed) }
})
