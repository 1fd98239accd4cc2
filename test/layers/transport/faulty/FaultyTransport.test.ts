import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Option } from "effect"
import { TestClock } from "effect/testing"
import * as FaultyTransport from "../../../../src/layers/transport/FaultyTransport.ts"
import * as MemoryTransport from "../../../../src/layers/transport/MemoryTransport.ts"
import * as QuicTransport from "../../../../src/layers/transport/QuicTransport.ts"
import { Transport } from "../../../../src/services/Transport.ts"
import {
  bytesOf,
  dial,
  ECHO,
  echoConnection,
  joined,
  leavesNothing,
  nodes,
  pair,
  readAll,
  soon,
  type TransportProvider,
  turns
} from "../../../conformance/transport/provider.ts"

const over = (options: FaultyTransport.Options) =>
  FaultyTransport.layer(MemoryTransport.layer.pipe(Layer.provide(MemoryTransport.MemoryNetwork.layer)), options)

/** Both nodes of a case share the layer. */
const faulty = (context: Context.Context<Transport>): TransportProvider => ({
  name: "faulty",
  multiStream: true,
  virtual: true,
  idleMillis: 400,
  bufferedMax: 262_144,
  hosts: ["127.0.0.1"],
  make: () => Effect.succeed({ transport: Context.get(context, Transport) })
})

/** Lets virtual time pass as long as the effect takes. */
const whileTimePasses = Effect.fnUntraced(function* <A, E, R>(effect: Effect.Effect<A, E, R>) {
  const running = yield* Effect.forkChild(effect, { startImmediately: true })
  while (running.pollUnsafe() === undefined) yield* TestClock.adjust("50 millis")
  return yield* Fiber.join(running)
})

const BAD: FaultyTransport.Faults = {
  loss: 0.1,
  duplicate: 0.05,
  reorder: 0.1,
  delay: "100 millis",
  jitter: "20 millis"
}

describe("FaultyTransport", () => {
  it.effect("TR-024 16 MiB are byte-exact with loss, reordering, duplicates and 100 ms delay", () =>
    Effect.gen(function* () {
      const provider = faulty(yield* Layer.build(over({ seed: 7, faults: BAD })))
      const { accepted, dialed } = yield* pair(provider)
      yield* Effect.forkChild(echoConnection(accepted))
      const sent = bytesOf(16 * 1_048_576)
      const stream = yield* dialed.open
      const echo = Effect.all([stream.writeLast(sent), readAll(stream)], { concurrency: 2 })
      const [, back] = yield* whileTimePasses(echo)
      assert.isTrue(back.equals(sent))
    })
  )

  const messagesThat = Effect.fnUntraced(function* (seed: number, faults: FaultyTransport.Faults) {
    const { accepted, dialed } = yield* pair(faulty(yield* Layer.build(over({ seed, faults }))))
    const [sending, receiving] = [Option.getOrThrow(dialed.datagrams), Option.getOrThrow(accepted.datagrams)]
    const received: Array<number> = []
    yield* Effect.forkChild(
      Effect.forever(Effect.map(receiving.receive, (message) => void received.push(message[0] ?? -1))),
      { startImmediately: true }
    )
    for (let index = 0; index < 100; index++) {
      yield* whileTimePasses(sending.send(new Uint8Array([index, 1, 2, 3])))
    }
    yield* turns(300)
    return received
  })

  it.effect("the same seed gives the same faults, another seed others", () =>
    Effect.gen(function* () {
      const [first, again, other] = [
        yield* messagesThat(7, BAD),
        yield* messagesThat(7, BAD),
        yield* messagesThat(8, BAD)
      ]
      assert.deepStrictEqual(first, again)
      assert.notDeepEqual(first, other)
      assert.isBelow(new Set(first).size, 100, "some were lost")
      assert.isAbove(first.length, new Set(first).size, "some came twice")
      assert.notDeepEqual(
        first,
        [...first].sort((left, right) => left - right),
        "some came late"
      )
    })
  )

  it.effect("corruption changes a byte, and only then", () =>
    Effect.gen(function* () {
      const clean = yield* messagesThat(1, {})
      assert.deepStrictEqual(
        clean,
        Array.from({ length: 100 }, (_, index) => index)
      )
      const provider = faulty(yield* Layer.build(over({ seed: 3, faults: { corrupt: 1 } })))
      const connections = yield* pair(provider)
      const stream = yield* connections.dialed.open
      yield* stream.writeLast(bytesOf(1_000))
      const received = yield* readAll(yield* connections.accepted.accept)
      assert.strictEqual(received.filter((byte, index) => byte !== bytesOf(1_000)[index]).length, 1)
    })
  )

  it.effect("TR-017 a sudden death is `lost` on both sides", () =>
    Effect.gen(function* () {
      const provider = faulty(yield* Layer.build(over({ seed: 11, faults: { death: 0.2 } })))
      const { accepted, dialed } = yield* pair(provider)
      const stream = yield* dialed.open
      const error = yield* Effect.flip(Effect.forever(stream.write(bytesOf(10))))
      assert.deepInclude(error, { _tag: "ConnectionClosed", kind: "lost", by: "transport" })
      assert.deepInclude(yield* accepted.closed, { kind: "lost", by: "transport" })
      assert.deepInclude(yield* Effect.flip(accepted.accept), { kind: "lost", by: "transport" })
    })
  )

  it.effect("a partition holds everything up, and ends connections as idle unless it is healed", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(over({ seed: 1, idleTimeout: "30 seconds" }))
      const control = Context.get(context, FaultyTransport.FaultControl)
      const connections = yield* pair(faulty(context))
      const { left, right } = yield* joined(connections)
      const [one, other] = [connections.server.nodeId, connections.client.nodeId]

      yield* control.partition(one, other)
      const writing = yield* Effect.forkChild(left.write(bytesOf(10)), { startImmediately: true })
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(writing.pollUnsafe())
      yield* control.heal(one, other)
      yield* Fiber.join(writing)
      assert.strictEqual((yield* right.read).length, 10)

      yield* control.partition(one, other)
      const reading = yield* Effect.forkChild(Effect.flip(right.read), { startImmediately: true })
      const dialing = yield* Effect.forkChild(
        Effect.flip(
          Effect.scoped(
            connections.transport.dial({
              address: connections.listener.address,
              expect: one,
              alpn: ECHO,
              identity: connections.client
            })
          )
        ),
        { startImmediately: true }
      )
      yield* TestClock.adjust("30 seconds")
      assert.deepInclude(yield* Fiber.join(reading), { _tag: "ConnectionClosed", kind: "idle" })
      assert.strictEqual((yield* Fiber.join(dialing)).reason._tag, "TimedOut")
    })
  )

  it.effect("killing a node loses its connections and no others", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(over({ seed: 1 }))
      const control = Context.get(context, FaultyTransport.FaultControl)
      const [first, second] = [yield* pair(faulty(context)), yield* pair(faulty(context))]
      yield* control.kill(first.client.nodeId)
      assert.deepInclude(yield* first.accepted.closed, { kind: "lost" })
      const { left } = yield* joined(second)
      yield* left.write(bytesOf(1))
    })
  )

  it.effect("a slow reader takes the time that its rate says", () =>
    Effect.gen(function* () {
      const context = yield* Layer.build(over({ seed: 1, faults: { readBytesPerSecond: 1_000 } }))
      const connections = yield* pair(faulty(context))
      const stream = yield* connections.dialed.open
      yield* stream.write(bytesOf(5_000))
      const other = yield* connections.accepted.accept
      const reading = yield* Effect.forkChild(other.read, { startImmediately: true })
      yield* TestClock.adjust("4999 millis")
      assert.isUndefined(reading.pollUnsafe())
      yield* TestClock.adjust("1 millis")
      assert.strictEqual((yield* Fiber.join(reading)).length, 5_000)
    })
  )
})

describe("datagramRelay", () => {
  const quicProvider = (context: Context.Context<Transport>): TransportProvider => ({
    ...faulty(context),
    name: "quic",
    virtual: false
  })

  it.live("TR-024 QUIC gets bytes through a path that loses, doubles, delays and overtakes datagrams", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(quicProvider(yield* Layer.build(QuicTransport.layer())))
        const faults = { loss: 0.1, duplicate: 0.05, reorder: 0.1, delay: "5 millis" } as const
        const relay = yield* FaultyTransport.datagramRelay(both.address, { seed: 7, faults })
        const [dialed, accepted] = yield* soon(
          "the handshake",
          Effect.all([dial({ ...both, address: relay.address }), both.listener.accept], { concurrency: 2 })
        )
        yield* Effect.forkChild(echoConnection(accepted))
        const sent = bytesOf(262_144)
        const stream = yield* dialed.open
        const [, back] = yield* Effect.all([stream.writeLast(sent), readAll(stream)], { concurrency: 2 })
        assert.isTrue(back.equals(sent))
        assert.isAbove((yield* relay.counts).lost, 0)
      })
    )
  )

  it.live("corrupted datagrams are as good as lost ones", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(quicProvider(yield* Layer.build(QuicTransport.layer())))
        const relay = yield* FaultyTransport.datagramRelay(both.address, { seed: 9, faults: { corrupt: 0.1 } })
        const [dialed, accepted] = yield* soon(
          "the handshake",
          Effect.all([dial({ ...both, address: relay.address }), both.listener.accept], { concurrency: 2 })
        )
        yield* Effect.forkChild(echoConnection(accepted))
        const stream = yield* dialed.open
        const [, back] = yield* Effect.all([stream.writeLast(bytesOf(100_000)), readAll(stream)], { concurrency: 2 })
        assert.isTrue(back.equals(bytesOf(100_000)))
      })
    )
  )

  it.live("a blocked path lets nothing through", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(quicProvider(yield* Layer.build(QuicTransport.layer())))
        const relay = yield* FaultyTransport.datagramRelay(both.address, { seed: 1, faults: {} })
        yield* relay.block(true)
        const attempt = yield* dial({ ...both, address: relay.address }).pipe(
          Effect.scoped,
          Effect.timeoutOption("500 millis"),
          Effect.exit
        )
        assert.isTrue(Exit.isSuccess(attempt) && Option.isNone(attempt.value))
        assert.strictEqual((yield* relay.counts).crossed, 0)
      })
    )
  )
})
