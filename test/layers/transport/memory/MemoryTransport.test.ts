/** What only the network in memory can show; the contract is in test/conformance/transport. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Fiber, Layer, Option, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryTransport from "../../../../src/layers/transport/MemoryTransport.ts"
import { DATAGRAM_BYTES_MAX, DATAGRAMS_MAX } from "../../../../src/layers/transport/memory/Link.ts"
import { BACKLOG_MAX } from "../../../../src/layers/transport/memory/Network.ts"
import { CHUNKS_MAX } from "../../../../src/layers/transport/memory/Pipe.ts"
import { CloseCode } from "../../../../src/protocol/CloseCode.ts"
import { Transport } from "../../../../src/services/Transport.ts"
import {
  bytesOf,
  dial,
  ECHO,
  joined,
  nodes,
  pair,
  readAll,
  type TransportProvider
} from "../../../conformance/transport/provider.ts"

const provider = (options: MemoryTransport.Options = {}): TransportProvider => ({
  name: "memory",
  multiStream: options.multiStream ?? true,
  virtual: true,
  idleMillis: 400,
  bufferedMax: 262_144,
  hosts: ["10.0.0.1"],
  make: Effect.fnUntraced(function* () {
    const layer = MemoryTransport.layerWith(options).pipe(Layer.provideMerge(MemoryTransport.MemoryNetwork.layer))
    const context = yield* Layer.build(layer)
    return {
      transport: Context.get(context, Transport),
      cut: Context.get(context, MemoryTransport.MemoryNetwork).cut
    }
  })
})

describe("MemoryTransport", () => {
  it.effect("two networks do not meet, two transports on one network do", () =>
    Effect.gen(function* () {
      const one = yield* nodes(provider())
      const other = yield* nodes(provider())
      const apart = yield* Effect.flip(
        dial({ ...one, transport: other.transport, address: { host: "10.0.0.9", port: 1 } })
      )
      assert.strictEqual(apart.reason._tag, "Unreachable")
      const network = yield* Layer.build(MemoryTransport.MemoryNetwork.layer)
      const build = Effect.map(Layer.build(Layer.fresh(MemoryTransport.layer)), Context.get(Transport)).pipe(
        Effect.provide(network)
      )
      const [first, second] = [yield* build, yield* build]
      assert.notStrictEqual(first, second)
      const alpns = { node: () => [ECHO], web: () => [] }
      const listener = yield* first.listen({ address: { host: "a", port: 1 }, identity: one.server, alpns })
      yield* second.dial({ address: listener.address, expect: one.server.nodeId, alpn: ECHO, identity: one.client })
    })
  )

  it.effect("a listener on all addresses answers for each, of its family", () =>
    Effect.gen(function* () {
      const both = yield* nodes(provider())
      const alpns = { node: () => [ECHO], web: () => [] }
      const at = (host: string) => dial({ ...both, address: { host, port: 7 } })
      yield* both.transport.listen({ address: { host: "0.0.0.0", port: 7 }, identity: both.server, alpns })
      yield* at("10.1.2.3")
      assert.strictEqual((yield* Effect.flip(at("fd00::1"))).reason._tag, "Unreachable")
      yield* both.transport.listen({ address: { host: "::", port: 7 }, identity: both.server, alpns })
      yield* at("fd00::1")
    })
  )

  it.effect("the caller keeps its buffer, the reader gets its own bytes", () =>
    Effect.gen(function* () {
      const { left, right } = yield* joined(yield* pair(provider()))
      const buffer = Buffer.from("first")
      yield* left.write(buffer)
      buffer.fill(0)
      assert.strictEqual(Buffer.from(yield* right.read).toString(), "first")
    })
  )

  it.effect("TR-005 the window is exact, in bytes and in chunks", () =>
    Effect.gen(function* () {
      const { left, right } = yield* joined(yield* pair(provider({ streamWindow: 1_000 })))
      yield* left.write(bytesOf(1_000))
      const blocked = yield* Effect.forkChild(left.write(bytesOf(1)), { startImmediately: true })
      assert.isUndefined(blocked.pollUnsafe())
      yield* right.read
      yield* Fiber.join(blocked)
      yield* right.read
      const large = yield* joined(yield* pair(provider()))
      const small = yield* Effect.forkChild(
        Effect.forEach(Array.from({ length: CHUNKS_MAX + 1 }), () => large.left.write(bytesOf(1)), { discard: true }),
        { startImmediately: true }
      )
      assert.isUndefined(small.pollUnsafe())
      yield* large.right.read
      yield* Fiber.join(small)
    })
  )

  it.effect("writes that wait keep their order, and an interrupted one leaves the line", () =>
    Effect.gen(function* () {
      const { left, right } = yield* joined(yield* pair(provider({ streamWindow: 10 })))
      yield* left.write(bytesOf(10))
      const line = yield* Effect.forEach([1, 2, 3], (byte) =>
        Effect.forkChild(left.write(new Uint8Array(4).fill(byte)), { startImmediately: true })
      )
      const finishing = yield* Effect.forkChild(left.finish, { startImmediately: true })
      yield* Fiber.interrupt(line[1]!)
      const bytes = yield* readAll(right)
      assert.deepStrictEqual([...bytes.subarray(10)], [1, 1, 1, 1, 3, 3, 3, 3])
      yield* Fiber.join(finishing)
    })
  )

  it.effect("TR-R03 what a peer finished is still read after its close, what it did not is gone", () =>
    Effect.gen(function* () {
      const { accepted, dialed } = yield* pair(provider())
      const [done, open] = [yield* dialed.open, yield* dialed.open]
      yield* done.writeLast(bytesOf(100))
      yield* open.write(bytesOf(100))
      yield* dialed.close(CloseCode.NoError, "bye")
      const stream = yield* accepted.accept
      assert.strictEqual((yield* readAll(stream)).length, 100)
      assert.strictEqual((yield* Effect.flip(stream.write(bytesOf(1))))._tag, "ConnectionClosed")
      assert.deepInclude(yield* Effect.flip(accepted.accept), { _tag: "ConnectionClosed", by: "peer", reason: "bye" })
    })
  )

  it.effect("a close reason is cut at 256 bytes", () =>
    Effect.gen(function* () {
      const { accepted, dialed } = yield* pair(provider())
      yield* dialed.close(CloseCode.HandlerFailed, "x".repeat(1_000))
      assert.strictEqual((yield* accepted.closed).reason.length, 256)
    })
  )

  it.effect("a node that is cut off and healed in time loses nothing", () =>
    Effect.gen(function* () {
      const network = yield* Layer.build(
        MemoryTransport.layer.pipe(Layer.provideMerge(MemoryTransport.MemoryNetwork.layer))
      )
      const { cut, heal } = Context.get(network, MemoryTransport.MemoryNetwork)
      const connections = yield* pair({
        ...provider(),
        make: () => Effect.succeed({ transport: Context.get(network, Transport) })
      })
      const { left, right } = yield* joined(connections)
      yield* cut(connections.server.nodeId)
      yield* left.writeLast(bytesOf(500))
      const reading = yield* Effect.forkChild(readAll(right), { startImmediately: true })
      yield* TestClock.adjust("29 seconds")
      assert.isUndefined(reading.pollUnsafe())
      yield* heal(connections.server.nodeId)
      assert.strictEqual((yield* Fiber.join(reading)).length, 500)
      yield* TestClock.adjust("1 minute")
      yield* connections.dialed.open
    })
  )

  it.effect("connections that nobody accepts are bounded", () =>
    Effect.gen(function* () {
      const both = yield* nodes(provider())
      yield* Effect.forEach(Array.from({ length: BACKLOG_MAX }), () => dial(both), { discard: true })
      const { reason } = yield* Effect.flip(dial(both))
      assert.deepStrictEqual(reason, { _tag: "Refused", code: CloseCode.TooMany })
      yield* both.listener.accept
      yield* dial(both)
    })
  )

  it.effect("messages that nobody reads, or that are too large, are lost", () =>
    Effect.gen(function* () {
      const { accepted, dialed } = yield* pair(provider())
      const [sending, receiving] = [Option.getOrThrow(dialed.datagrams), Option.getOrThrow(accepted.datagrams)]
      yield* sending.send(new Uint8Array((yield* sending.maxSize) + 1))
      for (let index = 0; index < DATAGRAMS_MAX + 10; index++) yield* sending.send(new Uint8Array([index & 255]))
      for (let index = 0; index < DATAGRAMS_MAX; index++) {
        assert.deepStrictEqual([...(yield* receiving.receive)], [index & 255])
      }
      const waiting = yield* Effect.forkChild(receiving.receive, { startImmediately: true })
      assert.isUndefined(waiting.pollUnsafe())
      yield* sending.send(bytesOf(DATAGRAM_BYTES_MAX))
      assert.strictEqual((yield* Fiber.join(waiting)).length, DATAGRAM_BYTES_MAX)
      assert.isTrue(Option.isNone((yield* pair(provider({ multiStream: false }))).dialed.datagrams))
    })
  )

  it.effect("nothing waits for real time: no timer and no handle is opened", () =>
    Effect.gen(function* () {
      // The scheduler's own turn is no timer.
      const handles = () => process.getActiveResourcesInfo().filter((kind) => kind !== "Immediate").length
      const before = handles()
      const scope = yield* Scope.make()
      const connections = yield* pair(provider({ keepAlive: false })).pipe(Scope.provide(scope))
      yield* joined(connections)
      yield* connections.cut!(connections.client.nodeId)
      assert.strictEqual(handles(), before)
      yield* Scope.close(scope, Exit.void)
    })
  )
})
