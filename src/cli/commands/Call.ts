/**
 * `alknet call PEER OPERATION [JSON|-]`: one call, whose answer is the output of the operation, as JSON. With `--stream` a
 * subscription: one line of JSON for each item, no faster than they are read.
 */
import { Effect, Fiber, Option, type Schema, Stream } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { parseJson } from "../../protocol/call/Json.ts"
import { jsonFlawOf } from "../../protocol/JsonFlaw.ts"
import { type Calls, connectForCalls } from "../Calls.ts"
import { wrongUsage } from "../Failure.ts"
import { settings } from "../Globals.ts"
import { readStandardInput } from "../Input.ts"
import { layerOpened } from "../Opened.ts"
import { Output, writeTo } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { compactJson, printableJson, printableShort } from "../Printable.ts"
import { spanFlag } from "../Spans.ts"

const ANSWER_WITHIN_SECONDS = 30

/** How long an answer that is here already may wait for what would be said about it. */
const HINT_WITHIN = "200 millis"

const readInput = Effect.fnUntraced(function* (text: Option.Option<string>) {
  if (Option.isNone(text)) return {} satisfies Schema.Json
  const { passphraseFile } = yield* settings
  if (text.value === "-" && passphraseFile === "-") {
    return yield* wrongUsage("input and passphrase cannot both come from standard input")
  }
  const bytes = text.value === "-" ? yield* readStandardInput : new TextEncoder().encode(text.value)
  return yield* Effect.mapError(Effect.fromResult(parseJson(bytes)), ({ hint }) => {
    const flaw = jsonFlawOf(new TextDecoder().decode(bytes))
    return flaw === undefined
      ? wrongUsage(`the input is not JSON: ${hint}`)
      : wrongUsage(
          `the input is not JSON, line ${flaw.line}, column ${flaw.column}: ${flaw.problem}`,
          text.value === "-" ? "" : `write it in single quotes, such as '{"path":"/"}'`
        )
  })
})

/** The answer of a query or mutation; of a subscription the first item, and a word about the others. */
const answerOnce = Effect.fnUntraced(function* (
  { call, kindOf }: Calls,
  operation: string,
  input: Schema.Json,
  seconds: number
) {
  const output = yield* Output
  const kind = yield* Effect.forkChild(output.quiet ? Effect.succeed(undefined) : kindOf(operation))
  const answer = yield* call(operation, input, seconds * 1000)
  yield* output.answer(answer, printableJson(answer))
  const known = yield* Effect.timeoutOption(Fiber.join(kind), HINT_WITHIN)
  if (Option.getOrUndefined(known) === "subscription") {
    yield* output.note(`${printableShort(operation)} is a subscription, this is its first item; see all with --stream`)
  }
})

const printLines = (items: ReadonlyArray<Schema.Json>) =>
  writeTo(process.stdout, items.map((item) => `${compactJson(item)}\n`).join(""))

/** Every item of a subscription. A query has one: on a carrier with one stream nothing would end it after that. */
const answerAll = Effect.fnUntraced(function* (
  { call, kindOf, subscribe }: Calls,
  operation: string,
  input: Schema.Json,
  seconds: number | undefined
) {
  const kind = yield* kindOf(operation)
  if (kind === "query" || kind === "mutation") {
    yield* printLines([yield* call(operation, input, (seconds ?? ANSWER_WITHIN_SECONDS) * 1000)])
    return yield* (yield* Output).note(
      `${printableShort(operation)} is a ${kind}: it has one answer, without --stream too`
    )
  }
  const items = subscribe(operation, input, seconds === undefined ? undefined : seconds * 1000)
  yield* Stream.runForEachArray(items, printLines)
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
    stream: Flag.Boolean("stream").pipe(
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("A subscription: one line of JSON for each item, until it ends or Ctrl-C")
    ),
    addresses: addressFlag,
    timeout: spanFlag("timeout", "How long to wait for the answer (default 30s), or for the end of a stream").pipe(
      Flag.optional
    )
  },
  Effect.fn(function* ({ addresses, input, operation, peer, stream, timeout }) {
    const json = yield* readInput(input)
    const seconds = Option.getOrUndefined(timeout)
    yield* Effect.gen(function* () {
      const calls = yield* connectForCalls(yield* resolvePeer(peer, addresses))
      yield* stream
        ? answerAll(calls, operation, json, seconds)
        : answerOnce(calls, operation, json, seconds ?? ANSWER_WITHIN_SECONDS)
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("Call an operation of a peer"),
  Command.withExamples([
    { command: "alknet call desk services/list", description: "what it offers us" },
    { command: `alknet call desk node/ping '{}' --json`, description: "for a program" },
    { command: "alknet call desk notes/add - < note.json", description: "input from a file" },
    { command: "alknet call desk notes/watch --stream", description: "a subscription, an item a line" },
    { command: "alknet call desk notes/watch --stream | head -n 3", description: "its first three items" }
  ])
)
