/** The driver against input that no stack would send: TR-018, TR-019, TR-020, TR-033, 0-RTT, migration. */
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import type { QuicConnection } from "../../../../src/layers/transport/quic/QuicConnection.ts"
import { CloseCode } from "../../../../src/protocol/CloseCode.ts"
import {
  dialAnonymously,
  dialerRaw,
  dialRaw,
  ECHO,
  echoStreams,
  initials,
  listenRaw,
  type RawNode,
  random,
  relayTo,
  request,
  sendAll,
  socketAt,
  until
} from "./fixture.ts"

const hello = Buffer.from("hello")

const serves = (node: RawNode, dialer: RawNode) =>
  Effect.gen(function* () {
    const connection = yield* dialRaw(dialer, node)
    assert.deepStrictEqual(yield* request(connection, hello), hello)
    connection.close(CloseCode.NoError, "")
  })

const residentBytes = (): number => {
  globalThis.gc?.()
  return process.memoryUsage().rss
}

describe("hostile datagrams", () => {
  it.live("TR-018 random datagrams leave no state and no memory behind", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { handshakeMillis: 500 }, web: true })
      const dialer = yield* dialerRaw()
      yield* serves(node, dialer)
      const socket = yield* socketAt()
      const next = random(1)
      const noise = Array.from({ length: 10_000 }, (_, index) => {
        const datagram = Buffer.alloc(1 + Math.floor(next() * 1400))
        for (let at = 0; at < datagram.length; at++) datagram[at] = next() * 256
        // Half of them look like long headers of version 1, of every packet type.
        if (index % 2 === 0 && datagram.length > 60) {
          datagram[0] = 0xc0 | (index & 0x3f)
          datagram.writeUInt32BE(index % 4 === 0 ? 1 : 0xbabababa, 1)
          datagram[5] = [20, 8, 0, 21][(index % 8) >> 1]!
        }
        return datagram
      })
      const before = residentBytes()
      yield* sendAll(socket, noise, node.address)
      yield* until(() => node.driver.size === 0 && node.admission.halfOpen === 0)
      yield* serves(node, dialer)
      assert.isBelow(residentBytes() - before, 20 * 2 ** 20)
      assert.strictEqual(node.driver.counters.bindingFailures, 0)
    })
  )

  it.live("TR-018 mutated datagrams of a live connection do not end it, nor the node", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { handshakeMillis: 500 } })
      const dialer = yield* dialerRaw()
      const relay = yield* relayTo(node)
      const victim = yield* dialRaw(dialer, { address: relay.address, identity: node.identity })
      yield* request(victim, Buffer.alloc(5000))
      const next = random(2)
      const before = residentBytes()
      const mutants = Array.from({ length: 10_000 }, (_, index) => {
        const original = relay.recorded[index % relay.recorded.length]!
        const mutant = Buffer.from(original.subarray(0, index % 5 === 0 ? 1 + next() * original.length : undefined))
        for (let flips = 0; flips <= index % 8; flips++) mutant[next() * mutant.length] = next() * 256
        return mutant
      })
      yield* sendAll(relay.up, mutants, node.address)
      assert.deepStrictEqual(yield* request(victim, hello), hello)
      yield* serves(node, dialer)
      yield* until(() => node.admission.halfOpen === 0)
      assert.isBelow(residentBytes() - before, 20 * 2 ** 20)
      assert.strictEqual(node.driver.counters.bindingFailures, 0)
    })
  )

  it.live("a 0-RTT packet of nobody is dropped without an answer", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw()
      const dialer = yield* dialerRaw()
      const datagram = Buffer.alloc(1200)
      datagram[0] = 0xd0
      datagram.writeUInt32BE(1, 1)
      datagram[5] = 20
      datagram[26] = 8
      yield* sendAll(yield* socketAt(), [datagram], node.address)
      yield* until(() => node.driver.counters.unknownDatagrams === 1)
      assert.strictEqual(node.driver.counters.sentDatagrams, 0)
      assert.strictEqual(node.driver.size, 0)
      yield* serves(node, dialer)
    })
  )

  it.live("another version is answered with version negotiation, and version negotiation with nothing", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { statelessPerSecond: 1 } })
      const socket = yield* socketAt()
      const answers: Array<Buffer> = []
      socket.on("message", (datagram) => answers.push(datagram))
      const other = Buffer.alloc(1200)
      other[0] = 0xc0
      other.writeUInt32BE(0x6b3343cf, 1)
      other.fill(7, 5, 6 + 7)
      other[13] = 4
      const negotiation = Buffer.from(other)
      negotiation.writeUInt32BE(0, 1)
      yield* sendAll(socket, [negotiation, other], node.address)
      yield* until(() => answers.length > 0)
      const answer = answers[0]!
      assert.strictEqual(answer.readUInt32BE(1), 0)
      assert.strictEqual(answer.readUInt32BE(answer.length - 4), 1)
      // The bound on answers without state is reached within this second.
      yield* sendAll(socket, Array(50).fill(other), node.address)
      yield* until(() => node.driver.counters.receivedDatagrams === 52)
      assert.isAtMost(node.driver.counters.sentDatagrams, 2)
    })
  )
})

describe("handshakes", () => {
  it.live("TR-019 half-open handshakes of one address are bounded, and others still connect", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { handshakeMillis: 1000 } })
      const flooder = yield* dialerRaw()
      const socket = yield* socketAt("127.0.0.1")
      yield* sendAll(socket, initials(flooder, 400), node.address)
      yield* until(() => node.driver.counters.receivedDatagrams >= 400)
      // Half of the places go to those who proved their address.
      assert.strictEqual(node.admission.halfOpen, 32)
      yield* serves(node, yield* dialerRaw({ host: "127.0.0.2" }))
      // The flooded address itself still connects: it answers the Retry.
      yield* serves(node, flooder)
      yield* until(() => node.admission.halfOpen === 0)
      assert.strictEqual(node.driver.size, 0)
    })
  )

  it.live("TR-020 a handshake that does not go on is dropped in time, and one that sends too much at once", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { handshakeMillis: 600, handshakeBytes: 20_000 } })
      const slow = yield* dialerRaw()
      const socket = yield* socketAt()
      const [first, second] = initials(slow, 2)
      yield* sendAll(socket, [first!], node.address)
      yield* until(() => node.driver.size === 1)
      yield* until(() => node.driver.size === 0)
      assert.strictEqual(node.admission.halfOpen, 0)
      yield* sendAll(socket, Array(20).fill(second), node.address)
      yield* until(() => node.driver.counters.receivedDatagrams >= 21)
      const [connection] = [...node.driver.connections]
      assert.isTrue(connection === undefined || connection.receivedBytes <= 20_000)
    })
  )

  it.live("TR-033 a connection that is refused is freed within 100 ms, in the driver and in memory", () =>
    Effect.gen(function* () {
      let refused: WeakRef<QuicConnection["q"]> | undefined
      let refusedAt = 0
      const node = yield* listenRaw({
        onConnection: (connection) => {
          refused = new WeakRef(connection.q)
          refusedAt = performance.now()
          connection.close(CloseCode.NoHandler, "")
        }
      })
      const dialer = yield* dialerRaw()
      const connection = yield* dialRaw(dialer, node)
      yield* until(() => refused !== undefined && node.driver.size === 0)
      assert.isBelow(performance.now() - refusedAt, 100)
      assert.strictEqual(node.admission.established, 0)
      yield* until(() => connection.isClosed)
      assert.strictEqual(connection.closeReason!.code, CloseCode.NoHandler)
      assert.strictEqual(connection.closeReason!.by, "peer")
      yield* until(() => {
        globalThis.gc?.()
        return refused!.deref() === undefined
      })
    })
  )

  it.live("a peer that missed the close packet gets it again", () =>
    Effect.gen(function* () {
      const accepted: Array<QuicConnection> = []
      const node = yield* listenRaw({
        onConnection: (connection) => {
          accepted.push(connection)
          echoStreams(connection)
        }
      })
      const dialer = yield* dialerRaw()
      const relay = yield* relayTo(node)
      const connection = yield* dialRaw(dialer, { address: relay.address, identity: node.identity })
      yield* request(connection, hello)
      relay.loses = () => true
      accepted[0]!.close(CloseCode.Draining, "")
      relay.loses = () => false
      // The first close packet was still on its way through the relay when it lost everything, or comes now; either way
      // a datagram to a closed connection is answered.
      connection.keepAlive()
      yield* until(() => connection.isClosed)
      assert.strictEqual(connection.closeReason!.code, CloseCode.Draining)
    })
  )

  it.live("Retry: with it always on a dial still works, and an Initial without a token leaves no state", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { halfOpenBeforeRetry: 0 } })
      const dialer = yield* dialerRaw()
      yield* serves(node, dialer)
      const socket = yield* socketAt()
      const answers: Array<Buffer> = []
      socket.on("message", (datagram) => answers.push(datagram))
      yield* sendAll(socket, initials(dialer, 1), node.address)
      yield* until(() => answers.length === 1)
      // Long header, type 3: Retry. No connection exists for it.
      assert.strictEqual(answers[0]![0]! & 0xf0, 0xf0)
      yield* until(() => node.driver.size === 0)
    })
  )

  it.live("new connections of one address beyond the rate must prove it, and beyond that are dropped", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw({ limits: { newPerSecond: 1, newPerSecondWithRetry: 2, handshakeMillis: 300 } })
      const dialer = yield* dialerRaw({ limits: { handshakeMillis: 300 } })
      const results = yield* Effect.forEach([1, 2, 3, 4, 5, 6], () => Effect.exit(dialRaw(dialer, node)), {
        concurrency: "unbounded"
      })
      const connected = results.filter((result) => result._tag === "Success").length
      // Two in a second; a second may turn while they dial.
      assert.isAtLeast(connected, 2)
      assert.isAtMost(connected, 4)
    })
  )
})

describe("addresses", () => {
  it.live("migration is off: datagrams from another address are dropped, and the old one goes on", () =>
    Effect.gen(function* () {
      const node = yield* listenRaw()
      const dialer = yield* dialerRaw()
      const relay = yield* relayTo(node)
      const connection = yield* dialRaw(dialer, { address: relay.address, identity: node.identity })
      yield* request(connection, hello)
      const known = relay.up
      relay.up = yield* socketAt()
      const waiting = yield* Effect.forkChild(request(connection, hello), { startImmediately: true })
      yield* until(() => node.driver.counters.strayDatagrams > 0)
      assert.isUndefined(waiting.pollUnsafe())
      relay.up = known
      yield* until(() => waiting.pollUnsafe() !== undefined)
    })
  )
})

describe("anonymous clients", () => {
  it.live("TR-010 are refused by the node context while the web context is off, and served by it when it is on", () =>
    Effect.gen(function* () {
      const seen: Array<QuicConnection> = []
      const closed = yield* listenRaw({ onConnection: (connection) => seen.push(connection) })
      const open = yield* listenRaw({ web: true, onConnection: (connection) => seen.push(connection) })
      const dialer = yield* dialerRaw({ limits: { handshakeMillis: 600 } })
      const refused = yield* dialAnonymously(dialer, closed, "localhost")
      yield* until(() => refused.isClosed)
      assert.deepStrictEqual([refused.closeReason!.by, refused.closeReason!.code], ["peer", 0x174])
      const connection = yield* dialAnonymously(dialer, open, "localhost")
      yield* until(() => seen.length === 1)
      assert.isUndefined(seen[0]!.peer)
      assert.strictEqual(seen[0]!.alpn, ECHO)
      echoStreams(seen[0]!)
      assert.strictEqual(connection.isClosed, false)
    })
  )

  it.live("TR-010 a client without a certificate is refused by the node context", () =>
    Effect.gen(function* () {
      const seen: Array<QuicConnection> = []
      const node = yield* listenRaw({ onConnection: (connection) => seen.push(connection) })
      const dialer = yield* dialerRaw()
      const connection = yield* dialAnonymously(dialer, node, "alknet.invalid")
      yield* until(() => connection.isClosed)
      assert.deepStrictEqual([connection.closeReason!.by, connection.closeReason!.code], ["peer", 0x174])
      assert.strictEqual(seen.length, 0)
    })
  )
})
