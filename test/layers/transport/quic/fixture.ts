/**
 * Raw drivers for the cases that look inside: a listening node with its counters, dials, and a UDP relay between them that
 * loses, records and injects datagrams.
 */
import { randomBytes } from "node:crypto"
import { createSocket, type Socket } from "node:dgram"
import { Effect, Redacted, type Scope } from "effect"
import { makeEphemeralIdentity } from "../../../../src/layers/LocalIdentity.ts"
import { Acceptor } from "../../../../src/layers/transport/quic/Acceptor.ts"
import { Admission } from "../../../../src/layers/transport/quic/Admission.ts"
import { loadBinding } from "../../../../src/layers/transport/quic/Binding.ts"
import { makeContext, type TlsContext } from "../../../../src/layers/transport/quic/Contexts.ts"
import { type DialFailure, dial } from "../../../../src/layers/transport/quic/Dialer.ts"
import { Driver } from "../../../../src/layers/transport/quic/Driver.ts"
import { DEFAULT_LIMITS, type QuicLimits } from "../../../../src/layers/transport/quic/Limits.ts"
import { connectionKey } from "../../../../src/layers/transport/quic/Packets.ts"
import { QuicConnection } from "../../../../src/layers/transport/quic/QuicConnection.ts"
import type { QuicStream, ReadEnd } from "../../../../src/layers/transport/quic/QuicStream.ts"
import { makeWebCertificate } from "../../../../src/layers/transport/webCertificate.ts"
import { Alpn } from "../../../../src/protocol/Alpn.ts"
import { CloseCode } from "../../../../src/protocol/CloseCode.ts"
import type { NodeId } from "../../../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../../src/protocol/SocketAddress.ts"
import type { LocalIdentity } from "../../../../src/services/Identity.ts"

const webIdentity = () => {
  const { certPem, keyPem } = makeWebCertificate({ kind: "fortnight", fromMillis: Date.now() })
  return { certificate: new TextEncoder().encode(certPem), key: new TextEncoder().encode(keyPem) }
}

export const ECHO = Alpn.make("test/echo")
const OFFER = [ECHO]

export interface NodeOptions {
  readonly limits?: Partial<QuicLimits>
  readonly host?: string
  readonly web?: boolean
  readonly migration?: boolean
  /** What to do with a connection; default: echo its streams. */
  readonly onConnection?: (connection: QuicConnection) => void
}

export interface RawNode {
  readonly driver: Driver
  readonly admission: Admission
  readonly identity: LocalIdentity
  readonly address: SocketAddress
  readonly context: TlsContext
}

const limitsOf = (options: NodeOptions): QuicLimits => ({
  ...DEFAULT_LIMITS,
  newPerSecond: 100_000,
  newPerSecondWithRetry: 100_000,
  ...options.limits
})

const driverAt = (options: NodeOptions): Effect.Effect<Driver, never, Scope.Scope> =>
  Effect.gen(function* () {
    const quiche = yield* Effect.promise(loadBinding)
    const limits = limitsOf(options)
    const driver = new Driver({ quiche, limits, datagramBytes: 1350, migration: options.migration ?? false })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => {
        driver.bind({ host: options.host ?? "127.0.0.1", port: 0 }, (failed) =>
          resume(failed === undefined ? Effect.void : Effect.die(failed))
        )
      }),
      () => Effect.callback<void>((resume) => driver.close(CloseCode.NoError, "", () => resume(Effect.void)))
    )
    return driver
  })

const tls = (identity: LocalIdentity) => ({
  certificate: Buffer.from(identity.certPem),
  key: Redacted.value(identity.keyPem)
})

/** A node that listens and echoes. */
export const listenRaw = (options: NodeOptions = {}): Effect.Effect<RawNode, never, Scope.Scope> =>
  Effect.gen(function* () {
    const identity = yield* makeEphemeralIdentity
    const driver = yield* driverAt(options)
    const limits = limitsOf(options)
    const admission = new Admission(limits)
    const settings = { limits, datagramBytes: 1350, migration: options.migration ?? false }
    const context = makeContext(driver.quiche, "node", tls(identity), settings)
    new Acceptor({
      driver,
      admission,
      alpns: { node: () => OFFER, web: () => OFFER },
      node: context,
      web: options.web ? makeContext(driver.quiche, "web", webIdentity(), settings) : undefined,
      onConnection: options.onConnection ?? echoStreams
    })
    return { driver, admission, identity, address: driver.local, context }
  })

/** A driver that only dials. */
export const dialerRaw = (options: NodeOptions = {}): Effect.Effect<RawNode, never, Scope.Scope> =>
  Effect.gen(function* () {
    const identity = yield* makeEphemeralIdentity
    const driver = yield* driverAt(options)
    const limits = limitsOf(options)
    const settings = { limits, datagramBytes: 1350, migration: options.migration ?? false }
    const context = makeContext(driver.quiche, "dial", tls(identity), settings)
    return { driver, admission: new Admission(limits), identity, address: driver.local, context }
  })

/** Dials, by default at the node's own address. `first` runs in the flush that completed the handshake. */
export const dialRaw = (
  dialer: RawNode,
  node: { readonly address: SocketAddress; readonly identity: { readonly nodeId: NodeId } },
  first: (connection: QuicConnection) => void = () => {}
): Effect.Effect<QuicConnection, DialFailure> =>
  Effect.callback((resume) => {
    const giveUp = dial(dialer.driver, {
      remote: node.address,
      expect: node.identity.nodeId,
      alpn: ECHO,
      config: dialer.context.offering(OFFER),
      done: (connection, failure) => {
        if (connection === undefined) {
          resume(Effect.fail(failure!))
          return
        }
        first(connection)
        resume(Effect.succeed(connection))
      }
    })
    return Effect.sync(giveUp)
  })

/** Echoes every stream of the peer. */
export const echoStreams = (connection: QuicConnection): void => {
  connection.onIncoming = () => {
    for (let stream = connection.accept(); stream !== undefined; stream = connection.accept()) echo(stream)
  }
}

const echo = (stream: QuicStream): void => {
  const parts: Array<Uint8Array> = []
  readTo(stream, parts, (end) => {
    if (end.kind === "finished") writeAll(stream, Buffer.concat(parts), () => {})
    else stream.reset(end.kind === "reset" ? end.code : 0)
  })
}

/** Reads to the end of the peer's direction. */
export const readTo = (stream: QuicStream, parts: Array<Uint8Array>, done: (end: ReadEnd) => void): void => {
  const pump = () => {
    for (let chunk = stream.read(); chunk !== undefined; chunk = stream.read()) parts.push(chunk)
    if (stream.readEnd === undefined) stream.onReadable = pump
    else done(stream.readEnd)
  }
  pump()
}

/** Writes everything and ends our direction. */
export const writeAll = (stream: QuicStream, bytes: Uint8Array, done: () => void): void => {
  const taken = stream.write(bytes, true)
  if (taken < 0 || stream.writeEnd !== undefined) done()
  else stream.queueWrite({ bytes: bytes.subarray(taken), end: true, done })
}

/** One request on a stream of its own. Fails with how the stream ended, where it was not orderly. */
export const request = (connection: QuicConnection, bytes: Uint8Array): Effect.Effect<Buffer, ReadEnd> =>
  Effect.callback((resume) => {
    const stream = connection.open()
    if (stream === undefined) {
      resume(Effect.fail({ kind: "closed" }))
      return
    }
    writeAll(stream, bytes, () => {})
    const parts: Array<Uint8Array> = []
    readTo(stream, parts, (end) =>
      resume(end.kind === "finished" ? Effect.succeed(Buffer.concat(parts)) : Effect.fail(end))
    )
  })

/** Waits until the condition holds; the caller's timeout bounds it. */
export const until = (condition: () => boolean): Effect.Effect<void> =>
  Effect.callback((resume) => {
    const timer = setInterval(() => {
      if (!condition()) return
      clearInterval(timer)
      resume(Effect.void)
    }, 2)
    return Effect.sync(() => clearInterval(timer))
  })

/** A UDP socket that is closed with the scope. */
export const socketAt = (host = "127.0.0.1"): Effect.Effect<Socket, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Socket>((resume) => {
      const socket = createSocket({ type: "udp4", recvBufferSize: 2 ** 21, sendBufferSize: 2 ** 21 })
      socket.bind(0, host, () => resume(Effect.succeed(socket)))
    }),
    (socket) => Effect.callback<void>((resume) => void socket.close(() => resume(Effect.void)))
  )

/** Sends in portions, so that the receiver's socket buffer does not overflow. */
export const sendAll = (socket: Socket, datagrams: ReadonlyArray<Uint8Array>, to: SocketAddress): Effect.Effect<void> =>
  Effect.callback((resume) => {
    let index = 0
    const portion = () => {
      for (const end = Math.min(index + 100, datagrams.length); index < end; index++) {
        socket.send(datagrams[index]!, to.port, to.host)
      }
      if (index < datagrams.length) setImmediate(portion)
      else setImmediate(() => resume(Effect.void))
    }
    portion()
  })

export interface Relay {
  /** Where to dial. */
  readonly address: SocketAddress
  /** Datagrams of the client so far. */
  readonly recorded: Array<Buffer>
  /** The socket from which the client's datagrams reach the node. */
  up: Socket
  /** Whether to lose a datagram. */
  loses: (datagram: Buffer) => boolean
}

/** A relay for one client in front of a node. */
export const relayTo = (node: RawNode): Effect.Effect<Relay, never, Scope.Scope> =>
  Effect.gen(function* () {
    const down = yield* socketAt()
    const up = yield* socketAt()
    const bound = down.address()
    const relay: Relay = {
      address: { host: bound.address, port: bound.port },
      recorded: [],
      up,
      loses: () => false
    }
    let client: SocketAddress | undefined
    down.on("message", (datagram, from) => {
      client = { host: from.address, port: from.port }
      relay.recorded.push(datagram)
      if (!relay.loses(datagram)) relay.up.send(datagram, node.address.port, node.address.host)
    })
    const back = (datagram: Buffer) => {
      if (client !== undefined && !relay.loses(datagram)) down.send(datagram, client.port, client.host)
    }
    up.on("message", back)
    return relay
  })

/** Deterministic numbers in [0, 1) (mulberry32). */
export const random = (seed: number): (() => number) => {
  let state = seed
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** First datagrams of handshakes that never go on: what a flood sends. */
export const initials = (dialer: RawNode, count: number, serverName = "alknet.invalid"): Array<Buffer> =>
  Array.from({ length: count }, (_, index) => {
    const { quiche, local } = dialer.driver
    const id = Buffer.alloc(20, index)
    id.writeUInt32BE(index, 0)
    const config = dialer.context.offering(OFFER)
    const q = quiche.Connection.connect(serverName, id, local, { host: "127.0.0.1", port: 9 }, config)
    const datagram = Buffer.alloc(1350)
    return datagram.subarray(0, q.send(datagram)![0])
  })

/** A client that shows no certificate, as a browser is. Succeeds when its side of the handshake is complete. */
export const dialAnonymously = (dialer: RawNode, node: RawNode, serverName: string): Effect.Effect<QuicConnection> =>
  Effect.callback((resume) => {
    const { driver } = dialer
    const none = undefined
    const algorithms = "ed25519:ecdsa_secp256r1_sha256"
    const config = driver.quiche.Config.withBoringSslCtx(false, false, none, none, none, algorithms)
    config.setApplicationProtos([ECHO])
    const id = randomBytes(20)
    const q = driver.quiche.Connection.connect(serverName, id, driver.local, node.address, config)
    const role = { established: (it: QuicConnection) => resume(Effect.succeed(it)), ended: () => {} }
    const connection = new QuicConnection(driver, q, node.address, false, role, performance.now())
    driver.add(connection, [connectionKey(id)])
    connection.flush()
  })
