/** A borrowed endpoint behaves like the lender's own: both sides of the control socket in one process. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Layer, Scope } from "effect"
import { layerEndpoint } from "../../src/layers/ControlClient.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { ALPN, arrange, connected, pair, readAll, withBorrowed } from "./controlFixture.ts"

describe("a borrowed endpoint", () => {
  it.live("dials through the lender, and each direction of a stream ends on its own", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        assert.strictEqual(connection.peer, world.target.nodeId)
        assert.strictEqual(connection.side, "dialed")
        assert.strictEqual(connection.transport, "memory")
        const { far, near } = yield* pair(connection, accepted)
        yield* near.finish
        assert.strictEqual((yield* readAll(far)).length, 0)
        yield* far.writeLast(Buffer.from("answer"))
        assert.strictEqual((yield* readAll(near)).toString(), "answer")
        assert.strictEqual((yield* Effect.flip(near.read))._tag, "EndOfStream")
        assert.isAtLeast((yield* connection.stats).bytesSent, 5)
      })
    )
  )

  it.live("carries 4 MiB both ways byte by byte, while the reader is slow", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const { far, near } = yield* pair(connection, accepted)
        const bytes = Buffer.alloc(4 << 20)
        for (let index = 0; index < bytes.length; index++) bytes[index] = (index * 31) >>> 3
        const echo = yield* Effect.forkChild(Effect.flatMap(readAll(far), (all) => far.writeLast(all)))
        const writing = yield* Effect.forkChild(near.writeLast(bytes))
        const back = yield* readAll(near)
        yield* Fiber.join(writing)
        yield* Fiber.join(echo)
        assert.isTrue(bytes.equals(back))
      })
    )
  )

  it.live("a writer waits where nobody reads, and a slow reader then gets everything", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const { far, near } = yield* pair(connection, accepted)
        const bytes = Buffer.alloc(16 << 20, 7)
        const writing = yield* Effect.forkChild(near.writeLast(bytes))
        yield* Effect.sleep("100 millis")
        assert.isUndefined(writing.pollUnsafe())
        assert.strictEqual((yield* readAll(far)).length, bytes.length)
        yield* Fiber.join(writing)
      })
    )
  )

  it.live("resets and stops cross with their codes", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const one = yield* pair(connection, accepted)
        yield* one.near.reset(41)
        const reset = yield* Effect.flip(one.far.read)
        assert.deepStrictEqual([reset._tag, "code" in reset && reset.code], ["StreamReset", 41])
        const two = yield* pair(connection, accepted)
        yield* two.far.reset(Number.MAX_SAFE_INTEGER)
        const back = yield* Effect.flip(two.near.read)
        assert.deepStrictEqual([back._tag, "code" in back && back.code], ["StreamReset", Number.MAX_SAFE_INTEGER])
        const three = yield* pair(connection, accepted)
        yield* three.far.stop(9)
        yield* Effect.forkChild(Effect.ignore(three.near.read))
        const stopped = yield* Effect.flip(
          Effect.forever(Effect.andThen(three.near.write(Buffer.from("x")), Effect.sleep("1 millis")))
        )
        assert.deepStrictEqual([stopped._tag, "code" in stopped && stopped.code], ["StreamReset", 9])
      })
    )
  )

  it.live("the peer's streams arrive, and the peer's close code too", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        const waiting = yield* Effect.forkChild(connection.accept)
        const opened = yield* accepted.open
        yield* opened.writeLast(Buffer.from("from there"))
        const stream = yield* Fiber.join(waiting)
        assert.strictEqual((yield* readAll(stream)).toString(), "from there")
        yield* accepted.close(0x01, "")
        const reason = yield* connection.closed
        assert.deepStrictEqual([reason.by, reason.kind, reason.code], ["peer", "app", 1])
        assert.strictEqual((yield* Effect.flip(connection.open))._tag, "ConnectionClosed")
        assert.strictEqual((yield* Effect.flip(connection.accept))._tag, "ConnectionClosed")
      })
    )
  )

  it.live("a connection that is closed with a code of its own ends at the peer with that code", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const { accepted, connection } = yield* connected(world)
        yield* connection.close(0x11, "done with it")
        const reason = yield* accepted.closed
        assert.deepStrictEqual([reason.by, reason.code], ["peer", 0x11])
      })
    )
  )

  it.live("a connection that was given back serves the next dial of the same peer and ALPN", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        for (let round = 0; round < 3; round++) {
          yield* Effect.scoped(
            Effect.gen(function* () {
              const connection = yield* world.borrowed.connect(world.target, ALPN)
              const stream = yield* connection.open
              yield* stream.write(Buffer.from("x"))
            })
          )
          yield* Effect.sleep("30 millis")
        }
        assert.strictEqual(world.dials(), 1)
      })
    )
  )

  it.live("what a client leaves behind ends with it", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const scope = yield* Scope.make()
        const { accepted, connection } = yield* Scope.provide(connected(world), scope)
        const { far } = yield* pair(connection, accepted)
        yield* Scope.close(scope, Exit.void)
        const ended = yield* Effect.flip(Effect.forever(far.read))
        assert.strictEqual(ended._tag, "StreamReset")
      })
    )
  )

  it.live("a dial that fails says why, as if it were one's own", () =>
    withBorrowed((world) =>
      Effect.gen(function* () {
        const nobody = yield* makeEphemeralIdentity
        const wrong = yield* Effect.flip(world.borrowed.connect({ ...world.target, nodeId: nobody.nodeId }, ALPN))
        assert.strictEqual(wrong.reason._tag, "PeerMismatch")
        const refused = yield* Effect.flip(world.borrowed.connect(world.target, Alpn.make("test/other")))
        assert.strictEqual(refused.reason._tag, "Refused")
      })
    )
  )

  it.live("when the lender ends, everything borrowed fails with ConnectionClosed", () =>
    Effect.gen(function* () {
      const world = yield* arrange
      const scope = yield* Scope.make()
      yield* Scope.provide(Layer.build(world.server), scope)
      const context = yield* Layer.build(layerEndpoint(world.path))
      const borrowed = yield* Effect.provide(Endpoint, context)
      const { accepted, connection } = yield* connected({ ...world, borrowed })
      const { near } = yield* pair(connection, accepted)
      yield* Scope.close(scope, Exit.void)
      assert.strictEqual((yield* Effect.flip(near.read))._tag, "ConnectionClosed")
      yield* connection.closed
    }).pipe(Effect.provide(MemoryTransport.layerAlone))
  )
})
