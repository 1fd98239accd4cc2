/**
 * How bytes reach another node: `listen` and `dial` connections. Each connection is one handshake with one ALPN, and
 * both sides' Ed25519 keys are proven in it.
 *
 * Layers: `QuicTransport`, `TlsTransport`, `MemoryTransport`, `FaultyTransport` (src/layers/transport). The contract is
 * small on purpose, so that another stack can take the place of any of them (transport.md sections 1 and 2).
 *
 * Rules that every layer keeps: TR-R01 a scope that closes closes what was opened in it; TR-R02 after `close` every
 * waiting `open`, `accept`, `read` and `write` fails with `ConnectionClosed`; TR-R03 what the peer sent before an orderly
 * finish is delivered before the end; TR-R04 nothing buffers more than its documented bound.
 */
import { Context, type Effect, type Option, Schema, type Scope } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import type { CloseCode } from "../protocol/CloseCode.ts"
import { NodeId, type PeerKey } from "../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import { withoutStack } from "../protocol/withoutStack.ts"
import type { LocalIdentity } from "./Identity.ts"

/** Why a connection ended, and who ended it. Never an error of the program: every connection ends. */
export interface CloseReason {
  readonly by: "local" | "peer" | "transport"
  /** Application code where there is one; for `transport` the TLS or QUIC error code, 0 where there is none. */
  readonly code: CloseCode
  /** `app`: a close code of ours. `transport`: a QUIC or TLS error. `idle`: nothing came in time. `lost`: the carrier broke. */
  readonly kind: "app" | "transport" | "idle" | "lost"
  /** Text of the closer, at most 256 bytes, not trusted. */
  readonly reason: string
}

/** The connection is gone; every pending and later operation on it and its streams fails with this. */
export class ConnectionClosed extends Schema.TaggedError<ConnectionClosed>()("ConnectionClosed", {
  by: Schema.Literals(["local", "peer", "transport"]),
  kind: Schema.Literals(["app", "transport", "idle", "lost"]),
  code: Schema.Finite,
  reason: Schema.String
}) {
  override get message() {
    return `connection closed by ${this.by} (${this.kind} 0x${this.code.toString(16)})`
  }

  /** What every connection comes to: made without a stack. */
  static readonly of = ({ by, code, kind, reason }: CloseReason): ConnectionClosed =>
    withoutStack(() => new ConnectionClosed({ by, code, kind, reason }, { disableChecks: true }))
}

/** The peer abandoned this stream (RESET_STREAM on our read side, STOP_SENDING on our write side). */
export class StreamReset extends Schema.TaggedError<StreamReset>()("StreamReset", {
  /** `read`: the peer reset its direction. `write`: the peer stopped ours, or we reset it ourselves. */
  side: Schema.Literals(["read", "write"]),
  /** 0 to 2^62-1; above 2^53-1 it is rounded. */
  code: Schema.Finite
}) {
  override get message() {
    return `stream ${this.side === "read" ? "reset" : "stopped"} with code 0x${this.code.toString(16)}`
  }
}

/** The peer finished its direction; everything before it was delivered. */
export class EndOfStream extends Schema.TaggedError<EndOfStream>()("EndOfStream", {}) {}

/** The carrier cannot open another stream: it has only one and that is taken, or the local bound is reached. */
export class StreamLimit extends Schema.TaggedError<StreamLimit>()("StreamLimit", {}) {}

export class TransportError extends Schema.TaggedError<TransportError>()("TransportError", {
  reason: Schema.Literals(["AddressInUse", "AddressInvalid", "PermissionDenied", "Unsupported", "Io"]),
  /** `host:port` that could not be bound; empty where none is involved. */
  address: Schema.String,
  hint: Schema.String
}) {
  override get message() {
    return `${this.reason}${this.address === "" ? "" : ` ${this.address}`}: ${this.hint}`
  }
}

/** The node that answered holds another key than the one asked for (ID-R15). No application byte was sent. */
export class PeerMismatch extends Schema.TaggedError<PeerMismatch>()("PeerMismatch", {
  expected: NodeId,
  actual: NodeId
}) {
  override get message() {
    return `the node that answered is ${this.actual}, not ${this.expected}`
  }
}

export class DialError extends Schema.TaggedError<DialError>()("DialError", {
  reason: Schema.Union([
    PeerMismatch,
    Schema.TaggedStruct("Unreachable", { code: Schema.String }),
    Schema.TaggedStruct("TimedOut", {}),
    /** The other side ended the handshake: it does not serve the ALPN, or not for us. The two cannot be told apart. */
    Schema.TaggedStruct("Refused", { code: Schema.Finite }),
    /** The other side showed no certificate, or one that is not an Ed25519 node certificate. */
    Schema.TaggedStruct("BadCertificate", {}),
    /** We do not know an address for the target. */
    Schema.TaggedStruct("NoAddress", {}),
    /** The target is neither a node id, a ticket nor the name of a peer. */
    Schema.TaggedStruct("UnknownPeer", {}),
    Schema.TaggedStruct("Unsupported", {})
  ]),
  /** What was dialed: an address or a peer, for the message. */
  target: Schema.String,
  hint: Schema.String
}) {
  override get message() {
    return `cannot reach ${this.target}: ${this.hint}`
  }
}

/**
 * An ordered byte pair inside a connection. Each direction ends on its own (half-close).
 *
 * One reader and one writer at a time; concurrent `write`s are queued in order. Its functions, like those of a connection,
 * may be handed on by themselves (`Effect.flatMap(stream.read, stream.write)`).
 */
export interface BiStream {
  /** A number that is unique within the connection, for logs. */
  readonly id: number
  /**
   * One chunk, at least 1 byte, not copied: it belongs to the caller and the transport never touches it again. Pulling is
   * the backpressure.
   */
  readonly read: Effect.Effect<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
  /**
   * Writes all bytes; suspends while the window is full. The buffer is borrowed until the effect ends. Where it is
   * interrupted part of it may have been sent: `reset` the stream then.
   */
  readonly write: (bytes: Uint8Array) => Effect.Effect<void, StreamReset | ConnectionClosed>
  /** Ends our direction after everything written; the other may go on. Again: no effect. */
  readonly finish: Effect.Effect<void, StreamReset | ConnectionClosed>
  /** Writes all bytes and ends our direction with them, which saves a packet. */
  readonly writeLast: (bytes: Uint8Array) => Effect.Effect<void, StreamReset | ConnectionClosed>
  /** Abandons our direction; what is unsent is dropped. Code 0 to 2^53-1. */
  readonly reset: (code: number) => Effect.Effect<void>
  /** Asks the peer to abandon its direction; what arrives is dropped. */
  readonly stop: (code: number) => Effect.Effect<void>
}

/** QUIC DATAGRAM (RFC 9221): unordered, unreliable, bounded messages. */
export interface Datagrams {
  /** Largest message in bytes that can be sent now. */
  readonly maxSize: Effect.Effect<number>
  readonly send: (message: Uint8Array) => Effect.Effect<void, ConnectionClosed>
  readonly receive: Effect.Effect<Uint8Array, ConnectionClosed>
}

/** What is known about a connection's path; a field that the transport cannot know is undefined. */
export interface ConnectionStats {
  readonly rttMillis: number | undefined
  readonly bytesSent: number
  readonly bytesReceived: number
  readonly packetsSent: number | undefined
  readonly packetsReceived: number | undefined
  readonly packetsLost: number | undefined
  readonly congestionWindow: number | undefined
}

export interface Connection {
  /** Local, for logs; never sent. */
  readonly id: string
  readonly transport: "quic" | "tls" | "memory"
  readonly alpn: Alpn
  readonly side: "accepted" | "dialed"
  /** Key proven in the handshake; undefined = no certificate, anonymous. */
  readonly peer: PeerKey | undefined
  readonly remoteAddress: SocketAddress | undefined
  /** False: the carrier has one stream, which the first `accept` or `open` gives (either, on either side). */
  readonly multiStream: boolean
  /** Opens a stream; waits while the peer's stream limit is reached. Nothing is sent until the first write. */
  readonly open: Effect.Effect<BiStream, ConnectionClosed | StreamLimit>
  /** Waits for the next stream of the peer. A single-stream carrier gives one, then waits for the end. */
  readonly accept: Effect.Effect<BiStream, ConnectionClosed>
  readonly datagrams: Option.Option<Datagrams>
  /** Ends the connection for both sides; what is unsent may be lost. The reason is cut at 256 bytes. Again: no effect. */
  readonly close: (code: CloseCode, reason: string) => Effect.Effect<void>
  /** Completes once with the reason. */
  readonly closed: Effect.Effect<CloseReason>
  readonly stats: Effect.Effect<ConnectionStats>
}

/** The ALPNs that a handshake may choose now. Read once per handshake; the arrays are replaced when something changes. */
export interface OfferedAlpns {
  /** For a client that proves a node key: everything that is registered. */
  readonly node: () => ReadonlyArray<Alpn>
  /** For an anonymous client: what is declared public. */
  readonly web: () => ReadonlyArray<Alpn>
}

export interface ListenOptions {
  /** Port 0: any free port. */
  readonly address: SocketAddress
  readonly identity: LocalIdentity
  readonly alpns: OfferedAlpns
}

export interface Listener {
  /** The address that is bound, with the real port. */
  readonly address: SocketAddress
  /** The next connection whose handshake is complete and whose peer key is checked. Ends with the listener's scope. */
  readonly accept: Effect.Effect<Connection, ConnectionClosed>
}

export interface DialOptions {
  readonly address: SocketAddress
  /** The key that must answer. There is no dial without one (ID-R15). */
  readonly expect: NodeId
  readonly alpn: Alpn
  readonly identity: LocalIdentity
}

export class Transport extends Context.Service<
  Transport,
  {
    readonly name: "quic" | "tls" | "memory"
    /** Binds and accepts, until the scope closes. */
    readonly listen: (options: ListenOptions) => Effect.Effect<Listener, TransportError, Scope.Scope>
    /** Dials one ALPN at one node; the connection closes with the scope. */
    readonly dial: (options: DialOptions) => Effect.Effect<Connection, DialError, Scope.Scope>
  }
>()("alknet/Transport") {}
