/** The operations of our candidates, with their handlers. */
import { Effect, Schema, Stream } from "effect"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationContext } from "../../src/services/OperationContext.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"

const Text = Schema.Struct({ text: Schema.String })
const open = { access: AccessControl.open, visibility: "external" } as const

export const Say = Operation.query("bench/say", { input: Text, output: Text, ...open })
export const Secret = Operation.query("bench/secret", {
  input: Text,
  output: Text,
  access: AccessControl.scopes("call:bench/secret"),
  visibility: "external"
})
export const Hold = Operation.query("bench/hold", { input: Text, output: Text, ...open })
export const Items = Operation.subscription("bench/items", {
  input: Schema.Struct({ text: Schema.String, count: Schema.Int }),
  output: Text,
  ...open
})

const DEPTH = 10
const linkName = (depth: number) => `bench/link${depth}`
const link = (depth: number) => Operation.query(linkName(depth), { input: Text, output: Text, ...open })
export const Chain = link(DEPTH)
const links = Array.from({ length: DEPTH }, (_, index) => {
  const next = index === 0 ? Say : link(index)
  return Operation.implement(
    link(index + 1),
    Effect.fnUntraced(function* (input) {
      const { env } = yield* OperationContext
      return yield* env.invoke(next, input)
    }),
    { scopedEnv: [next.name] }
  )
})

export const local = OperationGroup.make(
  Operation.implement(Secret, (input) => Effect.succeed(input)),
  Operation.implement(Hold, () => Effect.never),
  Operation.implement(Items, ({ count, text }) => Stream.map(Stream.range(1, count), () => ({ text }))),
  ...links
)

export const answering = OperationGroup.make(Operation.implement(Say, (input) => Effect.succeed(input)))

/** The prefix under which a hub imports its worker. */
export const WORKER = "worker"
const SayAtWorker = Operation.query(`${WORKER}/${Say.name}`, { input: Text, output: Text, ...open })

/** Says what its worker says. */
export const passingOn = OperationGroup.make(
  Operation.implement(
    Say,
    Effect.fnUntraced(function* (input) {
      const { env } = yield* OperationContext
      return yield* env.invoke(SayAtWorker, input)
    }),
    { scopedEnv: [SayAtWorker.name] }
  )
)

/** Operations that are there to be listed and described. */
export const EXTRA = "extra/"
export const extra = (count: number) =>
  OperationGroup.make(
    ...Array.from({ length: count }, (_, index) =>
      Operation.implement(
        Operation.query(`${EXTRA}operation${index}`, {
          description: "One of many.",
          input: Text,
          output: Text,
          ...open
        }),
        (input) => Effect.succeed(input)
      )
    )
  )
