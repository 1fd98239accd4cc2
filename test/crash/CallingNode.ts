/**
 * A program that calls: `node CallingNode.ts quic|tls`, with the channel of `fork`. It tells each end of each call, so that a
 * test can count them when the other side was killed.
 */
import { argv } from "node:process"
import { Cause, Effect, Exit, Option, Redacted, Scope } from "effect"
import { join } from "../../src/layers/Join.ts"
import type { CallError } from "../../src/protocol/call/CallError.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import type { CallConnection } from "../../src/services/CallConnection.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { AnswerWhenTold, Echo, layerCrashNode, NeverAnswer, type Whereabouts } from "./CrashNode.ts"
import { answerParent, tell } from "./Parent.ts"

/** How a call ended. */
export interface Settled {
  readonly index: number
  /** Milliseconds since the epoch. */
  readonly at: number
  readonly answer?: number
  readonly error?: Pick<CallError, "code" | "message" | "origin">
  /** Anything else, which would be a bug. */
  readonly defect?: string
}

/** What calls are made: they wait, every other one until the server is told; or one after another until there is an error. */
export type Kind = "waiting" | "echoes"

export interface Calls {
  readonly kind: Kind
  readonly count: number
}

const settledBy = (index: number, exit: Exit.Exit<number, CallError>): Settled => {
  const at = Date.now()
  if (Exit.isSuccess(exit)) return { index, at, answer: exit.value }
  const failure = Cause.findErrorOption(exit.cause)
  if (Option.isNone(failure)) return { index, at, defect: Cause.pretty(exit.cause) }
  const { code, message, origin } = failure.value
  return { index, at, error: { code, message, origin } }
}

const callOf = (connection: CallConnection["Service"], kind: Kind, index: number) => {
  if (kind === "waiting") return connection.call(index % 2 === 0 ? NeverAnswer : AnswerWhenTold, index)
  return Effect.forever(Effect.tap(connection.call(Echo, index), () => Effect.sync(() => tell("echo", index))))
}

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint
  const calls = yield* CallClient
  const scope = yield* Effect.scope
  let connection: CallConnection["Service"] | undefined
  const connected = Effect.suspend(() =>
    connection === undefined ? Effect.die("it is not connected") : Effect.succeed(connection)
  )
  return yield* answerParent({
    who: () => Effect.succeed(endpoint.nodeId),
    join: (ticket) => join({ ticket: Redacted.make(ticket), ownName: "visitor" }),
    connect: (text) => {
      const { address, nodeId }: Whereabouts = JSON.parse(text)
      return Effect.provideService(calls.connect({ nodeId, addresses: [address] }), Scope.Scope, scope).pipe(
        Effect.tap((made) =>
          Effect.sync(() => {
            connection = made
          })
        ),
        Effect.asVoid
      )
    },
    /** Begins them, and tells `settled` for each. */
    call: (text) =>
      Effect.gen(function* () {
        const { count, kind }: Calls = JSON.parse(text)
        const made = yield* connected
        for (let index = 0; index < count; index++) {
          const fiber = yield* Effect.forkIn(callOf(made, kind, index), scope, { startImmediately: true })
          fiber.addObserver((exit) => tell("settled", settledBy(index, exit)))
        }
      }),
    echo: (text) => Effect.flatMap(connected, (made) => made.call(Echo, Number(text))),
    closed: () => Effect.flatMap(connected, (made) => made.closed),
    stats: () => Effect.flatMap(connected, (made) => made.stats),
    connections: () => Effect.map(endpoint.connections, (live) => live.length)
  })
})

const node = layerCrashNode({ carrier: argv[2] === "tls" ? "tls" : "quic", operations: [] })

await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(node)))
