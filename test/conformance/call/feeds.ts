/** Subscriptions that the cases subscribe to: what was made, what has ended, and what they fail with. */
import { Effect, Queue, Schema, Stream } from "effect"
import type { CallError } from "../../../src/protocol/call/CallError.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { Wire } from "./kit.ts"
import { external } from "./operations.ts"

export class Gone extends Schema.TaggedError<Gone>()("Gone", { after: Schema.Finite }) {
  static readonly code = "GONE"
}

const numbers = { input: Schema.Finite, output: Schema.Finite, ...external } as const

/** 1 to the input. */
export const Count = Operation.subscription("t/count", numbers)
/** 1 to the input, then `Gone`. */
export const Fails = Operation.subscription("t/fails", { ...numbers, errors: [Gone] })
/** Endless, each of as many characters as the input says. */
export const Flood = Operation.subscription("t/flood", { ...numbers, output: Schema.String })
/** The input, then nothing more until it is ended. */
export const Hangs = Operation.subscription("t/hangs", numbers)

export const feeds = () => {
  const ended = Effect.runSync(Queue.unbounded<string>())
  /** Items that the flood was asked for. */
  const made = { count: 0 }
  const tell = (name: string) => Effect.sync(() => Queue.offerUnsafe(ended, name))
  const group = OperationGroup.make(
    Operation.implement(Count, (n) => (n === 0 ? Stream.empty : Stream.range(1, n))),
    Operation.implement(Fails, (after) => Stream.concat(Stream.range(1, after), Stream.fail(new Gone({ after })))),
    Operation.implement(Flood, (length) => {
      const item = "x".repeat(length)
      const make = Effect.sync(() => {
        made.count++
        return item
      })
      return Stream.fromEffectRepeat(make).pipe(Stream.ensuring(tell("flood")))
    }),
    Operation.implement(Hangs, (n) => Stream.make(n).pipe(Stream.concat(Stream.never), Stream.ensuring(tell("hangs"))))
  )
  return { group, made, ended: Queue.take(ended) }
}

/** Envelopes of an answer up to the one that ends it, as `type` and payload. */
export const answerOf = (wire: Wire): Effect.Effect<ReadonlyArray<readonly [string, Schema.Json]>> =>
  Effect.gen(function* () {
    const seen: Array<readonly [string, Schema.Json]> = []
    while (true) {
      const { payload, type } = yield* wire.receive
      seen.push([type, payload])
      if (type !== "call.responded") return seen
    }
  })

/** Collects a stream, and what it ended with. */
export const heard = <A, E>(stream: Stream.Stream<A, E>) =>
  Effect.gen(function* () {
    const items: Array<A> = []
    const exit = yield* Effect.result(Stream.runForEach(stream, (item) => Effect.sync(() => items.push(item))))
    return [items, exit._tag === "Success" ? "end" : exit.failure] as const
  })

/** The same with the code and message of a `CallError`. */
export const heardText = <A>(stream: Stream.Stream<A, CallError>) =>
  Effect.map(heard(stream), ([items, end]) => [items, end === "end" ? end : `${end.code} ${end.message}`] as const)
