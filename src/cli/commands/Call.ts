/**
 * `alknet call PEER OPERATION [JSON|-]`: one call. The answer is the output of the operation, as JSON.
 */
import { Effect, Option, type Schema } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { parseJson } from "../../protocol/call/Json.ts"
import { connectForCalls } from "../Calls.ts"
import { wrongUsage } from "../Failure.ts"
import { settings } from "../Globals.ts"
import { readStandardInput } from "../Input.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { printableJson } from "../Printable.ts"
import { spanFlag } from "../Spans.ts"

const readInput = Effect.fnUntraced(function* (text: Option.Option<string>) {
  if (Option.isNone(text)) return {} satisfies Schema.Json
  const { passphraseFile } = yield* settings
  if (text.value === "-" && passphraseFile === "-") {
    return yield* wrongUsage("input and passphrase cannot both come from standard input")
  }
  const bytes = text.value === "-" ? yield* readStandardInput : new TextEncoder().encode(text.value)
  return yield* Effect.mapError(Effect.fromResult(parseJson(bytes)), () =>
    wrongUsage("the input is not JSON", `write it in single quotes, such as '{"path":"/"}'`)
  )
})

export const call = Command.make(
  "call",
  {
    peer: peerArgument,
    operation: Argument.String("operation").pipe(Argument.withDescription("Its name, such as services/list")),
    input: Argument.String("json").pipe(
      Argument.withDescription("Input as JSON, - for standard input; {} without it"),
      Argument.optional
    ),
    addresses: addressFlag,
    timeout: spanFlag("timeout", "How long to wait for the answer (default 30s)").pipe(Flag.withDefault(30))
  },
  Effect.fn(function* ({ addresses, input, operation, peer, timeout }) {
    const output = yield* Output
    const json = yield* readInput(input)
    const answer = yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const { call } = yield* connectForCalls(target)
      return yield* call(operation, json, timeout * 1000)
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
    yield* output.answer(answer, printableJson(answer))
  })
).pipe(
  Command.withDescription("Call an operation of a peer"),
  Command.withExamples([
    { command: "alknet call desk services/list", description: "what it offers us" },
    { command: `alknet call desk node/ping '{}' --json`, description: "for a program" },
    { command: "alknet call desk notes/add - < note.json", description: "input from a file" }
  ])
)
