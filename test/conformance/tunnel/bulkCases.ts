/** Much through one tunnel: in memory that does not grow with it, and held back by whoever does not read. */
import type { Socket } from "node:net"
import { connect } from "node:net"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { localForward } from "../../../src/layers/tunnel/Forwards.ts"
import { bytesOf, leavesNothing, soon, type TransportProvider, turns } from "../transport/provider.ts"
import { hostOf, serverOf, tunnelOf } from "./tunnelNodes.ts"

/** Bytes of the transfer; ALKNET_BULK_BYTES makes it another one. */
const BULK_BYTES = Number(process.env["ALKNET_BULK_BYTES"] ?? 512 * 1_048_576)

/** What the process may hold beyond what it held before: windows, slabs that wait for the collector. */
const HELD_BYTES_MAX = 320 * 1_048_576

const PIECE = bytesOf(1_048_576)

/** Sends pieces while the socket takes them; gives how many bytes it took. */
const pour = (socket: Socket, total: number): { readonly sent: () => number } => {
  let sent = 0
  const more = () => {
    while (sent < total) {
      const piece = PIECE.subarray(0, Math.min(PIECE.length, total - sent))
      sent += piece.length
      if (!socket.write(piece)) return
    }
    socket.end()
  }
  socket.on("drain", more)
  more()
  return { sent: () => sent }
}

/** Checks that what comes is the pieces, and counts. */
const drained = (port: number) =>
  Effect.callback<{ readonly bytes: number; readonly heldMax: number }>((resume) => {
    const before = process.memoryUsage.rss()
    let [bytes, heldMax] = [0, 0]
    const socket = connect({ host: "127.0.0.1", port })
    socket.on("data", (chunk: Buffer) => {
      const at = bytes % PIECE.length
      const rest = Math.min(chunk.length, PIECE.length - at)
      if (!chunk.subarray(0, rest).equals(PIECE.subarray(at, at + rest))) socket.destroy(new Error("other bytes"))
      bytes += chunk.length
      heldMax = Math.max(heldMax, process.memoryUsage.rss() - before)
    })
    socket.on("error", (error) => resume(Effect.die(error)))
    socket.on("close", () => resume(Effect.succeed({ bytes, heldMax })))
    return Effect.sync(() => socket.destroy())
  })

export const bulkCases = (provider: TransportProvider): void => {
  // Buffers that crossed between threads are collected late: what is held then says nothing of what is needed.
  const isBetweenThreads = provider.name === "quic-worker"
  const total = isBetweenThreads ? Math.min(BULK_BYTES, 128 * 1_048_576) : BULK_BYTES

  it.live(
    "a large transfer arrives whole, in bounded memory",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const tunnel = yield* tunnelOf(provider)
          const port = yield* serverOf((socket) => void pour(socket, total))
          const local = yield* localForward(tunnel, { host: "127.0.0.1", port: 0 }, hostOf(port), () => Effect.void)
          const { bytes, heldMax } = yield* drained(local.port)
          assert.strictEqual(bytes, total)
          if (!isBetweenThreads) assert.isBelow(heldMax, HELD_BYTES_MAX)
        }).pipe(Effect.orDie)
      ),
    300_000
  )

  it.live("a reader that does not read holds the sender back", () =>
    leavesNothing(
      Effect.gen(function* () {
        const tunnel = yield* tunnelOf(provider)
        let sent = () => 0
        const port = yield* serverOf((socket) => {
          sent = pour(socket, 1_024 * 1_048_576).sent
        })
        const stream = yield* tunnel.connect(hostOf(port))
        // Held back: nothing more is taken, however often one looks.
        const still = Effect.gen(function* () {
          let last = -1
          while (sent() !== last || last === 0) {
            last = sent()
            yield* Effect.andThen(Effect.sleep("100 millis"), turns(50))
          }
          return last
        })
        const taken = yield* soon("the sender to wait", still)
        // The windows of the carrier and of two loopback sockets.
        assert.isBelow(taken, provider.bufferedMax + 32 * 1_048_576)
        yield* stream.read
      }).pipe(Effect.orDie)
    )
  )
}
