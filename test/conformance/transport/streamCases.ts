/** Conformance of streams: TR-001 to TR-006, TR-015, TR-025. */
import { assert, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import {
  bytesOf,
  dial,
  echoConnection,
  echoStream,
  joined,
  leavesNothing,
  nodes,
  pair,
  readAll,
  readExactly,
  soon,
  type TransportProvider,
  turns
} from "./provider.ts"

const SIZES = [0, 1, 1_199, 1_200, 65_536, 16 * 1_048_576]

export const streamCases = (provider: TransportProvider): void => {
  for (const size of SIZES) {
    it.live(`TR-001 ${size} bytes come back byte-exact`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const { dialed, accepted } = yield* pair(provider)
          yield* Effect.forkChild(echoConnection(accepted))
          const sent = bytesOf(size)
          const stream = yield* dialed.open
          const [, back] = yield* soon(
            "the echo",
            Effect.all([stream.writeLast(sent), readAll(stream)], { concurrency: 2 })
          )
          assert.strictEqual(back.length, size)
          assert.isTrue(back.equals(sent))
        })
      )
    )
  }

  it.live("TR-001 the side that was dialed can send as well as the dialer", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { dialed, accepted } = yield* pair(provider)
        yield* Effect.forkChild(echoConnection(dialed))
        const sent = bytesOf(300_000)
        const stream = yield* accepted.open
        const [, back] = yield* soon(
          "the echo",
          Effect.all([stream.writeLast(sent), readAll(stream)], { concurrency: 2 })
        )
        assert.isTrue(back.equals(sent))
      })
    )
  )

  it.live("TR-003 each direction ends on its own, and what was sent before comes first", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        const { left, right } = yield* joined(connections)
        yield* left.writeLast(bytesOf(5_000))
        yield* left.finish
        assert.strictEqual((yield* soon("the end", readAll(right))).length, 5_000)
        assert.strictEqual((yield* Effect.flip(right.read))._tag, "EndOfStream")
        assert.strictEqual((yield* Effect.flip(left.write(bytesOf(1))))._tag, "StreamReset")
        yield* right.write(bytesOf(7_000, 2))
        assert.isTrue((yield* readExactly(left, 7_000)).equals(bytesOf(7_000, 2)))
        yield* right.finish
        assert.strictEqual((yield* soon("the other end", readAll(left))).length, 0)
      })
    )
  )

  it.live("TR-003 the acceptor may finish first", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        const { left, right } = yield* joined(connections)
        yield* right.finish
        assert.strictEqual((yield* soon("the end", readAll(left))).length, 0)
        yield* left.writeLast(bytesOf(9_000))
        assert.isTrue((yield* soon("the rest", readAll(right))).equals(bytesOf(9_000)))
      })
    )
  )

  it.live("TR-005 a writer waits for a peer that does not read, within a bound, and goes on when it reads", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        const { left, right } = yield* joined(connections)
        const chunk = bytesOf(65_536)
        const total = provider.bufferedMax * 2
        let written = 0
        const writing = yield* Effect.forkChild(
          Effect.gen(function* () {
            while (written < total) {
              yield* left.write(chunk)
              written += chunk.length
            }
            yield* left.finish
          })
        )
        // Until nothing moves any more.
        let before = -1
        while (before !== written) {
          before = written
          yield* turns(provider.virtual ? 20 : 400)
        }
        assert.isAbove(written, 0)
        assert.isAtMost(written, provider.bufferedMax)
        assert.strictEqual(
          (yield* soon("the rest", readAll(right))).length,
          Math.ceil(total / chunk.length) * chunk.length
        )
        yield* Fiber.join(writing)
      })
    )
  )

  for (const closer of ["dialed", "accepted"] as const) {
    it.live(`TR-006 closing on the ${closer} side ends a waiting read, write and accept on both`, () =>
      leavesNothing(
        Effect.gen(function* () {
          const connections = yield* pair(provider)
          const { left, right } = yield* joined(connections)
          // Nobody writes to the left side and nobody reads on the right one.
          const operations: ReadonlyArray<Effect.Effect<unknown, { readonly _tag: string }>> = [
            left.read,
            Effect.forever(left.write(bytesOf(65_536))),
            connections.dialed.accept,
            connections.accepted.accept
          ]
          const waiting = yield* Effect.forEach(operations, (operation) =>
            Effect.forkChild(Effect.flip(operation), { startImmediately: true })
          )
          yield* turns(20)
          yield* connections[closer].close(CloseCode.NoError, "enough")
          // On a single-stream carrier a close looks like a finish until the other side finishes too.
          if (!provider.multiStream)
            yield* Effect.forkChild(Effect.ignore(Effect.andThen(readAll(right), right.finish)))
          for (const [index, fiber] of waiting.entries()) {
            const error = yield* soon("the end of a waiting operation", Fiber.join(fiber))
            // A single-stream carrier ends the stream and the connection with the same mark.
            const isRead = index === 0 && !provider.multiStream && closer === "accepted"
            assert.include(isRead ? ["ConnectionClosed", "EndOfStream"] : ["ConnectionClosed"], error._tag)
          }
          assert.strictEqual((yield* connections[closer].closed).by, "local")
          const other = closer === "dialed" ? connections.accepted : connections.dialed
          const reason = yield* soon("the close", other.closed)
          if (provider.multiStream) assert.deepInclude(reason, { by: "peer", kind: "app", code: CloseCode.NoError })
          assert.strictEqual((yield* Effect.flip(connections.dialed.open))._tag, "ConnectionClosed")
          assert.strictEqual((yield* Effect.flip(left.write(bytesOf(1))))._tag, "ConnectionClosed")
          yield* connections[closer].close(CloseCode.HandlerFailed, "again")
          assert.strictEqual((yield* connections[closer].closed).code, CloseCode.NoError)
        })
      )
    )
  }

  it.live("TR-004 abandoning the stream is seen by the other side, with the code where there is one", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        const { left, right } = yield* joined(connections)
        yield* left.reset(0x2a)
        const error = yield* soon("the reset", Effect.flip(readAll(right)))
        if (provider.multiStream) assert.deepInclude(error, { _tag: "StreamReset", side: "read", code: 0x2a })
        else assert.include(["StreamReset", "ConnectionClosed"], error._tag)
        const own = yield* Effect.flip(left.write(bytesOf(1)))
        assert.include(["StreamReset", "ConnectionClosed"], own._tag)
      })
    )
  )

  if (provider.multiStream) multiStreamCases(provider)
  else singleStreamCases(provider)
}

const multiStreamCases = (provider: TransportProvider): void => {
  it.live("TR-002 200 streams at once do not mix", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { dialed, accepted } = yield* pair(provider)
        yield* Effect.forkChild(echoConnection(accepted))
        yield* soon(
          "200 echoes",
          Effect.forEach(
            Array.from({ length: 200 }, (_, index) => index),
            Effect.fnUntraced(function* (index) {
              const stream = yield* dialed.open
              const sent = bytesOf(1_000 + index * 37, index + 1)
              const parts = [sent.subarray(0, 400), sent.subarray(400, 900), sent.subarray(900)]
              const write = Effect.forEach(parts, (part) => stream.write(part), { discard: true })
              const [, back] = yield* Effect.all([Effect.andThen(write, stream.finish), readAll(stream)], {
                concurrency: 2
              })
              assert.isTrue(back.equals(sent), `stream ${index}`)
            }),
            { concurrency: "unbounded", discard: true }
          )
        )
      })
    )
  )

  it.live("TR-004 a stop is seen by the writer, and the other direction goes on", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        const { left, right } = yield* joined(connections)
        yield* right.stop(0x2b)
        const error = yield* soon(
          "the stop",
          Effect.flip(Effect.forever(Effect.andThen(left.write(bytesOf(100)), turns(1))))
        )
        assert.deepInclude(error, { _tag: "StreamReset", side: "write", code: 0x2b })
        yield* right.writeLast(bytesOf(3_000))
        assert.isTrue((yield* soon("the other direction", readAll(left))).equals(bytesOf(3_000)))
      })
    )
  )

  it.live("TR-004 a reset of one stream leaves the others alone", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        const first = yield* joined(connections)
        const second = yield* joined(connections)
        yield* first.left.reset(1)
        yield* soon("the reset", Effect.flip(first.right.read))
        yield* Effect.forkChild(Effect.ignore(echoStream(second.right)))
        yield* second.left.writeLast(bytesOf(2_000))
        assert.isTrue((yield* soon("the echo", readAll(second.left))).equals(bytesOf(2_000)))
      })
    )
  )

  it.live("TR-015 opening waits at the stream limit and goes on when streams are over", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { dialed, accepted } = yield* pair(provider, { streamsMax: 8 })
        const streams = yield* Effect.forEach(Array.from({ length: 8 }), () => dialed.open)
        const ninth = yield* Effect.forkChild(dialed.open, { startImmediately: true })
        yield* turns(20)
        assert.isUndefined(ninth.pollUnsafe())
        // A peer may give new credit when half of it is used up, not for each stream.
        for (const stream of streams.slice(0, 5)) {
          yield* stream.writeLast(bytesOf(10))
          const other = yield* soon("a stream", accepted.accept)
          yield* readAll(other)
          yield* other.finish
          yield* readAll(stream)
        }
        const stream = yield* soon("the ninth stream", Fiber.join(ninth))
        yield* stream.writeLast(bytesOf(20))
        assert.strictEqual((yield* readAll(yield* accepted.accept)).length, 20)
      })
    )
  )

  it.live("TR-006 closing ends an open that waits at the stream limit", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { dialed } = yield* pair(provider, { streamsMax: 2 })
        yield* dialed.open
        yield* dialed.open
        const third = yield* Effect.forkChild(Effect.flip(dialed.open), { startImmediately: true })
        yield* turns(5)
        yield* dialed.close(CloseCode.NoError, "")
        assert.strictEqual((yield* soon("the open", Fiber.join(third)))._tag, "ConnectionClosed")
      })
    )
  )
}

const singleStreamCases = (provider: TransportProvider): void => {
  it.live("TR-025 there is one stream: a second open is refused, a second accept waits for the end", () =>
    leavesNothing(
      Effect.gen(function* () {
        const connections = yield* pair(provider)
        assert.isFalse(connections.dialed.multiStream)
        const { left, right } = yield* joined(connections)
        assert.strictEqual((yield* Effect.flip(connections.dialed.open))._tag, "StreamLimit")
        assert.strictEqual((yield* Effect.flip(connections.accepted.open))._tag, "StreamLimit")
        const second = yield* Effect.forkChild(Effect.flip(connections.accepted.accept), { startImmediately: true })
        yield* turns(20)
        assert.isUndefined(second.pollUnsafe())
        yield* left.writeLast(bytesOf(100))
        yield* readAll(right)
        yield* right.writeLast(bytesOf(200))
        assert.strictEqual((yield* readAll(left)).length, 200)
        const error = yield* soon("the end of the connection", Fiber.join(second))
        assert.deepInclude(error, { _tag: "ConnectionClosed", kind: "app", code: CloseCode.NoError })
      })
    )
  )

  it.live("TR-025 the connection ends orderly after both directions have", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider)
        const [dialed, accepted] = yield* Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
        const [left, right] = [yield* dialed.accept, yield* accepted.open]
        yield* Effect.all([left.writeLast(bytesOf(10)), right.writeLast(bytesOf(20))])
        assert.strictEqual((yield* readAll(left)).length, 20)
        assert.strictEqual((yield* readAll(right)).length, 10)
        for (const connection of [dialed, accepted]) {
          const reason = yield* soon("the end of the connection", connection.closed)
          assert.deepInclude(reason, { kind: "app", code: CloseCode.NoError })
        }
      })
    )
  )
}
