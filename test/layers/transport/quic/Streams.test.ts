/** Streams over the driver where the stack has known traps: TR-023, TR-029, TR-030, TR-031, TR-032. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { SHUTDOWN_READ, SHUTDOWN_WRITE } from "../../../../src/layers/transport/quic/Binding.ts"
import type { QuicConnection } from "../../../../src/layers/transport/quic/QuicConnection.ts"
import type { QuicStream, ReadEnd } from "../../../../src/layers/transport/quic/QuicStream.ts"
import { CloseCode } from "../../../../src/protocol/CloseCode.ts"
import { dialerRaw, dialRaw, listenRaw, random, readTo, relayTo, request, until, writeAll } from "./fixture.ts"

/** Idle connections of TR-023; the bench opens a thousand. */
const IDLE_CONNECTIONS = 200

/** Early closes of TR-032: the trap showed after 561 and 1,223. */
const EARLY_CLOSES = 1500

const MEBIBYTE = 1024 * 1024

describe("first flight", () => {
  it.live("TR-029 a stream that comes with the end of the handshake is delivered", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw()
      const dialer = yield* dialerRaw()
      for (let round = 0; round < 20; round++) {
        const parts: Array<Uint8Array> = []
        let end: ReadEnd | undefined
        const connection = yield* dialRaw(dialer, node, (established) => {
          const stream = established.open()!
          writeAll(stream, Buffer.from("early"), () => {})
          readTo(stream, parts, (reason) => {
            end = reason
          })
        })
        yield* until(() => end !== undefined)
        assert.deepStrictEqual([end, Buffer.concat(parts).toString()], [{ kind: "finished" }, "early"])
        connection.close(CloseCode.NoError, "")
      }
    })
  )

  it.live("TR-032 closing right after the handshake, again and again, blocks nobody", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw()
      const dialer = yield* dialerRaw()
      for (let round = 0; round < EARLY_CLOSES; round++) {
        const connection = yield* dialRaw(dialer, node)
        connection.close(CloseCode.NoError, "")
      }
      yield* until(() => node.driver.size === 0)
      assert.deepStrictEqual(yield* request(yield* dialRaw(dialer, node), Buffer.from("x")), Buffer.from("x"))
    })
  )
})

const isForgotten = ({ connection, id }: QuicStream): boolean => {
  try {
    connection.q.streamCapacity(id)
    return false
  } catch (thrown) {
    return String(thrown).includes("InvalidStreamState")
  }
}

describe("codes", () => {
  const pair = Effect.gen(function* () {
    const streams: Array<QuicStream> = []
    const node = yield* listenRaw({
      onConnection: (connection) => {
        connection.onIncoming = () => {
          const stream = connection.accept()
          if (stream !== undefined) streams.push(stream)
        }
      }
    })
    const connection = yield* dialRaw(yield* dialerRaw(), node)
    return { connection, streams }
  })

  /** Sends so many bytes over one more stream, and reads them. */
  const carries = (connection: QuicConnection, streams: Array<QuicStream>, bytes: number) =>
    Effect.gen(function* () {
      const { left, right } = yield* opened(connection, streams)
      const done = yield* Effect.forkChild(
        Effect.callback<void>((resume) => writeAll(left, Buffer.alloc(bytes), () => resume(Effect.void))),
        { startImmediately: true }
      )
      let length = 0
      yield* until(() => {
        for (let chunk = right.read(); chunk !== undefined; chunk = right.read()) length += chunk.length
        return right.readEnd !== undefined
      })
      yield* Fiber.join(done)
      assert.strictEqual(length, bytes)
    })
  const opened = (connection: QuicConnection, streams: Array<QuicStream>) =>
    Effect.gen(function* () {
      const count = streams.length
      const left = connection.open()!
      left.queueWrite({ bytes: Buffer.from("x"), end: false, done: () => {} })
      yield* until(() => streams.length > count)
      const right = streams[count]!
      yield* until(() => right.read() !== undefined)
      return { left, right }
    })

  for (const [code, seen] of [
    [0, 0],
    [2 ** 53 - 1, 2 ** 53 - 1],
    [1e16, 1e16],
    [2 ** 62 - 1024, 2 ** 62 - 1024]
  ] as const) {
    it.live(`TR-030 a reset and a stop with code ${code} arrive, and nothing breaks`, () =>
      Effect.gen(function* () {
        const { connection, streams } = yield* pair
        const first = yield* opened(connection, streams)
        connection.q.streamShutdown(first.left.id, SHUTDOWN_WRITE, code)
        connection.touch()
        yield* until(() => first.right.readEnd !== undefined)
        assert.deepStrictEqual(first.right.readEnd, { kind: "reset", code: seen })
        const second = yield* opened(connection, streams)
        connection.q.streamShutdown(second.left.id, SHUTDOWN_READ, code)
        connection.touch()
        yield* until(() => second.right.write(Buffer.from("y"), false) < 0)
        assert.deepStrictEqual(second.right.writeEnd, { kind: "stopped", code: seen })
        const third = yield* opened(connection, streams)
        writeAll(third.right, Buffer.from("z"), () => {})
        yield* until(() => third.left.read() !== undefined)
      })
    )
  }

  it.live("a stream that is opened and given up unwritten is heard of, and its place is free again", () =>
    Effect.gen(function* () {
      const { connection, streams } = yield* pair
      const left = connection.open()!
      left.reset(7)
      yield* until(() => streams.length === 1)
      yield* until(() => streams[0]!.readEnd !== undefined)
      assert.deepStrictEqual(streams[0]!.readEnd, { kind: "reset", code: 7 })
    })
  )

  it.live(
    "a stop that comes while nothing is written is seen by the next write, also when the stack forgot the stream",
    () =>
      Effect.gen(function* () {
        const { connection, streams } = yield* pair
        const { left, right } = yield* opened(connection, streams)
        left.write(new Uint8Array(0), true)
        yield* until(() => {
          right.read()
          return right.readEnd !== undefined
        })
        left.stop(7)
        yield* until(() => isForgotten(right))
        assert.strictEqual(right.write(Buffer.from("y"), false), -1)
        assert.strictEqual(right.writeEnd?.kind, "stopped")
      })
  )

  it.live("streams whose readers wait do not hold up the others", () =>
    Effect.gen(function* () {
      const { connection, streams } = yield* pair
      // 64 MiB that nobody reads, as far as the windows let it come.
      for (let round = 0; round < 64; round++) {
        const { left } = yield* opened(connection, streams)
        left.queueWrite({ bytes: Buffer.alloc(MEBIBYTE), end: false, done: () => {} })
      }
      yield* carries(connection, streams, 32 * MEBIBYTE)
    })
  )

  it.live(
    "streams that are stopped half read, or reset in front of a waiting reader, leave the connection as it was",
    () =>
      Effect.gen(function* () {
        const { connection, streams } = yield* pair
        for (let round = 0; round < 40; round++) {
          const { left, right } = yield* opened(connection, streams)
          const received = right.connection.receivedBytes
          left.queueWrite({ bytes: Buffer.alloc(2 * MEBIBYTE), end: false, done: () => {} })
          // More than the queue takes: the rest lies in the stack.
          yield* until(() => right.connection.receivedBytes - received > 270 * 1024)
          if (round % 2 === 0) {
            right.stop(1)
            yield* until(() => left.writeEnd !== undefined || left.write(Buffer.alloc(1), false) < 0)
          } else {
            left.reset(1)
            yield* until(() => {
              right.read()
              return right.readEnd !== undefined
            })
          }
          right.reset(0)
          left.stop(0)
        }
        yield* carries(connection, streams, 12 * MEBIBYTE)
        assert.isFalse(connection.isClosed)
      })
  )

  it.live("many short streams in a row do not use up the limit of streams, however they end", () =>
    Effect.gen(function* () {
      const { connection, streams } = yield* pair
      for (let round = 0; round < 1200; round++) {
        const { left, right } = yield* opened(connection, streams)
        if (round % 3 === 0) left.reset(1)
        else left.write(new Uint8Array(0), true)
        if (round % 2 === 0) right.stop(2)
        right.reset(3)
        left.stop(4)
      }
      yield* until(() => connection.streams.size === 0)
    })
  )
})

describe("loss", () => {
  for (const percent of [1, 2]) {
    it.live(`TR-031 with ${percent} % loss 1,000 streams, 64 at once, all come back`, () =>
      Effect.gen(function* () {
        const node = yield* listenRaw()
        const dialer = yield* dialerRaw()
        const relay = yield* relayTo(node)
        const next = random(percent)
        const connection = yield* dialRaw(dialer, { address: relay.address, identity: node.identity })
        relay.loses = () => next() < percent / 100
        const bytes = Buffer.alloc(100, 1)
        yield* Effect.forEach(
          Array.from({ length: 1000 }),
          () => Effect.map(request(connection, bytes), (answer) => assert.deepStrictEqual(answer, bytes)),
          { concurrency: 64, discard: true }
        )
        assert.strictEqual(connection.streams.size, 0)
      })
    )
  }

  it.live("an end that travels alone is not lost for ever", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({
        onConnection: (connection) => {
          connection.onIncoming = () => {
            const stream = connection.accept()!
            readTo(stream, [], () => writeThenEnd(stream))
          }
        }
      })
      const dialer = yield* dialerRaw()
      const relay = yield* relayTo(node)
      const next = random(3)
      const connection = yield* dialRaw(dialer, { address: relay.address, identity: node.identity })
      relay.loses = () => next() < 0.03
      const late = Effect.callback<void>((resume) => {
        const stream = connection.open()!
        writeThenEnd(stream)
        readTo(stream, [], () => resume(Effect.void))
      })
      yield* Effect.forEach(Array.from({ length: 1000 }), () => late, { concurrency: 64, discard: true })
      assert.strictEqual(connection.streams.size, 0)
    })
  )
})

/** Some turns later the data is on its way, or even acknowledged. */
const writeThenEnd = (stream: QuicStream): void => {
  stream.write(Buffer.alloc(100), false)
  setImmediate(() => setImmediate(() => setImmediate(() => writeAll(stream, new Uint8Array(0), () => {}))))
}

describe("memory", () => {
  it.live("TR-023 idle connections cost little memory on both sides together", ({ annotate }) =>
    Effect.gen(function* () {
      const node = yield* listenRaw()
      const dialer = yield* dialerRaw()
      yield* Effect.forEach(Array.from({ length: 20 }), () => dialRaw(dialer, node))
      globalThis.gc?.()
      const before = process.memoryUsage().rss
      yield* Effect.forEach(Array.from({ length: IDLE_CONNECTIONS }), () => dialRaw(dialer, node))
      yield* until(() => node.driver.size === IDLE_CONNECTIONS + 20)
      globalThis.gc?.()
      const bytes = (process.memoryUsage().rss - before) / IDLE_CONNECTIONS
      yield* Effect.promise(() => annotate(`${(bytes / 1024).toFixed(0)} KiB a connection, client and server`))
      // Two ends of at most 64 KiB, and what the process had free or not.
      assert.isBelow(bytes, 160 * 1024)
    })
  )

  it.live("a reader that does not read holds the writer, within the bound of the driver", () =>
    Effect.gen(function* () {
      const streams: Array<QuicStream> = []
      const limits = { streamWindowBytes: MEBIBYTE, readAheadBytes: 64 * 1024 }
      const node = yield* listenRaw({
        limits,
        onConnection: (connection) => {
          connection.onIncoming = () => streams.push(connection.accept()!)
        }
      })
      const connection = yield* dialRaw(yield* dialerRaw({ limits }), node)
      const stream = connection.open()!
      const bytes = Buffer.alloc(8 * MEBIBYTE)
      let isDone = false
      writeAll(stream, bytes, () => {
        isDone = true
      })
      yield* until(() => streams.length === 1)
      const sent = () => connection.stats().bytesSent
      let last = -1
      yield* until(() => {
        const now = sent()
        const isStill = now === last
        last = now
        return isStill && now > 256 * 1024
      })
      assert.isFalse(isDone)
      assert.isBelow(sent(), 2 * MEBIBYTE)
      let length = 0
      yield* until(() => {
        for (let chunk = streams[0]!.read(); chunk !== undefined; chunk = streams[0]!.read()) length += chunk.length
        return streams[0]!.readEnd !== undefined
      })
      assert.strictEqual(length, bytes.length)
      assert.isTrue(isDone)
    })
  )
})
