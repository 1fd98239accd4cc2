/**
 * The bound sockets of a node: it accepts connections for the router, and dials other nodes by key.
 *
 * It owns one or several transports on the same port number, enforces the limits per address and per peer, and ends
 * orderly: stop accepting, tell every connection (`Draining`), wait for the drain time, close (transport.md section 5).
 */
import { Context, type Effect, type Scope } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import type { NodeId, PeerKey } from "../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import type { BiStream, Connection, ConnectionClosed, ConnectionStats, DialError, StreamLimit } from "./Transport.ts"

/** Whom to dial: always a key, never only an address (ID-R15). */
export interface DialTarget {
  readonly nodeId: NodeId
  /** Tried first, in this order; then what discovery knows. */
  readonly addresses?: ReadonlyArray<SocketAddress>
}

/** A live connection, for `alknet status` and the web page. */
export interface LiveConnection {
  readonly id: string
  readonly alpn: Alpn
  readonly side: "accepted" | "dialed"
  readonly transport: Connection["transport"]
  readonly peer: PeerKey | undefined
  readonly remoteAddress: SocketAddress | undefined
  /** Milliseconds since the epoch. */
  readonly since: number
  readonly stats: Effect.Effect<ConnectionStats>
  readonly close: Connection["close"]
}

export class Endpoint extends Context.Service<
  Endpoint,
  {
    readonly nodeId: NodeId
    /** What is bound, one entry per address and port (QUIC and TLS share the number). Empty: dials only. */
    readonly addresses: ReadonlyArray<SocketAddress>
    /**
     * A connection of the caller's own, closed with its scope. Addresses and transports race (RFC 8305): QUIC gets a head
     * start of 250 ms, the first that proves the right key wins.
     */
    readonly connect: (target: DialTarget, alpn: Alpn) => Effect.Effect<Connection, DialError, Scope.Scope>
    /**
     * A stream on the pooled connection for (peer, alpn), which is dialed when there is none and closed when unused for a
     * while. The stream is reset when the scope closes before it was finished.
     */
    readonly open: (
      target: DialTarget,
      alpn: Alpn
    ) => Effect.Effect<BiStream, DialError | ConnectionClosed | StreamLimit, Scope.Scope>
    readonly connections: Effect.Effect<ReadonlyArray<LiveConnection>>
  }
>()("alknet/Endpoint") {}
