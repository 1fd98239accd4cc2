/** TR-034: what happens in the worker thread costs the QUIC connections, and nothing else. */
import { existsSync, readdirSync } from "node:fs"
import { BroadcastChannel } from "node:worker_threads"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Option, type Scope } from "effect"
import { makeEphemeralIdentity } from "../../../../../src/layers/LocalIdentity.ts"
import * as QuicTransport from "../../../../../src/layers/transport/QuicTransport.ts"
import { WorkerEngine } from "../../../../../src/layers/transport/quic/worker/WorkerEngine.ts"
import * as TlsTransport from "../../../../../src/layers/transport/TlsTransport.ts"
import { Alpn } from "../../../../../src/protocol/Alpn.ts"
import { CloseCode } from "../../../../../src/protocol/CloseCode.ts"
import type { SocketAddress } from "../../../../../src/protocol/SocketAddress.ts"
import type { LocalIdentity } from "../../../../../src/services/Identity.ts"
import { type Connection, type Listener, Transport } from "../../../../../src/services/Transport.ts"
import { leavesNothing } from "../../../../conformance/transport/provider.ts"
import { dialAnonymously, dialerRaw } from "../fixture.ts"
import { CHANNEL, type Harm } from "./Harm.ts"

const ECHO = Alpn.make("test/echo")
const OFFER = [ECHO]

const PING_MILLIS = 60

/** Where the system lists what this process has open. */
const DESCRIPTORS = "/proc/self/fd"

interface Options {
  readonly firstPauseMillis?: number
}

/** A transport over a thread that can be harmed; `warnings` is what it wrote to the log. */
const isolated = (warnings: Array<string>, { firstPauseMillis = 20 }: Options = {}) => {
  const settings = {
    thread: new URL("./DisturbedThread.ts", import.meta.url),
    resourceLimits: { maxOldGenerationSizeMb: 64 },
    pingMillis: PING_MILLIS,
    firstPauseMillis,
    longestPauseMillis: 100
  }
  const engine = QuicTransport.layerOf(
    (options) => new WorkerEngine({ ...options, ...settings, report: (text) => warnings.push(text) })
  )
  return Effect.map(Layer.build(engine), (context) => Context.get(context, Transport))
}

const disturb = (harm: Harm) =>
  Effect.sync(() => {
    const channel = new BroadcastChannel(CHANNEL)
    channel.postMessage(harm)
    channel.close()
  })

interface Node {
  readonly transport: Transport["Service"]
  readonly identity: LocalIdentity
  readonly listener: Listener
}

/** A node that echoes what comes on one stream of each connection. */
const listening = Effect.fnUntraced(function* (transport: Transport["Service"], port = 0) {
  const identity = yield* makeEphemeralIdentity
  const alpns = { node: () => OFFER, web: () => [] }
  const listener = yield* transport.listen({ address: { host: "127.0.0.1", port }, identity, alpns })
  const serve = (connection: Connection) =>
    Effect.gen(function* () {
      const stream = yield* connection.accept
      yield* Effect.forever(Effect.flatMap(stream.read, stream.write))
    })
  yield* listener.accept.pipe(
    Effect.flatMap((connection) => Effect.forkChild(Effect.ignore(serve(connection)))),
    Effect.forever,
    Effect.ignore,
    Effect.forkScoped
  )
  return { transport, identity, listener } satisfies Node
})

const dial = ({ identity, listener, transport }: Node, client: LocalIdentity) =>
  transport.dial({ address: listener.address, expect: identity.nodeId, alpn: ECHO, identity: client })

const echoes = (connection: Connection) =>
  Effect.gen(function* () {
    const stream = yield* connection.open
    return () =>
      Effect.gen(function* () {
        yield* stream.write(new Uint8Array([7]))
        return (yield* stream.read)[0]
      })
  })

/** Dials until it works: while there is no thread a dial fails at once, or it is lost with the thread. */
const dialAgain = (node: Node, client: LocalIdentity): Effect.Effect<Connection, Error, Scope.Scope> =>
  dial(node, client).pipe(
    Effect.tapError(() => Effect.sleep("20 millis")),
    Effect.eventually,
    Effect.timeout("20 seconds")
  )

const comesBackAfter = (harm: Harm, why: RegExp) =>
  Effect.gen(function* () {
    const warnings: Array<string> = []
    const node = yield* listening(yield* isolated(warnings))
    const client = yield* makeEphemeralIdentity
    const before = yield* dial(node, client)
    const stream = yield* before.open
    yield* stream.write(new Uint8Array([1]))
    yield* stream.read
    const { port } = node.listener.address
    yield* disturb(harm)
    const failed = yield* Effect.flip(stream.read)
    assert.deepInclude(failed, { _tag: "ConnectionClosed", kind: "lost", by: "transport" })
    assert.strictEqual((yield* Effect.flip(before.open))._tag, "ConnectionClosed")
    assert.strictEqual((yield* Effect.flip(stream.write(new Uint8Array([2]))))._tag, "ConnectionClosed")
    assert.strictEqual((yield* before.closed).kind, "lost")
    const after = yield* dialAgain(node, client)
    assert.strictEqual(node.listener.address.port, port)
    assert.deepStrictEqual(after.remoteAddress, node.listener.address)
    assert.strictEqual(yield* (yield* echoes(after))(), 7)
    assert.match(warnings.join("\n"), why)
  })

const PATIENT = { timeout: 40_000 }

describe("a transport in a worker thread", () => {
  it.live("carries datagrams, and tells what it carried after the end too", () =>
    Effect.gen(function* () {
      const { dial, listen } = yield* Transport
      const [identity, client] = [yield* makeEphemeralIdentity, yield* makeEphemeralIdentity]
      const alpns = { node: () => OFFER, web: () => [] }
      const { accept, address } = yield* listen({ address: { host: "127.0.0.1", port: 0 }, identity, alpns })
      const dialed = yield* dial({ address, expect: identity.nodeId, alpn: ECHO, identity: client })
      const accepted = yield* accept
      const sending = Option.getOrThrow(dialed.datagrams)
      const receiving = Option.getOrThrow(accepted.datagrams)
      const size = yield* sending.maxSize
      assert.isAbove(size, 1000)
      yield* sending.send(new Uint8Array(size + 1))
      yield* sending.send(new Uint8Array(size).fill(7))
      assert.deepStrictEqual(yield* receiving.receive, new Uint8Array(size).fill(7))
      yield* dialed.close(CloseCode.NoError, "")
      yield* accepted.closed
      assert.isAbove((yield* dialed.stats).bytesSent, size)
      assert.isAbove((yield* accepted.stats).bytesReceived, size)
      assert.strictEqual((yield* Effect.flip(receiving.receive))._tag, "ConnectionClosed")
    }).pipe(Effect.scoped, Effect.provide(QuicTransport.layer({ isolation: "worker" })))
  )

  it.live("serves anonymous clients where that is asked for", () =>
    Effect.gen(function* () {
      const { listen } = yield* Transport
      const identity = yield* makeEphemeralIdentity
      const alpns = { node: () => [], web: () => OFFER }
      const { accept, address } = yield* listen({ address: { host: "127.0.0.1", port: 0 }, identity, alpns })
      const dialer = yield* dialerRaw()
      yield* dialAnonymously(dialer, { ...dialer, address }, "localhost")
      assert.isUndefined((yield* accept).peer)
    }).pipe(Effect.scoped, Effect.provide(QuicTransport.layer({ isolation: "worker", web: true })))
  )

  it.live("says what a socket that cannot be bound lacks", () =>
    Effect.gen(function* () {
      const { listen } = yield* Transport
      const identity = yield* makeEphemeralIdentity
      const alpns = { node: () => OFFER, web: () => [] }
      const at = (address: SocketAddress) => listen({ address, identity, alpns })
      const { address } = yield* at({ host: "127.0.0.1", port: 0 })
      assert.strictEqual((yield* Effect.flip(at(address))).reason, "AddressInUse")
      assert.strictEqual((yield* Effect.flip(at({ host: "192.0.2.1", port: 0 }))).reason, "AddressInvalid")
    }).pipe(Effect.scoped, Effect.provide(QuicTransport.layer({ isolation: "worker" })))
  )
})

describe("TR-034 isolation in a worker thread", () => {
  it.live(
    "the thread ends: its connections are lost, TLS on the same port goes on, and QUIC comes back there",
    () =>
      Effect.gen(function* () {
        const warnings: Array<string> = []
        // TCP first, as the node does: of its ports many more are taken.
        const tls = yield* listening(Context.get(yield* Layer.build(TlsTransport.layer()), Transport))
        const { port } = tls.listener.address
        const quic = yield* listening(yield* isolated(warnings, { firstPauseMillis: 300 }), port)
        const client = yield* makeEphemeralIdentity
        const overTls = yield* echoes(yield* dial(tls, client))
        assert.strictEqual(yield* overTls(), 7)
        const overQuic = yield* dial(quic, client)
        yield* disturb("exit")
        assert.strictEqual((yield* overQuic.closed).kind, "lost")
        // No thread now.
        assert.strictEqual(yield* overTls(), 7)
        assert.strictEqual(yield* (yield* echoes(yield* dial(tls, client)))(), 7)
        const refused = yield* Effect.flip(dial(quic, client))
        assert.deepInclude(refused.reason, { _tag: "Unreachable", code: "EAGAIN" })
        const again = yield* dialAgain(quic, client)
        assert.deepStrictEqual(again.remoteAddress, { host: "127.0.0.1", port })
        assert.strictEqual(yield* (yield* echoes(again))(), 7)
        assert.strictEqual(yield* overTls(), 7)
        assert.lengthOf(warnings, 1)
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    "a thread that ends before it serves fails the listener, and leaves its port",
    () =>
      Effect.gen(function* () {
        const warnings: Array<string> = []
        const thread = new URL("./NoThread.ts", import.meta.url)
        const engine = QuicTransport.layerOf(
          (options) => new WorkerEngine({ ...options, thread, report: (text) => warnings.push(text) })
        )
        const transport = Context.get(yield* Layer.build(engine), Transport)
        const failed = yield* Effect.flip(listening(transport))
        assert.strictEqual(failed.reason, "Io")
        assert.isNotEmpty(warnings)
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    "an exception that nobody catches ends the thread only",
    () => comesBackAfter("throw", /lost/).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    "a thread that runs out of memory ends alone",
    // A thread that fights for memory may also be too slow to answer before it dies of it.
    () => comesBackAfter("memory", /ERR_WORKER_OUT_OF_MEMORY|does not answer/).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    "an endless loop is noticed and ended",
    () => comesBackAfter("loop", /does not answer/).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    "native code that does not return is left behind, and the next thread takes its place on the same port",
    () => comesBackAfter("native", /does not answer/).pipe(Effect.scoped),
    PATIENT
  )

  it.live(
    "20 restarts leave nothing behind",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const descriptors = () => (existsSync(DESCRIPTORS) ? readdirSync(DESCRIPTORS).length : 0)
          const warnings: Array<string> = []
          const node = yield* listening(yield* isolated(warnings, { firstPauseMillis: 1 }))
          const client = yield* makeEphemeralIdentity
          const round = Effect.gen(function* () {
            const connection = yield* dialAgain(node, client)
            assert.strictEqual(yield* (yield* echoes(connection))(), 7)
            const open = descriptors()
            yield* disturb("exit")
            yield* connection.closed
            return open
          }).pipe(Effect.scoped)
          const first = yield* round
          let last = first
          for (let count = 1; count < 20; count++) last = yield* round
          // A thread has a dozen, and the one before may not be quite gone.
          assert.isAtMost(last - first, 16)
          assert.lengthOf(warnings, 20)
        })
      ),
    { timeout: 90_000 }
  )
})
