/**
 * Accepts TLS connections on one address. Before a connection is given out its handshake is complete, its ALPN was in the
 * live list, and its peer key is checked (ID-R13). What does not get that far costs one socket for at most the handshake
 * time and is cut off without an answer.
 */
import { createServer, isIPv6, type Server, type Socket } from "node:net"
import { createServer as createTlsServer, type TLSSocket, type Server as TlsServer } from "node:tls"
import { Effect, Exit, Result, type Scope } from "effect"
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import { NODE_SERVER_NAME, peerKeyOfCertificate } from "../../../protocol/identity/Certificate.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import { formatSocketAddress, type SocketAddress } from "../../../protocol/SocketAddress.ts"
import {
  type Connection,
  ConnectionClosed,
  type Listener,
  type ListenOptions,
  TransportError
} from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"
import { Admission, type AdmissionLimits, type Slot } from "./Admission.ts"
import { nodeContext, ownWebCertificate, TLS_OPTIONS, type WebIdentity, webContexts } from "./contexts.ts"
import { cutOff } from "./cutOff.ts"
import { type ConnectionSettings, TlsConnection } from "./TlsConnection.ts"

export interface ListenerSettings extends ConnectionSettings {
  readonly limits: AdmissionLimits
  readonly handshakeMillis: number
  readonly handshakeBytesMax: number
  readonly establishedPerPeer: number
  readonly webIdentities: ReadonlyMap<string, WebIdentity>
  readonly nextId: () => string
}

/** Connections that wait for `accept`; the next one is cut off. */
export const BACKLOG_MAX = 256

/** How often half-open handshakes are looked at. */
const SWEEP_MILLIS = 100

export const listen = (
  options: ListenOptions,
  settings: ListenerSettings
): Effect.Effect<Listener, TransportError, Scope.Scope> =>
  Effect.map(
    Effect.acquireRelease(
      Effect.suspend(() => {
        const acceptor = new Acceptor(options, settings)
        return Effect.as(acceptor.bind, acceptor)
      }),
      (acceptor) => acceptor.shutdown
    ),
    (acceptor) => acceptor.listener()
  )

interface HalfOpen {
  readonly raw: Socket
  readonly slot: Slot
  since: number
}

class Acceptor {
  readonly bind: Effect.Effect<void, TransportError>
  readonly shutdown: Effect.Effect<void>
  readonly #options: ListenOptions
  readonly #settings: ListenerSettings
  readonly #server: Server
  readonly #tls: TlsServer
  readonly #admission: Admission
  readonly #accept: Waitable<Connection, ConnectionClosed>
  readonly #waiting: Array<TlsConnection> = []
  readonly #live = new Set<TlsConnection>()
  readonly #ofPeer = new Map<NodeId, number>()
  /** By the address and port of the other side. */
  readonly #halfOpen = new Map<string, HalfOpen>()
  #sweep: NodeJS.Timeout | undefined = undefined
  #sweptAt = 0
  #closed: ConnectionClosed | undefined = undefined

  constructor(options: ListenOptions, settings: ListenerSettings) {
    this.#options = options
    this.#settings = settings
    this.#admission = new Admission(settings.limits)
    this.#accept = new Waitable<Connection, ConnectionClosed>(() => {
      const next = this.#waiting.shift()
      return next !== undefined ? Exit.succeed(next) : this.#closed === undefined ? undefined : Exit.fail(this.#closed)
    })
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (raw) => this.#onTcp(raw))
    this.#tls = this.#makeTls()
    this.bind = this.#bind()
    this.shutdown = this.#shutdown()
  }

  listener(): Listener {
    return { address: this.#address(), accept: this.#accept.effect }
  }

  /** The TLS half: it never listens, it is handed the sockets that were admitted. */
  #makeTls(): TlsServer {
    const node = nodeContext(this.#options.identity)
    const own = ownWebCertificate()
    const web = webContexts(this.#settings.webIdentities)
    const { alpns } = this.#options
    const server = createTlsServer({
      ...TLS_OPTIONS,
      cert: own.certPem,
      key: own.keyPem,
      requestCert: true,
      rejectUnauthorized: false,
      // The sweep bounds the handshake; this is only a second net below it.
      handshakeTimeout: this.#settings.handshakeMillis * 2,
      SNICallback: (name, done) => done(null, isNodeName(name) ? node : web.get(name.toLowerCase())),
      ALPNCallback: ({ protocols, servername }) => {
        const offered: ReadonlyArray<string> = isNodeName(servername) ? alpns.node() : alpns.web()
        return protocols.find((protocol) => offered.includes(protocol))
      }
    })
    server.on("secureConnection", (socket) => this.#onSecure(socket))
    server.on("tlsClientError", (_error, socket) => setImmediate(() => socket.destroy()))
    return server
  }

  #onTcp(raw: Socket): void {
    // An error of a socket that is being cut off is nobody's business.
    raw.on("error", ignore)
    const key = remoteKey(raw)
    const slot =
      this.#closed === undefined && key !== undefined
        ? this.#admission.admit(raw.remoteAddress ?? "", performance.now())
        : undefined
    if (slot === undefined || key === undefined) {
      cutOff(raw)
      return
    }
    this.#halfOpen.set(key, { raw, slot, since: performance.now() })
    raw.once("close", () => {
      this.#halfOpen.delete(key)
      slot.leave()
    })
    if (this.#sweep === undefined) {
      this.#sweptAt = performance.now()
      this.#sweep = setInterval(() => this.#onSweep(), SWEEP_MILLIS).unref()
    }
    this.#tls.emit("connection", raw)
  }

  /** The handshake is complete: proof of possession was checked by the stack, the key is checked here. */
  #onSecure(socket: TLSSocket): void {
    socket.on("error", ignore)
    const key = remoteKey(socket)
    const halfOpen = key === undefined ? undefined : this.#halfOpen.get(key)
    const alpn = socket.alpnProtocol
    if (key === undefined || halfOpen === undefined || typeof alpn !== "string") {
      setImmediate(() => socket.destroy())
      return
    }
    this.#halfOpen.delete(key)
    const { raw, slot } = halfOpen
    const peer = peerOf(socket)
    const admitted = Result.isSuccess(peer) && this.#mayHaveAnother(peer.success) && slot.establish()
    if (!admitted || this.#waiting.length >= BACKLOG_MAX) {
      cutOff(raw)
      return
    }
    const connection = new TlsConnection(
      {
        id: this.#settings.nextId(),
        socket,
        raw,
        side: "accepted",
        alpn: alpn as Alpn,
        peer: peer.success,
        remoteAddress: { host: socket.remoteAddress ?? "", port: socket.remotePort ?? 0 }
      },
      this.#settings
    )
    this.#count(connection, 1)
    connection.whenGone(() => this.#count(connection, -1))
    this.#waiting.push(connection)
    this.#accept.wake()
  }

  #mayHaveAnother(peer: NodeId | undefined): boolean {
    return peer === undefined || (this.#ofPeer.get(peer) ?? 0) < this.#settings.establishedPerPeer
  }

  #count(connection: TlsConnection, by: 1 | -1): void {
    if (by === 1) this.#live.add(connection)
    else this.#live.delete(connection)
    const { peer } = connection
    if (peer === undefined) return
    const count = (this.#ofPeer.get(peer) ?? 0) + by
    if (count === 0) this.#ofPeer.delete(peer)
    else this.#ofPeer.set(peer, count)
  }

  /** Cuts off handshakes that take too long or send too much. */
  #onSweep(): void {
    const now = performance.now()
    // Time in which this process did not run is not the client's: its answer may wait to be read.
    const stalled = Math.max(0, now - this.#sweptAt - 2 * SWEEP_MILLIS)
    this.#sweptAt = now
    for (const entry of this.#halfOpen.values()) {
      const { raw } = entry
      entry.since += stalled
      const late = now - entry.since > this.#settings.handshakeMillis
      if (late || raw.bytesRead > this.#settings.handshakeBytesMax) cutOff(raw)
    }
    if (this.#halfOpen.size > 0) return
    clearInterval(this.#sweep)
    this.#sweep = undefined
  }

  #bind(): Effect.Effect<void, TransportError> {
    const { host, port } = this.#options.address
    const address = formatSocketAddress(this.#options.address)
    return Effect.callback<void, TransportError>((resume) => {
      const failed = (error: NodeJS.ErrnoException) => {
        this.#server.off("listening", bound)
        resume(Effect.fail(bindError(error, address)))
      }
      const bound = () => {
        this.#server.off("error", failed)
        this.#server.on("error", ignore)
        resume(Effect.void)
      }
      this.#server.once("error", failed)
      this.#server.once("listening", bound)
      // Both families may be bound to the same port, each by a listener of its own.
      this.#server.listen({ host, port, ipv6Only: isIPv6(host), exclusive: true, backlog: 511 })
    })
  }

  #address(): SocketAddress {
    const bound = this.#server.address()
    const { host, port } = this.#options.address
    return { host, port: bound !== null && typeof bound === "object" ? bound.port : port }
  }

  /** Stops accepting, cuts off handshakes, ends connections. Completes when every socket is gone. */
  #shutdown(): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#closed = new ConnectionClosed({
        by: "local",
        kind: "app",
        code: CloseCode.NoError,
        reason: "not listening"
      })
      this.#waiting.length = 0
      this.#accept.wake()
      clearInterval(this.#sweep)
      for (const { raw } of [...this.#halfOpen.values()]) cutOff(raw)
      const stopped = Effect.callback<void>((resume) => {
        this.#server.close(() => resume(Effect.void))
      })
      const ended = Effect.forEach([...this.#live], (connection) => connection.shutdown(CloseCode.Draining), {
        concurrency: "unbounded",
        discard: true
      })
      return Effect.all([stopped, ended], { concurrency: 2, discard: true })
    })
  }
}

/** Names a TCP connection of this listener: address and port of the other side. */
const remoteKey = ({ remoteAddress, remotePort }: Socket): string | undefined =>
  remoteAddress === undefined ? undefined : `${remoteAddress} ${remotePort}`

/** Whether the client sent the server name of nodes. The property is documented, but missing in the types. */
const askedForNode = (socket: TLSSocket): boolean => "servername" in socket && socket.servername === NODE_SERVER_NAME

/**
 * The key that the client proved; undefined where it showed no certificate or did not ask for a node (ID-R18, ID-R19).
 * A resumed handshake proves nothing now, so it counts as anonymous (ID-R10).
 */
const peerOf = (socket: TLSSocket): Result.Result<NodeId | undefined, unknown> => {
  const certificate = askedForNode(socket) && !socket.isSessionReused() ? socket.getPeerX509Certificate() : undefined
  return certificate === undefined ? Result.succeed(undefined) : peerKeyOfCertificate(certificate.raw)
}

const bindError = (error: NodeJS.ErrnoException, address: string): TransportError => {
  switch (error.code) {
    case "EADDRINUSE":
      return new TransportError({ reason: "AddressInUse", address, hint: "another program listens there" })
    case "EACCES":
    case "EPERM":
      return new TransportError({ reason: "PermissionDenied", address, hint: "ports below 1024 need privileges" })
    case "EADDRNOTAVAIL":
    case "ENOTFOUND":
    case "EAFNOSUPPORT":
    case "EINVAL":
    case "EAI_AGAIN":
      return new TransportError({ reason: "AddressInvalid", address, hint: "this machine does not have that address" })
    default:
      return new TransportError({ reason: "Io", address, hint: error.code ?? "the TCP port cannot be opened" })
  }
}

const isNodeName = (name: string | false | null | undefined): boolean => name === NODE_SERVER_NAME

const ignore = () => {}
