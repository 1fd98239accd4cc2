/**
 * `alknet ops PEER [NAME]`: which operations a peer lets us see; with a name, what one takes and gives.
 */
import { Effect, Option, type Schema } from "effect"
import { Argument, Command } from "effect/cli"
import { accessText } from "../AccessText.ts"
import { type Calls, connectForCalls } from "../Calls.ts"
import { type Description, describeOperation, describeOperations, descriptionOf, listOperations } from "../Described.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { printableJson, printableShort } from "../Printable.ts"
import { schemaLine, schemaLines } from "../ReadableSchema.ts"

/** A cell of the table is cut to this even where there is no terminal; `ops PEER NAME` shows all of it. */
const CELL_MAX = 120

const cell = (text: string): string => (text.length > CELL_MAX ? `${text.slice(0, CELL_MAX - 1)}…` : text)

const COLUMNS = [
  { title: "OPERATION", whole: true },
  { title: "KIND", whole: true },
  { title: "ACCESS" },
  { title: "TAKES" },
  { title: "GIVES" }
]

/** Programs get the list alone; people see what each operation is, too. */
const showAll = Effect.fnUntraced(function* (calls: Calls) {
  const output = yield* Output
  const operations = yield* listOperations(calls)
  if (output.json) return yield* output.answer(operations, [])
  const documents = yield* describeOperations(
    calls,
    operations.map(({ name }) => name)
  )
  const described = new Map(
    documents.flatMap((document) => {
      const description = descriptionOf(document)
      return description === undefined ? [] : [[description.name, description] as const]
    })
  )
  const rows = operations.map(({ name, op_type }) => {
    const description = described.get(name)
    return description === undefined
      ? [name, op_type, "", "", ""]
      : [
          name,
          op_type,
          accessText(description.access),
          cell(schemaLine(description.input)),
          cell(schemaLine(description.output))
        ]
  })
  yield* output.table(operations, COLUMNS, rows)
  if (rows.length === 0) yield* output.note("this peer lets us see no operation")
})

const indented = (schema: Schema.Json): ReadonlyArray<string> => schemaLines(schema).map((line) => `  ${line}`)

const linesOf = ({ access, errors, input, kind, name, output }: Description): ReadonlyArray<string> => [
  `operation  ${printableShort(name)}`,
  `kind       ${printableShort(kind)}`,
  `access     ${accessText(access)}`,
  "takes",
  ...indented(input),
  kind === "subscription" ? "gives, an item at a time" : "gives",
  ...indented(output),
  ...(errors.length === 0 ? [] : ["fails with"]),
  ...errors.flatMap(({ code, description, httpStatus, schema }) => [
    `  ${printableShort(code)}${httpStatus === null ? "" : ` (${httpStatus})`}${description === null ? "" : `: ${printableShort(description)}`}`,
    ...schemaLines(schema)
      .filter((line) => line !== "any" && line !== "{}")
      .map((line) => `    ${line}`)
  ])
]

const showOne = Effect.fnUntraced(function* (calls: Calls, name: string) {
  const document = yield* describeOperation(calls, name)
  const description = descriptionOf(document)
  const output = yield* Output
  yield* output.answer(document, description === undefined ? printableJson(document) : linesOf(description))
})

export const ops = Command.make(
  "ops",
  {
    peer: peerArgument,
    name: Argument.String("name").pipe(
      Argument.withDescription("Show what this operation takes and gives"),
      Argument.optional
    ),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, name, peer }) {
    yield* Effect.gen(function* () {
      const calls = yield* connectForCalls(yield* resolvePeer(peer, addresses))
      yield* Option.isSome(name) ? showOne(calls, name.value) : showAll(calls)
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("List the operations that a peer lets us see"),
  Command.withExamples([
    { command: "alknet ops desk", description: "all of them" },
    { command: "alknet ops desk node/info", description: "what one takes and gives" },
    { command: "alknet ops desk node/info --json", description: "its JSON Schemas" }
  ])
)
