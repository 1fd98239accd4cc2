/** Connections that are kept up, under virtual time, over a client whose dials the test answers. */
import { assert, describe, it } from "@effect/vitest"
import { ed25519 } from "@noble/curves/ed25519.js"
import {
  Context,
  Deferred,
  Effect,
  Exit,
  Fiber,
  Layer,
  Logger,
  Queue,
  Random,
  Result,
  Schema,
  Scope,
  Stream
} from "effect"
import { TestClock } from "effect/testing"
import * as CallPeersLayer from "../../src/layers/CallPeers.ts"
import { type NodeId, nodeIdFromBytes } from "../../src/protocol/identity/NodeId.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import { CallConnection } from "../../src/services/CallConnection.ts"
import { CallPeer, CallPeers } from "../../src/services/CallPeers.ts"
import type { DialTarget } from "../../src/services/Endpoint.ts"
import { Operation } from "../../src/services/Operation.ts"
import { type CloseReason, DialError } from "../../src/services/Transport.ts"

const nodeId = Result.getOrThrow(nodeIdFromBytes(ed25519.getPublicKey(new Uint8Array(32).fill(7))))
const Echo = Operation.query("t/echo", { input: Schema.String, output: Schema.String })
const Ticks = Operation.subscription("t/ticks", { output: Schema.Int })

const lost: CloseReason = { by: "transport", code: 0, kind: "lost", reason: "" }

/** A connection that answers with its number. */
const makeConnection = (number: number) => {
  const closed = Deferred.makeUnsafe<CloseReason>()
  const service: CallConnection["Service"] = {
    info: { id: `c${number}`, side: "dialed", carrier: "memory", remoteAddress: undefined },
    call: (() => Effect.succeed(`from ${number}`)) as CallConnection["Service"]["call"],
    subscribe: (() => Stream.make(number)) as CallConnection["Service"]["subscribe"],
    imports: { get: () => undefined, names: () => [`import${number}`], install: () => Effect.void },
    stats: Effect.succeed({ pending: number, inbound: 0, waiting: 0 }),
    idle: Effect.void,
    close: Effect.asVoid(Deferred.succeed<CloseReason, never>(closed, { ...lost, by: "local", kind: "app" })),
    closed: Deferred.await(closed)
  }
  return { service, lose: Deferred.succeed(closed, lost) }
}

const refused = new DialError({ reason: { _tag: "Unreachable", code: "X" }, target: "peer", hint: "no way" })

/** A client that dials as the test says: `false` fails. Virtual times of the dials are written down. */
const dialing = (...outcomes: ReadonlyArray<boolean>) => {
  const dials: Array<{ readonly at: number; readonly target: DialTarget }> = []
  const made: Array<ReturnType<typeof makeConnection>> = []
  const closed: Array<number> = []
  const layer = Layer.mock(CallClient, {
    filterMode: "default-deny",
    connect: (target) =>
      Effect.gen(function* () {
        const number = dials.length
        dials.push({ at: yield* Effect.clockWith((clock) => clock.currentTimeMillis), target })
        if (outcomes[number] === false) return yield* refused
        const connection = makeConnection(number)
        made[number] = connection
        yield* Effect.addFinalizer(() =>
          Effect.andThen(
            connection.service.close,
            Effect.sync(() => closed.push(number))
          )
        )
        return connection.service
      })
  })
  return { layer, dials, made, closed, times: () => dials.map(({ at }) => at) }
}

const random = (value: number) =>
  Effect.provideService(Random.Random, { nextDoubleUnsafe: () => value, nextIntUnsafe: () => 0 })

const build = (client: ReturnType<typeof dialing>, options: CallPeersLayer.CallPeersOptions = {}) =>
  Effect.map(Layer.build(Layer.provide(CallPeersLayer.layer(options), client.layer)), (context) =>
    Context.get(context, CallPeers)
  )

const hold = (peers: CallPeers["Service"], target: NodeId | DialTarget = nodeId) =>
  Effect.map(Layer.build(peers.get(target)), (context) => ({
    connection: Context.get(context, CallConnection),
    peer: Context.get(context, CallPeer)
  }))

const quiet = Effect.provide(Logger.layer([]))

describe("kept-up connections", () => {
  it.effect("one connection for all who use a peer, closed when nobody has used it for a while", () =>
    Effect.gen(function* () {
      const client = dialing()
      const peers = yield* build(client, { idleTimeToLive: "10 seconds" })
      const scope = yield* Scope.make()
      const first = yield* Scope.provide(hold(peers), scope)
      const second = yield* Scope.provide(hold(peers, { nodeId, addresses: [] }), scope)
      assert.strictEqual(yield* first.connection.call(Echo, "a"), "from 0")
      assert.strictEqual(yield* second.connection.call("t/echo", "a"), "from 0")
      assert.deepStrictEqual(yield* Stream.runCollect(first.connection.subscribe(Ticks, undefined)), [0])
      assert.strictEqual(first.connection.info.id, "c0")
      assert.deepStrictEqual(first.connection.imports.names(), ["import0"])
      assert.strictEqual((yield* first.connection.stats).pending, 0)
      yield* Scope.close(scope, Exit.void)
      assert.deepStrictEqual(client.closed, [])
      yield* TestClock.adjust("9 seconds")
      yield* Effect.scoped(hold(peers))
      yield* TestClock.adjust("9 seconds")
      assert.deepStrictEqual(client.closed, [], "used again in between")
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(client.closed, [0])
      assert.deepInclude(yield* first.connection.closed, { by: "local", reason: "released" })
      assert.strictEqual(client.dials.length, 1)
      yield* TestClock.adjust("1 hour")
      assert.strictEqual(client.dials.length, 1)
    }).pipe(quiet)
  )

  it.effect("the wait begins at 1 s and doubles to 60 s", () =>
    Effect.gen(function* () {
      const client = dialing(...Array.from({ length: 20 }, () => false))
      yield* hold(yield* build(client))
      for (let second = 0; second < 240; second++) yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(
        client.times(),
        [0, 1, 3, 7, 15, 31, 63, 123, 183].map((second) => 1000 * second)
      )
    }).pipe(random(0), quiet)
  )

  it.effect("up to a half of a wait is taken off at random", () =>
    Effect.gen(function* () {
      const client = dialing(...Array.from({ length: 20 }, () => false))
      yield* hold(yield* build(client))
      for (let step = 0; step < 200; step++) yield* TestClock.adjust("500 millis")
      assert.deepStrictEqual(
        client.times(),
        [0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5, 61.5, 91.5].map((second) => 1000 * second)
      )
    }).pipe(random(1), quiet)
  )

  it.effect("a connection that lasted starts the waits over, one that did not goes on with them", () =>
    Effect.gen(function* () {
      const client = dialing(false, false, true, true, true)
      yield* hold(yield* build(client, { lasting: "30 seconds" }))
      for (let second = 0; second < 3; second++) yield* TestClock.adjust("1 second")
      assert.deepStrictEqual(client.times(), [0, 1000, 3000])
      yield* TestClock.adjust("29 seconds")
      yield* client.made[2]!.lose
      yield* TestClock.adjust("3 seconds")
      assert.strictEqual(client.dials.length, 3)
      yield* TestClock.adjust("1 second")
      assert.strictEqual(client.dials.length, 4, "4 s after a short connection")
      yield* TestClock.adjust("30 seconds")
      yield* client.made[3]!.lose
      yield* TestClock.adjust("1 second")
      assert.strictEqual(client.dials.length, 5, "1 s after one that lasted")
    }).pipe(random(0), quiet)
  )

  it.effect("CALL-120 a call while there is no connection fails at once, and nothing is repeated", () =>
    Effect.gen(function* () {
      const client = dialing(false, true)
      const { connection, peer } = yield* hold(yield* build(client))
      const failed = yield* Effect.flip(connection.call(Echo, "a"))
      assert.deepInclude(failed, {
        code: "INTERNAL",
        message: "connection closed",
        operation: "t/echo",
        origin: "local"
      })
      assert.deepInclude(yield* Effect.flip(connection.call("/t/echo", "a")), { operation: "t/echo" })
      const ended = yield* Effect.flip(Stream.runDrain(connection.subscribe(Ticks, undefined)))
      assert.deepInclude(ended, { code: "INTERNAL", message: "connection closed", operation: "t/ticks" })
      assert.deepInclude(yield* Effect.flip(connection.imports.install([])), { reason: "Transport" })
      assert.deepInclude(yield* peer.state, { _tag: "Waiting", until: 1000, why: "cannot reach peer: no way" })
      assert.strictEqual(client.dials.length, 1)
      const waiting = yield* Effect.forkChild(peer.connected)
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* Fiber.join(waiting)).info.id, "c1")
      assert.strictEqual(yield* connection.call(Echo, "a"), "from 1")
      yield* client.made[1]!.lose
      yield* Stream.runHead(Stream.filter(peer.changes, ({ _tag }) => _tag === "Waiting"))
      assert.deepInclude(yield* Effect.flip(connection.call(Echo, "a")), { message: "connection closed" })
      assert.deepInclude(yield* peer.state, { why: "closed by transport: lost" })
    }).pipe(random(0), quiet)
  )

  it.effect("closing ends the connection that there is, and it is dialed again", () =>
    Effect.gen(function* () {
      const client = dialing()
      const { connection, peer } = yield* hold(yield* build(client))
      yield* connection.close
      yield* Stream.runHead(Stream.filter(peer.changes, ({ _tag }) => _tag === "Waiting"))
      yield* TestClock.adjust("1 second")
      assert.strictEqual((yield* peer.connected).info.id, "c1")
      assert.strictEqual(connection.info.id, "c1")
    }).pipe(random(0), quiet)
  )

  it.effect(
    "onConnected runs on every connection before anybody has it; where it fails the connection is dialed again",
    () =>
      Effect.gen(function* () {
        const client = dialing()
        const seen = yield* Queue.unbounded<string>()
        const gate = yield* Deferred.make<void>()
        const interrupted = yield* Deferred.make<void>()
        const onConnected = (connection: CallConnection["Service"]): Effect.Effect<void, string> =>
          Effect.gen(function* () {
            const { id } = connection.info
            yield* Queue.offer(seen, id)
            if (id === "c0") return yield* Deferred.await(gate)
            if (id === "c1") return yield* Effect.fail("no import")
            if (id === "c2") {
              return yield* Effect.onInterrupt(Effect.never, () => Deferred.succeed(interrupted, undefined))
            }
          })
        const peers = yield* build(client, { onConnected })
        const holding = yield* Effect.forkChild(hold(peers))
        assert.strictEqual(yield* Queue.take(seen), "c0")
        assert.isUndefined(holding.pollUnsafe(), "nobody has it before it is ready")
        yield* Deferred.succeed(gate, undefined)
        const { connection, peer } = yield* Fiber.join(holding)
        assert.strictEqual(connection.info.id, "c0")
        yield* client.made[0]!.lose
        yield* Stream.runHead(Stream.filter(peer.changes, ({ _tag }) => _tag === "Waiting"))
        yield* TestClock.adjust("1 second")
        assert.strictEqual(yield* Queue.take(seen), "c1")
        yield* Stream.runHead(Stream.filter(peer.changes, ({ _tag }) => _tag === "Waiting"))
        assert.deepStrictEqual(client.closed, [0, 1])
        yield* TestClock.adjust("2 seconds")
        assert.strictEqual(yield* Queue.take(seen), "c2")
        assert.deepInclude(yield* Effect.flip(connection.call(Echo, "a")), { message: "connection closed" })
        yield* client.made[2]!.lose
        yield* Deferred.await(interrupted)
        yield* Stream.runHead(Stream.filter(peer.changes, ({ _tag }) => _tag === "Waiting"))
        yield* TestClock.adjust("4 seconds")
        assert.strictEqual(yield* connection.call(Echo, "a"), "from 3")
      }).pipe(random(0), quiet)
  )

  it.effect("addresses of a target are kept for the peer, the newest count", () =>
    Effect.gen(function* () {
      const client = dialing(false, false)
      const peers = yield* build(client)
      const one = [{ host: "10.0.0.1", port: 1 }]
      const two = [{ host: "10.0.0.2", port: 2 }]
      yield* hold(peers, { nodeId, addresses: one })
      yield* TestClock.adjust("1 second")
      yield* hold(peers, { nodeId, addresses: two })
      yield* TestClock.adjust("2 seconds")
      assert.deepStrictEqual(
        client.dials.map(({ target }) => target.addresses),
        [one, one, two]
      )
    }).pipe(random(0), quiet)
  )

  it.effect("a client that dies is a peer that is not there, and is asked again", () =>
    Effect.gen(function* () {
      let dials = 0
      const layer = Layer.mock(CallClient, {
        filterMode: "default-deny",
        connect: () =>
          Effect.suspend(() => (++dials === 1 ? Effect.die("broken") : Effect.succeed(makeConnection(1).service)))
      })
      const built = yield* Layer.build(Layer.provide(CallPeersLayer.layer(), layer))
      const { connection, peer } = yield* hold(Context.get(built, CallPeers))
      assert.deepInclude(yield* peer.state, { _tag: "Waiting", why: "a defect" })
      yield* TestClock.adjust("1 second")
      assert.strictEqual(yield* connection.call(Echo, "a"), "from 1")
    }).pipe(random(0), quiet)
  )
})
