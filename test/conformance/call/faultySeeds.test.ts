/**
 * Calls, subscriptions and aborts between two nodes while the network between them delays, dawdles, changes bytes, parts
 * them and dies, all decided by a seed. Whatever happens: each request comes to one end in its time, no item is missing or
 * out of order before it, handlers end, and nothing of a connection is left.
 *
 * ALKNET_FAULT_SEEDS=1000 runs other numbers of seeds, ALKNET_FAULT_SEEDS=17-17 one of them again.
 */
import { assert, describe, it } from "@effect/vitest"
import { Cause, Context, Effect, Exit, Fiber, Layer, Schema, type Scope, Stream } from "effect"
import { TestClock } from "effect/testing"
import * as FaultyTransport from "../../../src/layers/transport/FaultyTransport.ts"
import { Dice, type Faults } from "../../../src/layers/transport/faulty/Faults.ts"
import * as MemoryTransport from "../../../src/layers/transport/MemoryTransport.ts"
import type { CallConnection, CallOptions } from "../../../src/services/CallConnection.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { Transport } from "../../../src/services/Transport.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { begin, both } from "./kit.ts"
import { external } from "./operations.ts"

/** Virtual time in which everything must have come to its end: the timeout of a call twice, and what closing takes. */
const END_MILLIS = 65_000
const STEP_MILLIS = 50
const ITEMS = 60
/** Of real time, on a machine that is busy: a tenth of it is usual. */
const SEED_MILLIS = 500
/** Every so many seeds the network changes bytes too; then what arrives is anything, but it still arrives once. */
const CORRUPT_EVERY = 5

const Echo = Operation.query("f/echo", { input: Schema.String, output: Schema.String, ...external })
const Nap = Operation.mutation("f/nap", { input: Schema.Int, output: Schema.Int, ...external })
const Back = Operation.query("f/back", { input: Schema.String, output: Schema.String, ...external })
const Count = Operation.subscription("f/count", { input: Schema.Int, output: Schema.Int, ...external })

/** Operations that keep count of the handlers that run. */
const serving = () => {
  const running = { count: 0 }
  const counted = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    Effect.acquireUseRelease(
      Effect.sync(() => void running.count++),
      () => effect,
      () => Effect.sync(() => void running.count--)
    )
  const numbers = Stream.range(0, ITEMS - 1)
  const group = OperationGroup.make(
    Operation.implement(Echo, (text) => counted(Effect.succeed(text))),
    Operation.implement(Nap, (millis) => counted(Effect.as(Effect.sleep(millis), millis))),
    Operation.implement(Back, (text) =>
      counted(Effect.flatMap(OperationContext, ({ connection }) => Effect.orDie(connection!.call(Echo, text))))
    ),
    Operation.implement(Count, (millis) =>
      Stream.unwrap(
        Effect.map(
          Effect.acquireRelease(
            Effect.sync(() => void running.count++),
            () => Effect.sync(() => void running.count--)
          ),
          () => (millis === 0 ? numbers : Stream.tap(numbers, () => Effect.sleep(millis)))
        )
      )
    )
  )
  return { running, group }
}

const faultsOf = (dice: Dice, isCorrupt: boolean): Faults => ({
  delay: dice.happens(0.5) ? Math.floor(dice.next() * 200) : 0,
  jitter: dice.happens(0.5) ? Math.floor(dice.next() * 300) : 0,
  death: dice.happens(0.5) ? dice.next() * 0.02 : 0,
  corrupt: isCorrupt ? dice.next() * 0.05 : 0,
  ...(dice.happens(0.3) ? { readBytesPerSecond: 20_000 + Math.floor(dice.next() * 2_000_000) } : {})
})

/** Two nodes of a network that this seed spoils. */
const network = Effect.fnUntraced(function* (seed: number, faults: Faults, multiStream: boolean) {
  const inner = MemoryTransport.layerWith({ multiStream }).pipe(Layer.provide(MemoryTransport.MemoryNetwork.layer))
  const built = yield* Layer.build(FaultyTransport.layer(inner, { seed, faults }))
  const provider: TransportProvider = {
    name: `seed ${seed}`,
    multiStream,
    virtual: true,
    idleMillis: 400,
    bufferedMax: 262_144,
    hosts: ["127.0.0.1"],
    make: () => Effect.succeed({ transport: Context.get(built, Transport) })
  }
  return { provider, control: Context.get(built, FaultyTransport.FaultControl) }
})

type Side = CallConnection["Service"]
type Act = Effect.Effect<void, never, Scope.Scope>

/** What a request of the seed must not come to; undefined where it is in order. */
const check = <A>(what: string, exit: Exit.Exit<A, unknown>, isRight: (value: A) => boolean, isCorrupt: boolean) => {
  if (Exit.isSuccess(exit)) {
    if (!isCorrupt) assert.isTrue(isRight(exit.value), `${what} gave ${JSON.stringify(exit.value)}`)
    return
  }
  const error = Cause.findErrorOption(exit.cause)
  if (error._tag === "None") assert.isTrue(Cause.hasInterruptsOnly(exit.cause), `${what}: ${Cause.pretty(exit.cause)}`)
  else assert.propertyVal(error.value, "_tag", "CallError", what)
}

/** One thing that a peer does with a connection: call, subscribe, change its mind. */
const actOf = (side: Side, dice: Dice, isCorrupt: boolean): Act => {
  const start = Math.floor(dice.next() * 2000)
  const patience = dice.happens(0.3) ? Math.floor(dice.next() * 1500) : undefined
  const size = dice.happens(0.2) ? 70_000 + Math.floor(dice.next() * 300_000) : Math.floor(dice.next() * 500)
  const kind = Math.floor(dice.next() * 4)
  const taken = dice.happens(0.4) ? 1 + Math.floor(dice.next() * ITEMS) : undefined
  const pause = dice.happens(0.5) ? Math.floor(dice.next() * 40) : 0
  const options = dice.happens(0.2) ? ({ stream: "dedicated" } as const) : {}
  const text = "e".repeat(size)
  /** Runs it, gives it up when the patience is over, and looks at what it came to. */
  const ending = <A>(what: string, run: Effect.Effect<A, unknown>, isRight: (value: A) => boolean) =>
    Effect.gen(function* () {
      yield* Effect.sleep(start)
      const fiber = yield* begin(run)
      if (patience !== undefined) yield* Effect.forkScoped(Effect.delay(Fiber.interrupt(fiber), patience))
      check(what, yield* Fiber.await(fiber), isRight, isCorrupt)
    })
  if (kind === 0) return ending("an echo", side.call(Echo, text, options), (value) => value === text)
  if (kind === 1) return ending("a nap", side.call(Nap, pause * 100, options), (value) => value === pause * 100)
  if (kind === 2) return ending("a call back", side.call(Back, text, options), (value) => value === text)
  const seen: Array<number> = []
  // A changed byte in an id loses its frame for good, and a subscription waits for ever where nobody says otherwise.
  const bounded: CallOptions = isCorrupt ? { timeout: "20 seconds" } : {}
  const items = Stream.tap(side.subscribe(Count, pause, bounded), (item) =>
    Effect.as(Effect.sleep(pause), seen.push(item))
  )
  const wanted = taken === undefined ? items : Stream.take(items, taken)
  return ending("a subscription", Stream.runDrain(wanted), () => seen.length === (taken ?? ITEMS)).pipe(
    Effect.andThen(
      Effect.sync(() => {
        if (!isCorrupt) assert.deepStrictEqual(seen, [...seen.keys()], "items in order, none missing")
      })
    )
  )
}

const play = (seed: number) =>
  Effect.gen(function* () {
    const dice = new Dice(seed, 1000)
    const isCorrupt = seed % CORRUPT_EVERY === 0
    const { control, provider } = yield* network(seed, faultsOf(dice, isCorrupt), dice.happens(0.5))
    const [server, client] = [serving(), serving()]
    const limits = dice.happens(0.5) ? { maxInFlight: 4 } : {}
    const nodes = yield* begin(
      both(provider, { server: { groups: [server.group], limits }, client: { groups: [client.group], limits } })
    )
    while (nodes.pollUnsafe() === undefined) yield* TestClock.adjust(STEP_MILLIS)
    const { client: own, connection, server: other, serverIdentity, serverSide } = yield* Fiber.join(nodes)
    assert.isDefined(other)
    const acts = Array.from({ length: 24 }, () => actOf(dice.happens(0.7) ? connection : serverSide, dice, isCorrupt))
    const trouble = dice.next()
    if (trouble < 0.2) yield* Effect.forkScoped(Effect.delay(control.kill(own.nodeId), 500 + trouble * 5000))
    else if (trouble < 0.5) {
      const parting = control.partition(own.nodeId, serverIdentity.nodeId)
      yield* Effect.forkScoped(Effect.delay(parting, 800))
      const healing = Effect.delay(control.heal(own.nodeId, serverIdentity.nodeId), 3000 + trouble * 100_000)
      yield* Effect.forkScoped(healing)
    }
    const all = yield* begin(Effect.all(acts, { concurrency: "unbounded", discard: true }))
    for (let now = 0; now < END_MILLIS && all.pollUnsafe() === undefined; now += STEP_MILLIS) {
      yield* TestClock.adjust(STEP_MILLIS)
    }
    if (all.pollUnsafe() === undefined) {
      assert.fail(`still under way: ${JSON.stringify([yield* connection.stats, yield* serverSide.stats])}`)
    }
    yield* Fiber.join(all)
    const closing = yield* begin(Effect.all([connection.close, serverSide.close], { concurrency: 2 }))
    for (let now = 0; now < END_MILLIS && closing.pollUnsafe() === undefined; now += STEP_MILLIS) {
      yield* TestClock.adjust(STEP_MILLIS)
    }
    assert.isDefined(closing.pollUnsafe(), "the connections do not close")
    for (const side of [connection, serverSide]) {
      assert.deepInclude(yield* side.stats, { pending: 0, inbound: 0, waiting: 0 })
      yield* side.closed
      const late = yield* Effect.flip(side.call(Echo, "late"))
      assert.deepInclude(late, { code: "INTERNAL", message: "connection closed" })
    }
    assert.deepStrictEqual([server.running.count, client.running.count], [0, 0], "handlers that run on")
  }).pipe(Effect.scoped)

const [first, last] = (() => {
  const [from, to] = (process.env["ALKNET_FAULT_SEEDS"] ?? "200").split("-").map(Number)
  return to === undefined ? [1, from!] : [from!, to]
})()

describe("calls over a faulty network", () => {
  it.effect(
    `CALL-118 CALL-127 CALL-116 with the seeds ${first} to ${last} every request comes to one end, and nothing is left`,
    () =>
      Effect.gen(function* () {
        for (let seed = first; seed <= last; seed++) {
          yield* Effect.catchCause(play(seed), (cause) => Effect.die(new Error(`seed ${seed}: ${Cause.pretty(cause)}`)))
        }
      }),
    Math.max(60_000, (last - first + 1) * SEED_MILLIS)
  )
})
