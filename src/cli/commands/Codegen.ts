/**
 * `alknet codegen PEER [NAME…]`: a TypeScript module that declares what a peer lets us call, for typed clients. It is
 * written when everything is there: to standard output, or to a file that is never left half written.
 */
import { Effect, Option } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { generateClient } from "../../protocol/call/Codegen.ts"
import { connectForCalls } from "../Calls.ts"
import { describeOperations, listOperations } from "../Described.ts"
import { denied } from "../Failure.ts"
import { layerOpened } from "../Opened.ts"
import { Output, writeTo } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { printableShort } from "../Printable.ts"
import { writeWholeFile } from "../WholeFile.ts"

/** `fs` is the operation `fs` and all of its namespace. */
const isNamed = (name: string, wanted: string): boolean => name === wanted || name.startsWith(`${wanted}/`)

/** Which of the listed names are wanted; every wish has to be met. */
const select = Effect.fnUntraced(function* (listed: ReadonlyArray<string>, wishes: ReadonlyArray<string>) {
  const wanted = wishes.map((wish) => wish.replace(/^\//, "").replace(/\/\*?$/, ""))
  const unmet = wanted.findIndex((wish) => !listed.some((name) => isNamed(name, wish)))
  if (unmet >= 0) {
    const hint = "it does not exist, or this node may not see it; alknet ops PEER lists what it may"
    return yield* denied("NOT_FOUND", `the peer shows no operation ${printableShort(wishes[unmet]!)}`, hint)
  }
  return wanted.length === 0 ? listed : listed.filter((name) => wanted.some((wish) => isNamed(name, wish)))
})

export const codegen = Command.make(
  "codegen",
  {
    peer: peerArgument,
    names: Argument.String("name").pipe(
      Argument.withDescription("Only these operations, or all of a namespace such as fs"),
      Argument.variadic({ max: 256 })
    ),
    out: Flag.String("out").pipe(
      Flag.withAlias("o"),
      Flag.withMetavar("<file>"),
      Flag.withDescription("Write to this file instead of standard output"),
      Flag.optional
    ),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, names, out, peer }) {
    const output = yield* Output
    const { documents, nodeId, operations } = yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const calls = yield* connectForCalls(target)
      const listed = (yield* listOperations(calls)).map(({ name }) => name)
      const operations = yield* select(listed, names)
      return { documents: yield* describeOperations(calls, operations), operations, nodeId: target.nodeId }
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
    const module = generateClient(documents, { nodeId })
    if (Option.isSome(out)) {
      yield* writeWholeFile(out.value, module)
      yield* output.answer({ path: out.value, operations }, `${out.value}: ${operations.length} operations`)
    } else if (output.json) {
      yield* output.answer({ module, operations }, [])
    } else {
      yield* writeTo(process.stdout, module)
    }
    if (operations.length === 0) yield* output.note("this peer lets us see no operation")
  })
).pipe(
  Command.withDescription("Write a typed client for the operations that a peer lets us see"),
  Command.withExamples([
    { command: "alknet codegen desk > desk.ts", description: "declarations of all of them" },
    { command: "alknet codegen desk notes -o notes.ts", description: "of the namespace notes, into a file" }
  ])
)
