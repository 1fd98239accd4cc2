/** Conformance of the adapters over every transport: TR-001, TR-003, TR-004 and TR-005 seen through each of them. */
import { createServer, request } from "node:http"
import type { Duplex } from "node:stream"
import { pipeline } from "node:stream"
import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Stream } from "effect"
import * as Socket from "effect/socket/Socket"
import { toDuplex } from "../../../src/layers/transport/adapters/duplex.ts"
import { toSink, toStream } from "../../../src/layers/transport/adapters/effectStream.ts"
import { pump } from "../../../src/layers/transport/adapters/pump.ts"
import { toSocket } from "../../../src/layers/transport/adapters/socket.ts"
import {
  bytesOf,
  echoStream,
  joined,
  leavesNothing,
  pair,
  readAll,
  soon,
  type TransportProvider,
  turns
} from "./provider.ts"

const SENT = bytesOf(1_000_000)

const collect = (duplex: Duplex) =>
  Effect.callback<Buffer, Error>((resume) => {
    const chunks: Array<Buffer> = []
    duplex.on("data", (chunk: Buffer) => chunks.push(chunk))
    duplex.once("end", () => resume(Effect.succeed(Buffer.concat(chunks))))
    duplex.once("error", (error) => resume(Effect.fail(error)))
  })

export const adapterCases = (provider: TransportProvider): void => {
  it.live("TR-001 TR-003 an Effect Stream and Sink carry bytes and ends", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        yield* Effect.forkChild(Stream.run(toStream(right), toSink(right)))
        const parts = Array.from({ length: 10 }, (_, index) => SENT.subarray(index * 100_000, (index + 1) * 100_000))
        const writing = yield* Effect.forkChild(Stream.run(Stream.fromIterable(parts), toSink(left)))
        const back = Buffer.concat(yield* soon("the echo", Stream.runCollect(toStream(left))))
        yield* Fiber.join(writing)
        assert.isTrue(back.equals(SENT))
      })
    )
  )

  it.live("TR-004 a consumer that ends early stops the peer", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        const writing = yield* Effect.forkChild(Effect.flip(Effect.forever(right.write(bytesOf(65_536)))))
        const first = yield* soon("a chunk", Stream.runCollect(toStream(left).pipe(Stream.take(1))))
        assert.strictEqual(first.length, 1)
        if (provider.multiStream) assert.strictEqual((yield* soon("the stop", Fiber.join(writing)))._tag, "StreamReset")
        else yield* Fiber.interrupt(writing)
      })
    )
  )

  it.live("TR-001 TR-003 a Duplex carries bytes and ends, each direction on its own", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        const [near, far] = [yield* toDuplex(left), yield* toDuplex(right)]
        pipeline(far, far, () => {})
        const reading = yield* Effect.forkChild(collect(near), { startImmediately: true })
        near.write(SENT.subarray(0, 10))
        near.end(SENT.subarray(10))
        assert.isTrue((yield* soon("the echo", Fiber.join(reading))).equals(SENT))
      })
    )
  )

  it.live("TR-004 a Duplex that is destroyed resets, and a reset is ECONNRESET", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        const [near, far] = [yield* toDuplex(left), yield* toDuplex(right)]
        const failing = yield* Effect.forkChild(Effect.flip(collect(far)), { startImmediately: true })
        yield* turns(5)
        near.destroy()
        assert.propertyVal(yield* soon("the reset", Fiber.join(failing)), "code", "ECONNRESET")
      })
    )
  )

  it.live("TR-005 a Duplex that nobody reads holds the writer back", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        yield* toDuplex(right)
        let written = 0
        const writing = Effect.forever(
          Effect.andThen(
            left.write(bytesOf(65_536)),
            Effect.sync(() => {
              written += 65_536
            })
          )
        )
        yield* Effect.forkChild(Effect.ignore(writing))
        let before = -1
        while (before !== written) {
          before = written
          yield* turns(provider.virtual ? 20 : 400)
        }
        assert.isAtMost(written, provider.bufferedMax + 131_072)
      })
    )
  )

  it.live("node:http serves a request over a Duplex", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        const [near, far] = [yield* toDuplex(left), yield* toDuplex(right)]
        const server = createServer((incoming, response) => {
          response.setHeader("connection", "close")
          incoming.pipe(response)
        })
        server.emit("connection", far)
        const answer = yield* soon(
          "the response",
          Effect.callback<Buffer, Error>((resume) => {
            const sending = request({ createConnection: () => near, method: "POST", host: "node" }, (response) => {
              const chunks: Array<Buffer> = []
              response.on("data", (chunk: Buffer) => chunks.push(chunk))
              response.once("end", () => resume(Effect.succeed(Buffer.concat(chunks))))
            })
            sending.once("error", (error) => resume(Effect.fail(error)))
            sending.end(SENT)
          })
        )
        assert.isTrue(answer.equals(SENT))
      })
    )
  )

  it.live("TR-001 TR-003 an effect/socket Socket carries bytes and an orderly end", () =>
    leavesNothing(
      Effect.gen(function* () {
        const { left, right } = yield* joined(yield* pair(provider))
        yield* Effect.forkChild(Effect.ignore(echoStream(right)))
        const socket = toSocket(left)
        const pull = yield* Socket.readerBytes(socket)
        const writer = yield* socket.writer
        const sending = Effect.andThen(writer.writeAll(["text ", SENT]), writer.write(new Socket.CloseEvent(1000)))
        const chunks: Array<Uint8Array> = []
        const receiving = Effect.flip(Effect.forever(Effect.map(pull, (batch) => void chunks.push(...batch))))
        const [, end] = yield* soon("the echo", Effect.all([sending, receiving], { concurrency: 2 }))
        assert.isTrue(Buffer.concat(chunks).equals(Buffer.concat([Buffer.from("text "), SENT])))
        assert.deepInclude(end.reason, { _tag: "SocketCloseError", code: 1000 })
      })
    )
  )

  it.live("TR-003 pump joins two streams, and the end of a direction crosses", () =>
    leavesNothing(
      Effect.gen(function* () {
        const first = yield* joined(yield* pair(provider))
        const second = yield* joined(yield* pair(provider))
        const pumping = yield* Effect.forkChild(pump(first.right, second.left))
        yield* Effect.forkChild(Effect.ignore(echoStream(second.right)))
        const [, back] = yield* soon(
          "the echo through the tunnel",
          Effect.all([first.left.writeLast(SENT), readAll(first.left)], { concurrency: 2 })
        )
        assert.isTrue(back.equals(SENT))
        assert.deepStrictEqual(yield* soon("the end of pump", Fiber.join(pumping)), {
          forth: SENT.length,
          back: SENT.length
        })
      })
    )
  )

  it.live("TR-004 a reset crosses pump", () =>
    leavesNothing(
      Effect.gen(function* () {
        const first = yield* joined(yield* pair(provider))
        const second = yield* joined(yield* pair(provider))
        yield* Effect.forkChild(pump(first.right, second.left))
        yield* turns(5)
        yield* first.left.reset(0x33)
        const error = yield* soon("the reset", Effect.flip(second.right.read))
        if (provider.multiStream) assert.deepInclude(error, { _tag: "StreamReset", code: 0x33 })
        else assert.include(["StreamReset", "ConnectionClosed"], error._tag)
      })
    )
  )
}
