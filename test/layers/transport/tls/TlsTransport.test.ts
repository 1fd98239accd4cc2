/** What only the TLS transport can show; the contract is in test/conformance/transport. */
import { type ChildProcess, fork } from "node:child_process"
import { randomBytes } from "node:crypto"
import { connect as connectTcp, createServer, type Server, type Socket } from "node:net"
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from "node:tls"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Redacted } from "effect"
import { makeEphemeralIdentity } from "../../../../src/layers/LocalIdentity.ts"
import * as TlsTransport from "../../../../src/layers/transport/TlsTransport.ts"
import { ownWebCertificate } from "../../../../src/layers/transport/tls/contexts.ts"
import { CloseCode } from "../../../../src/protocol/CloseCode.ts"
import { NODE_SERVER_NAME } from "../../../../src/protocol/identity/Certificate.ts"
import type { SocketAddress } from "../../../../src/protocol/SocketAddress.ts"
import { Transport } from "../../../../src/services/Transport.ts"
import {
  bytesOf,
  dial,
  ECHO,
  echoConnection,
  leavesNothing,
  type Nodes,
  nodes,
  OTHER,
  readAll,
  soon,
  type TransportProvider,
  turns
} from "../../../conformance/transport/provider.ts"

const provider = (options: TlsTransport.Options = {}): TransportProvider => ({
  name: "tls",
  multiStream: false,
  virtual: false,
  idleMillis: 400,
  bufferedMax: 16 * 1_048_576,
  hosts: ["127.0.0.1"],
  make: () =>
    Effect.map(Layer.build(TlsTransport.layer({ closeDrain: "200 millis", ...options })), (context) => ({
      transport: Context.get(context, Transport)
    }))
})

/** A TLS client that is no node. */
const stockClient = (address: SocketAddress, options: ConnectionOptions) =>
  Effect.acquireRelease(
    Effect.callback<TLSSocket, NodeJS.ErrnoException>((resume) => {
      const socket = connectTls({ ...address, rejectUnauthorized: false, ALPNProtocols: [ECHO], ...options })
      socket.once("error", (error) => resume(Effect.fail(error)))
      socket.once("secureConnect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const tcpClient = (address: SocketAddress) =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = connectTcp(address)
      socket.on("error", () => {})
      socket.once("connect", () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.sync(() => socket.destroy())
  )

const closeOf = (socket: Socket) =>
  Effect.callback<void>((resume) => {
    if (socket.closed) return resume(Effect.void)
    socket.resume()
    socket.once("close", () => resume(Effect.void))
  })

/** A dial that gets through and echoes: the service goes on. */
const works = (both: Nodes) =>
  Effect.scoped(
    Effect.gen(function* () {
      const [dialed, accepted] = yield* soon(
        "an honest dial",
        Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
      )
      assert.strictEqual(accepted.peer, both.client.nodeId)
      yield* Effect.forkChild(echoConnection(accepted))
      const stream = yield* dialed.open
      yield* stream.writeLast(bytesOf(10))
      assert.strictEqual((yield* soon("the echo", readAll(stream))).length, 10)
    })
  )

describe("TlsTransport", () => {
  it.live("TR-010 a stock client gets the P-256 certificate and the public ALPNs, and is anonymous", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const refused = yield* Effect.flip(stockClient(both.address, { servername: "node.example" }))
        assert.include(refused.code, "NO_APPLICATION_PROTOCOL")
        both.offered.web = [ECHO]
        const socket = yield* stockClient(both.address, { servername: "node.example" })
        assert.deepInclude(socket.getPeerX509Certificate()?.publicKey.asymmetricKeyDetails, {
          namedCurve: "prime256v1"
        })
        assert.strictEqual(socket.getProtocol(), "TLSv1.3")
        const accepted = yield* both.listener.accept
        assert.isUndefined(accepted.peer)
        socket.end("hello")
        const bytes = yield* readAll(yield* accepted.accept)
        assert.strictEqual(bytes.toString(), "hello")
      })
    )
  )

  it.live("ID-R19 a node certificate under another server name stays anonymous", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        both.offered.web = [ECHO]
        const key = Buffer.from(Redacted.value(both.client.keyPem))
        yield* stockClient(both.address, { servername: "node.example", cert: both.client.certPem, key })
        assert.isUndefined((yield* both.listener.accept).peer)
      })
    )
  )

  it.live("ID-R18 a client that asks for a node but shows no certificate is anonymous", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const socket = yield* stockClient(both.address, { servername: NODE_SERVER_NAME })
        assert.strictEqual(socket.getPeerX509Certificate()?.publicKey.asymmetricKeyType, "ed25519")
        assert.isUndefined((yield* both.listener.accept).peer)
      })
    )
  )

  it.live("ID-R10 older versions of TLS are refused, and no session can be resumed", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        both.offered.web = [ECHO]
        const old = yield* Effect.flip(
          stockClient(both.address, { servername: "a", minVersion: "TLSv1.2", maxVersion: "TLSv1.2" })
        )
        assert.include(old.code, "PROTOCOL_VERSION")
        const first = yield* stockClient(both.address, { servername: "a" })
        const sessions: Array<Buffer> = []
        first.on("session", (session) => sessions.push(session))
        const accepted = yield* both.listener.accept
        const stream = yield* accepted.open
        yield* stream.write(bytesOf(1))
        yield* Effect.callback<void>((resume) => {
          first.once("data", () => resume(Effect.void))
        })
        const session = sessions.at(-1)
        const second = yield* stockClient(both.address, { servername: "a", ...(session && { session }) })
        assert.isFalse(second.isSessionReused())
      })
    )
  )

  it.live("ID-R13 a certificate that is not a node's ends the handshake with nothing accepted", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const { certPem, keyPem } = ownWebCertificate()
        const socket = yield* stockClient(both.address, { servername: NODE_SERVER_NAME, cert: certPem, key: keyPem })
        yield* soon("the reset", closeOf(socket))
        const accepted = yield* Effect.forkChild(both.listener.accept, { startImmediately: true })
        assert.isUndefined(accepted.pollUnsafe())
        yield* dial(both)
        assert.strictEqual((yield* soon("the honest one", Fiber.join(accepted))).peer, both.client.nodeId)
      })
    )
  )

  it.live("ID-R13 a server that is not a node is BadCertificate", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const { certPem, keyPem } = ownWebCertificate()
        const pretender = {
          ...both.server,
          certPem,
          keyPem: Redacted.make(new TextEncoder().encode(keyPem))
        }
        const listener = yield* both.transport.listen({
          address: { host: "127.0.0.1", port: 0 },
          identity: pretender,
          alpns: { node: () => [ECHO], web: () => [] }
        })
        const error = yield* Effect.flip(dial({ ...both, address: listener.address }))
        assert.strictEqual(error.reason._tag, "BadCertificate")
      })
    )
  )

  it.live("a peer that is turned away learns it at once, as NoHandler, and cannot tell why", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        for (const code of [CloseCode.NoHandler, CloseCode.TooMany]) {
          const [dialed, accepted] = yield* Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
          const stream = yield* dialed.open
          yield* stream.write(bytesOf(100))
          const reading = yield* Effect.forkChild(Effect.flip(stream.read), { startImmediately: true })
          yield* accepted.close(code, "never crosses")
          const error = yield* soon("the close", Fiber.join(reading))
          assert.deepInclude(error, { _tag: "ConnectionClosed", by: "peer", kind: "app", code: 1, reason: "" })
          assert.deepInclude(yield* dialed.closed, { by: "peer", kind: "app", code: CloseCode.NoHandler })
        }
      })
    )
  )

  it.live("a reset after bytes came is `lost`, an orderly close delivers them all", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        for (const code of [CloseCode.HandlerFailed, CloseCode.NoError]) {
          const [dialed, accepted] = yield* Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
          const [stream, other] = [yield* dialed.open, yield* accepted.accept]
          yield* other.write(bytesOf(100_000))
          if (code === CloseCode.HandlerFailed) yield* stream.read
          yield* accepted.close(code, "")
          const rest = yield* soon("the end", Effect.exit(readAll(stream)))
          if (code === CloseCode.NoError) {
            assert.isTrue(rest._tag === "Success" && rest.value.equals(bytesOf(100_000)))
            yield* stream.finish
            assert.deepInclude(yield* soon("the close", dialed.closed), { kind: "app", code: CloseCode.NoError })
          } else {
            assert.deepInclude(yield* soon("the close", dialed.closed), { kind: "lost", by: "transport" })
          }
        }
      })
    )
  )

  it.live("TR-018 garbage on the port costs nothing and nobody", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        for (const bytes of [randomBytes(10_000), Buffer.from("GET / HTTP/1.1\r\n\r\n"), Buffer.alloc(100_000, 0x16)]) {
          const socket = yield* tcpClient(both.address)
          socket.write(bytes)
          yield* soon("the end of a garbage connection", closeOf(socket))
        }
        for (let count = 0; count < 50; count++) {
          const socket = yield* tcpClient(both.address)
          socket.write(randomBytes(1 + count * 30))
          socket.resetAndDestroy()
        }
        yield* works(both)
      })
    )
  )

  it.live("TR-020 a slow handshake is cut off, also one that sends a byte now and then", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider({ handshakeTimeout: "500 millis" }))
        const [silent, dripping] = [yield* tcpClient(both.address), yield* tcpClient(both.address)]
        const drip = setInterval(() => dripping.write(Buffer.of(0x16)), 50)
        yield* Effect.addFinalizer(() => Effect.sync(() => clearInterval(drip)))
        yield* soon("the end of a silent connection", closeOf(silent))
        yield* soon("the end of a dripping connection", closeOf(dripping))
        yield* works(both)
      })
    )
  )

  it.live("TR-020 a server that never answers is TimedOut", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider({ handshakeTimeout: "300 millis" }))
        const silent = yield* Effect.acquireRelease(
          Effect.callback<Server>((resume) => {
            const server = createServer((socket) => socket.on("error", () => {}))
            server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
          }),
          (server) => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
        )
        const bound = silent.address()
        const port = bound !== null && typeof bound === "object" ? bound.port : 0
        const error = yield* Effect.flip(dial({ ...both, address: { host: "127.0.0.1", port } }))
        assert.strictEqual(error.reason._tag, "TimedOut")
      })
    )
  )

  it.live("TR-019 a half-open flood is bounded; a place that is given back serves others", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider({ halfOpenPerAddress: 8, handshakeTimeout: "1 second" }))
        const flood = yield* Effect.forEach(Array.from({ length: 40 }), () => tcpClient(both.address))
        yield* soon(
          "the end of what is over the bound",
          Effect.forEach(flood.slice(8), closeOf, { concurrency: "unbounded", discard: true })
        )
        assert.isTrue(flood.slice(0, 8).every((socket) => !socket.closed))
        for (const socket of flood) socket.resetAndDestroy()
        yield* turns(50)
        yield* works(both)
      })
    )
  )

  it.live("established connections of one peer are bounded", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider({ establishedPerPeer: 2 }))
        yield* Effect.all([dial(both), dial(both)])
        yield* Effect.all([both.listener.accept, both.listener.accept])
        const third = yield* dial(both).pipe(
          Effect.flatMap((connection) => connection.closed),
          Effect.exit
        )
        if (third._tag === "Success") assert.deepInclude(third.value, { by: "peer", code: CloseCode.NoHandler })
        const stranger = yield* makeEphemeralIdentity
        yield* works({ ...both, client: stranger })
      })
    )
  )

  it.live("TR-011 a refusal names the TLS alert", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        assert.deepStrictEqual((yield* Effect.flip(dial(both, OTHER))).reason, { _tag: "Refused", code: 120 })
      })
    )
  )

  it.live("small writes of one turn go out together, in order", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const [dialed, accepted] = yield* Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
        const [stream, other] = [yield* dialed.open, yield* accepted.accept]
        const all = bytesOf(50_000)
        const shared = new Uint8Array(100)
        for (let offset = 0; offset < all.length; offset += shared.length) {
          // The buffer is free when the write is done.
          shared.set(all.subarray(offset, offset + shared.length))
          yield* stream.write(shared)
        }
        yield* stream.writeLast(bytesOf(20_000, 5))
        assert.isTrue((yield* readAll(other)).equals(Buffer.concat([all, bytesOf(20_000, 5)])))
      })
    )
  )

  it.live("TR-028 a close whose end cannot be sent, because the peer does not read, leaves no socket behind", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const [dialed] = yield* Effect.all([dial(both), both.listener.accept], { concurrency: 2 })
        const stream = yield* dialed.open
        const writing = yield* Effect.forkChild(Effect.flip(Effect.forever(stream.write(bytesOf(65_536)))))
        yield* turns(400)
        const sockets = () => process.getActiveResourcesInfo().filter((kind) => kind === "TCPSocketWrap").length
        const before = sockets()
        yield* dialed.close(CloseCode.NoError, "")
        const gone = Effect.gen(function* () {
          while (sockets() >= before) yield* turns(1)
        })
        yield* soon("the end of the socket", gone)
        assert.strictEqual((yield* soon("the end of writing", Fiber.join(writing)))._tag, "ConnectionClosed")
        assert.strictEqual((yield* Effect.flip(stream.read))._tag, "ConnectionClosed")
      })
    )
  )

  it.live("TR-017 a peer that is killed in the middle of a transfer is noticed, and the service goes on", () =>
    leavesNothing(
      Effect.gen(function* () {
        const both = yield* nodes(provider())
        const child = yield* Effect.acquireRelease(
          Effect.sync(
            (): ChildProcess =>
              fork(fileURLToPath(new URL("./writingPeer.ts", import.meta.url)), [
                String(both.address.port),
                both.server.nodeId
              ])
          ),
          (process) => Effect.sync(() => process.kill("SIGKILL"))
        )
        const accepted = yield* soon("the child", both.listener.accept)
        const stream = yield* accepted.accept
        yield* stream.read
        child.kill("SIGKILL")
        // What was under way may still come; then it is over, one way or the other.
        const end = yield* soon("the end of the stream", Effect.exit(readAll(stream)))
        if (end._tag === "Success") yield* Effect.ignore(stream.finish)
        yield* soon("the end of the connection", accepted.closed)
        yield* works(both)
      })
    )
  )
})
