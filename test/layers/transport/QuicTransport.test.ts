/** The Effect side of the QUIC transport: what is particular to it. The contract itself: test/conformance/transport. */
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Option, Scope } from "effect"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import * as QuicTransport from "../../../src/layers/transport/QuicTransport.ts"
import { Alpn } from "../../../src/protocol/Alpn.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import type { LocalIdentity } from "../../../src/services/Identity.ts"
import { type Connection, Transport } from "../../../src/services/Transport.ts"
import { socketAt } from "./quic/fixture.ts"

const ECHO = Alpn.make("test/echo")
const OFFER = [ECHO]

const listening = (identity: LocalIdentity, host = "127.0.0.1") =>
  Transport.use((transport) =>
    transport.listen({ address: { host, port: 0 }, identity, alpns: { node: () => OFFER, web: () => [] } })
  )

const pair = (host?: string) =>
  Effect.gen(function* () {
    const server = yield* makeEphemeralIdentity
    const client = yield* makeEphemeralIdentity
    const listener = yield* listening(server, host)
    const { dial } = yield* Transport
    const dialed = yield* dial({ address: listener.address, expect: server.nodeId, alpn: ECHO, identity: client })
    const accepted: Connection = yield* listener.accept
    return { server, client, listener, dialed, accepted }
  })

describe("QuicTransport", () => {
  it.live("both sides know each other, over IPv4 and IPv6", () =>
    Effect.forEach(["127.0.0.1", "::1"], (host) =>
      Effect.scoped(
        Effect.gen(function* () {
          const { server, client, listener, dialed, accepted } = yield* pair(host)
          assert.deepStrictEqual([dialed.peer, accepted.peer], [server.nodeId, client.nodeId])
          assert.deepStrictEqual([dialed.side, accepted.side], ["dialed", "accepted"])
          assert.deepStrictEqual(dialed.remoteAddress, listener.address)
          assert.isAbove((yield* accepted.stats).bytesReceived, 0)
        })
      )
    ).pipe(Effect.provide(QuicTransport.layer()))
  )

  it.live("datagrams arrive, and one that is too large is lost without an error", () =>
    Effect.gen(function* () {
      const { dialed, accepted } = yield* pair()
      const sending = Option.getOrThrow(dialed.datagrams)
      const receiving = Option.getOrThrow(accepted.datagrams)
      const size = yield* sending.maxSize
      assert.isAbove(size, 1000)
      yield* sending.send(new Uint8Array(size + 1))
      yield* sending.send(new Uint8Array(size).fill(7))
      assert.deepStrictEqual(new Uint8Array(yield* receiving.receive), new Uint8Array(size).fill(7))
      yield* dialed.close(CloseCode.NoError, "")
      assert.strictEqual((yield* Effect.flip(receiving.receive))._tag, "ConnectionClosed")
    }).pipe(Effect.provide(QuicTransport.layer()))
  )

  it.live("the listener's port is real, and taken for others", () =>
    Effect.gen(function* () {
      const identity = yield* makeEphemeralIdentity
      const { address } = yield* listening(identity)
      assert.isAbove(address.port, 0)
      const { listen } = yield* Transport
      const again = listen({ address, identity, alpns: { node: () => OFFER, web: () => [] } })
      const failed = yield* Effect.flip(again)
      assert.strictEqual(failed.reason, "AddressInUse")
      assert.strictEqual(failed.address, `127.0.0.1:${address.port}`)
    }).pipe(Effect.provide(QuicTransport.layer()))
  )

  it.live("an address that this machine does not have cannot be bound", () =>
    Effect.gen(function* () {
      const failed = yield* Effect.flip(listening(yield* makeEphemeralIdentity, "192.0.2.1"))
      assert.strictEqual(failed.reason, "AddressInvalid")
    }).pipe(Effect.provide(QuicTransport.layer()))
  )

  it.live("a dial that nobody answers times out, and one that is given up leaves nothing", () =>
    Effect.gen(function* () {
      const silent = (yield* socketAt()).address()
      const identity = yield* makeEphemeralIdentity
      const { dial } = yield* Transport
      const request = {
        address: { host: silent.address, port: silent.port },
        expect: identity.nodeId,
        alpn: ECHO,
        identity
      }
      const failed = yield* Effect.flip(dial(request))
      assert.strictEqual(failed.reason._tag, "TimedOut")
      const scope = yield* Scope.make()
      yield* Effect.forkChild(Scope.provide(dial(request), scope), { startImmediately: true })
      yield* Scope.close(scope, Exit.void)
    }).pipe(Effect.provide(QuicTransport.layer({ limits: { handshakeMillis: 600 } })))
  )

  it.live("TR-006 a close while the congestion window is full reaches the peer", () =>
    Effect.gen(function* () {
      const { dialed, accepted } = yield* pair()
      const stream = yield* dialed.open
      yield* stream.write(new Uint8Array(1))
      yield* (yield* accepted.accept).read
      const writing = yield* Effect.forkChild(Effect.exit(stream.write(new Uint8Array(2 ** 20))), {
        startImmediately: true
      })
      yield* dialed.close(CloseCode.NoError, "enough")
      const reason = yield* Effect.timeout(accepted.closed, "5 seconds")
      assert.deepStrictEqual([reason.by, reason.reason], ["peer", "enough"])
      yield* Fiber.join(writing)
    }).pipe(Effect.provide(QuicTransport.layer()))
  )

  it.live("TR-016 a dialed connection in use is kept alive, an unused one ends idle", () =>
    Effect.gen(function* () {
      const { dialed, accepted } = yield* pair()
      const stream = yield* dialed.open
      yield* stream.write(new Uint8Array(1))
      const other = yield* accepted.accept
      yield* other.read
      // Longer than the idle time, with an open stream on which nothing happens.
      yield* Effect.sleep("2500 millis")
      yield* stream.writeLast(new Uint8Array(1))
      yield* other.read
      yield* other.finish
      yield* Effect.exit(other.read)
      yield* Effect.exit(stream.read)
      const reason = yield* accepted.closed
      assert.deepStrictEqual([reason.kind, reason.code], ["idle", CloseCode.Idle])
    }).pipe(Effect.provide(QuicTransport.layer({ limits: { idleMillis: 1500, keepAliveMillis: 500 } })))
  )
})
