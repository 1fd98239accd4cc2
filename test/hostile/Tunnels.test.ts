/** Bytes that nobody should send, at the streams of `alknet/tunnel` and at the SOCKS5 proxy. */
import { connect, type Socket } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { TestClock } from "effect/testing"
import { serve } from "../../src/layers/Socks5.ts"
import { makeTunnel, type Tunnel } from "../../src/layers/tunnel/TunnelClient.ts"
import { TUNNEL_ALPN } from "../../src/protocol/tunnel/Tunnel.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { leavesNothing, readAll, soon } from "../conformance/transport/provider.ts"
import { provider } from "../conformance/transport/registry.ts"
import { echo, forwardingNodes, hostOf, serverOf, tunnelOf } from "../conformance/tunnel/tunnelNodes.ts"
import { Dice } from "./Attackers.ts"

const LOOPBACK = { host: "127.0.0.1", port: 0 }

const works = (tunnel: Tunnel, port: number) =>
  Effect.scoped(
    Effect.gen(function* () {
      const stream = yield* tunnel.connect(hostOf(port))
      yield* stream.writeLast(Buffer.from("hello"))
      assert.strictEqual((yield* soon("the echo", readAll(stream))).toString(), "hello")
    })
  )

/** Sends this and ends; completes when the other side has closed, with how many bytes it said. */
const said = (port: number, bytes: Uint8Array, endsToo: boolean): Effect.Effect<number> =>
  Effect.callback((resume) => {
    let count = 0
    const socket: Socket = connect({ ...LOOPBACK, port }, () => {
      if (endsToo) socket.end(bytes)
      else socket.write(bytes)
    })
    socket.on("data", (chunk: Buffer) => {
      count += chunk.length
    })
    socket.on("error", () => {})
    socket.on("close", () => resume(Effect.succeed(count)))
    return Effect.sync(() => socket.destroy())
  })

describe("hostile tunnels", () => {
  it.live(
    "bytes that are no request cost their own stream",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const { near, target } = yield* forwardingNodes(provider("quic"))
          const tunnel = yield* Effect.provideService(makeTunnel(target), Endpoint, near)
          const port = yield* serverOf(echo)
          const connection = yield* near.connect(target, TUNNEL_ALPN)
          const dice = new Dice(7)
          const fixed = [
            [],
            [0],
            [0, 0],
            [4, 1, 1],
            [255, 255, 1],
            [0, 1, 99],
            [0, 1, 1],
            [0, 17, 5, ...new Array<number>(16).fill(0)],
            [0, 3, 3, 1, 2]
          ].map((bytes) => Uint8Array.from(bytes))
          const random = Array.from({ length: 500 }, () => dice.bytes(dice.below(64)))
          const one = Effect.fnUntraced(function* (bytes: Uint8Array) {
            const stream = yield* connection.open
            yield* stream.writeLast(bytes)
            // An answer that says no, or a stream that is broken off.
            const answer = yield* Effect.exit(soon("the end", readAll(stream)))
            if (answer._tag === "Success" && answer.value.length > 0) assert.notStrictEqual(answer.value[2], 0)
          })
          yield* Effect.forEach([...fixed, ...random], one, { concurrency: 16, discard: true })
          yield* works(tunnel, port)
        }).pipe(Effect.orDie)
      ),
    60_000
  )

  it.live(
    "what is not SOCKS5 is closed at once, and the proxy serves on",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const tunnel = yield* tunnelOf(provider("memory"))
          const { port } = yield* serve({ listen: LOOPBACK, tunnel })
          const dice = new Dice(11)
          for (const text of [
            "GET / HTTP/1.1\r\n\r\n",
            "\x04\x01\x00\x50\x7f\x00\x00\x01\x00",
            "\x16\x03\x01",
            "\x05\x00"
          ]) {
            assert.strictEqual(yield* soon(text, said(port, Buffer.from(text, "latin1"), false)), 0)
          }
          // No method that we have; then BIND and an address of a kind that does not exist.
          assert.strictEqual(yield* soon("no method", said(port, Uint8Array.of(5, 1, 99), false)), 2)
          const bind = Uint8Array.of(5, 1, 0, 5, 2, 0, 1, 127, 0, 0, 1, 0, 80)
          assert.strictEqual(yield* soon("BIND", said(port, bind, true)), 12)
          assert.strictEqual(yield* soon("kind", said(port, Uint8Array.of(5, 1, 0, 5, 1, 0, 9), true)), 12)
          const noise = Array.from({ length: 500 }, (_, index) => {
            const bytes = dice.bytes(dice.below(700))
            // Half of them get as far as the request.
            return index % 2 === 0 ? bytes : Buffer.concat([Uint8Array.of(5, 1, 0, 5, 1, 0), bytes])
          })
          yield* Effect.forEach(noise, (bytes) => soon("the end", said(port, bytes, true)), {
            concurrency: 16,
            discard: true
          })
          const target = yield* serverOf((socket) => socket.end("fine"))
          const request = Uint8Array.of(5, 1, 0, 5, 1, 0, 1, 127, 0, 0, 1, target >> 8, target & 0xff)
          assert.strictEqual(yield* soon("the server", said(port, request, true)), 2 + 10 + 4)
        }).pipe(Effect.orDie)
      ),
    60_000
  )

  it.effect("a client that says nothing is closed in time", () =>
    Effect.gen(function* () {
      const tunnel = yield* tunnelOf(provider("memory"))
      const { port } = yield* serve({ listen: LOOPBACK, tunnel })
      const silent = yield* Effect.forkChild(said(port, Uint8Array.of(5), false), { startImmediately: true })
      const waiting = Effect.gen(function* () {
        yield* Effect.callback<void>((resume) => void setImmediate(() => resume(Effect.void)))
        yield* TestClock.adjust("1 second")
      })
      yield* Effect.raceFirst(Fiber.join(silent), Effect.forever(waiting))
    })
  )
})
