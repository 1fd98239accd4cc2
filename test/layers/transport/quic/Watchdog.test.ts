import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { QuicConnection } from "../../../../src/layers/transport/quic/QuicConnection.ts"
import { CloseCode } from "../../../../src/protocol/CloseCode.ts"
import { dialerRaw, dialRaw, echoStreams, listenRaw, request, until } from "./fixture.ts"

const KIBIBYTE = 1024

/** Sends datagrams until the connection ends. */
const flood = (connection: QuicConnection, message: Uint8Array) =>
  Effect.gen(function* () {
    const timer = setInterval(() => {
      for (let count = 0; count < 20 && !connection.isClosed; count++) connection.sendDatagram(message)
    }, 5)
    yield* until(() => connection.isClosed).pipe(Effect.ensuring(Effect.sync(() => clearInterval(timer))))
  })

describe("Watchdog", () => {
  it.live("ends a connection that fills the stack with what never comes out, and no other", () =>
    Effect.gen(function* () {
      const limits = { unreadBytes: 128 * KIBIBYTE }
      const node = yield* listenRaw({ limits })
      const good = yield* dialRaw(yield* dialerRaw(), node)
      const bad = yield* dialRaw(yield* dialerRaw(), node)
      // Nobody reads the datagrams.
      yield* flood(bad, new Uint8Array(1000))
      assert.deepStrictEqual([bad.closeReason!.by, bad.closeReason!.code], ["peer", CloseCode.TooMany])
      assert.strictEqual(node.driver.counters.watchdogCloses, 1)
      assert.strictEqual((yield* request(good, new Uint8Array(100_000))).length, 100_000)
    })
  )

  it.live("ends a connection that sends too many datagrams for several seconds, read or not", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({
        limits: { datagramsPerSecond: 100 },
        onConnection: (connection) => {
          echoStreams(connection)
          connection.onDatagram = () => {
            while (connection.receiveDatagram() !== undefined) {}
          }
        }
      })
      const bad = yield* dialRaw(yield* dialerRaw(), node)
      yield* flood(bad, new Uint8Array(10))
      assert.strictEqual(bad.closeReason!.code, CloseCode.TooMany)
    })
  )
})
