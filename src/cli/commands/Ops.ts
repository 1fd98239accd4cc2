/**
 * `alknet ops PEER [NAME]`: which operations a peer lets us see; with a name, what one takes and gives.
 */
import { Effect, Option, Schema } from "effect"
import { Argument, Command } from "effect/cli"
import { connectForCalls } from "../Calls.ts"
import { failed } from "../Failure.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { printableJson } from "../Printable.ts"

const Listed = Schema.Struct({
  operations: Schema.Array(Schema.Struct({ name: Schema.String, namespace: Schema.String, op_type: Schema.String }))
})

const ANSWER_WITHIN = "30 seconds"

export const ops = Command.make(
  "ops",
  {
    peer: peerArgument,
    name: Argument.String("name").pipe(
      Argument.withDescription("Show the schemas of this operation"),
      Argument.optional
    ),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, name, peer }) {
    const output = yield* Output
    const answer = yield* Effect.gen(function* () {
      const { call } = yield* connectForCalls(yield* resolvePeer(peer, addresses))
      return yield* Option.isSome(name)
        ? call("services/schema", { name: name.value }, ANSWER_WITHIN)
        : call("services/list", {}, ANSWER_WITHIN)
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
    if (Option.isSome(name)) return yield* output.answer(answer, printableJson(answer))
    const { operations } = yield* Effect.mapError(Schema.decodeUnknownEffect(Listed)(answer), () =>
      failed("BAD_RESPONSE", "the peer answered with something that is no list of operations")
    )
    const rows = operations.map((one) => [one.name, one.op_type])
    yield* output.table(operations, [{ title: "OPERATION", whole: true }, { title: "KIND" }], rows)
    if (rows.length === 0) yield* output.note("this peer lets us see no operation")
  })
).pipe(
  Command.withDescription("List the operations that a peer lets us see"),
  Command.withExamples([
    { command: "alknet ops desk", description: "all of them" },
    { command: "alknet ops desk node/info", description: "what one takes and gives" }
  ])
)
