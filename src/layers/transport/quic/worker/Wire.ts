/**
 * What the main thread and the worker thread of the QUIC transport say to each other, over the worker's message port.
 *
 * The main thread holds the UDP sockets and the users of streams; the worker holds the native stack and the TLS keys, and
 * touches neither network nor files. Rare messages are objects (`ToThread`, `ToMain`). Everything that is frequent is a
 * record in a batch: an `ArrayBuffer` that is transferred, with one record after another until a kind of 0 or its end.
 *
 * | bytes | field of a record, little-endian |
 * |---|---|
 * | 1 | kind |
 * | 4 | `on`: number of the connection, or of the socket for UDP |
 * | 8 | `stream`: id of the stream as a float64, or the port for UDP |
 * | 8 | `value` as a float64: a length, a code, or a number of bytes |
 * | `value` | payload, where the kind has one |
 *
 * | kind | to the worker | to the main thread |
 * |---|---|---|
 * | `UDP` (payload: host length, host, datagram) | arrived | to be sent |
 * | `MESSAGE` (payload) | a QUIC datagram to send | one that arrived |
 * | `ACKNOWLEDGE` | that many bytes of `UDP` and `MESSAGE` were taken | the same |
 * | `STREAM` | we opened it | the peer opened it |
 * | `DATA` (payload) | to be written | was read |
 * | `LAST` (payload) | to be written, then our direction ends | the peer's direction ended; no payload |
 * | `RESET` | abandon our direction with this code | the peer abandoned its own |
 * | `STOP` | ask the peer to abandon its direction | the peer asked us |
 * | `CREDIT` | the reader took that many bytes | the stack took them |
 * | `LIMIT` | - | how many streams of ours there may have been in all |
 *
 * Bounds: `STREAM_CREDIT_BYTES` in flight for each direction of a stream, `DATAGRAM_CREDIT_BYTES` of datagrams for each
 * direction in all, beyond which they are dropped as a full socket would. A connection that the peer ended hands over what
 * had arrived without credit: at most the window of a connection. Order is kept, between batches and objects too.
 *
 * A record or object for what does not exist any more is ignored: both sides end things at the same time.
 */
import type { Alpn } from "../../../../protocol/Alpn.ts"
import type { NodeId } from "../../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../../protocol/SocketAddress.ts"
import type { CloseReason, ConnectionStats } from "../../../../services/Transport.ts"
import type { ContextOptions, TlsIdentity } from "../Contexts.ts"
import type { DialFailure } from "../Dialer.ts"
import type { ListenFailure } from "../Engine.ts"

/** Bytes of one direction of a stream that are on their way between the threads, or wait there. */
export const STREAM_CREDIT_BYTES = 512 * 1024

/** Credit is given back in portions of at least this. */
export const CREDIT_PORTION_BYTES = 64 * 1024

/** Longest payload of a `DATA` record. */
export const DATA_BYTES_MAX = 64 * 1024

/** Bytes of datagrams that the other thread has not taken. */
export const DATAGRAM_CREDIT_BYTES = 4 * 1024 * 1024

/** How often the main thread asks the worker whether it is still there. */
export const PING_MILLIS = 1000

/** Pings in a row without an answer after which the worker is given up. */
export const MISSED_PINGS_MAX = 5

/** What the thread is started with. */
export type ThreadSettings = ContextOptions

/** `listener` and `dial`, `socket`, `question` and `identity` are numbers that the asking side chose. */
export type ToThread =
  /** A key pair that later messages name by its number. */
  | { readonly type: "identity"; readonly identity: number; readonly tls: TlsIdentity }
  | { readonly type: "forgetIdentity"; readonly identity: number }
  | {
      readonly type: "listen"
      readonly listener: number
      readonly address: SocketAddress
      readonly identity: number
      readonly web: TlsIdentity | undefined
    }
  | { readonly type: "unlisten"; readonly listener: number }
  /** Answers `askAlpns`; undefined: as before. */
  | {
      readonly type: "alpns"
      readonly listener: number
      readonly node: ReadonlyArray<Alpn> | undefined
      readonly web: ReadonlyArray<Alpn> | undefined
    }
  | {
      readonly type: "dial"
      readonly dial: number
      readonly remote: SocketAddress
      readonly expect: NodeId
      readonly alpn: Alpn
      readonly identity: number
    }
  | { readonly type: "giveUp"; readonly dial: number }
  | { readonly type: "close"; readonly connection: number; readonly code: number; readonly reason: string }
  | { readonly type: "stats"; readonly connection: number; readonly question: number }
  /** Whether somebody waits on a dialed connection, which is then kept alive. */
  | { readonly type: "awaited"; readonly connection: number; readonly isAwaited: boolean }
  /** Answers `bind`. */
  | { readonly type: "bound"; readonly socket: number; readonly local: SocketAddress }
  | { readonly type: "notBound"; readonly socket: number; readonly code: string }
  | { readonly type: "ping" }
  /** Ends what was dialed; answered with `ended`. */
  | { readonly type: "end" }

export type ToMain =
  | { readonly type: "ready" }
  /** The binding cannot be loaded. The thread ends. */
  | { readonly type: "unsupported" }
  | { readonly type: "listening"; readonly listener: number }
  | { readonly type: "notListening"; readonly listener: number; readonly failure: ListenFailure }
  | { readonly type: "unlistened"; readonly listener: number }
  /** A handshake began; it goes on when the answer is there. One question at a time for each listener. */
  | { readonly type: "askAlpns"; readonly listener: number }
  | { readonly type: "notDialed"; readonly dial: number; readonly failure: DialFailure }
  | Connected
  | {
      readonly type: "closed"
      readonly connection: number
      readonly reason: CloseReason
      readonly stats: ConnectionStats
    }
  | { readonly type: "stats"; readonly question: number; readonly stats: ConnectionStats }
  /** A socket is wanted: that of a listener, or one to dial from. */
  | {
      readonly type: "bind"
      readonly socket: number
      readonly address: SocketAddress
      readonly listener: number | undefined
    }
  | { readonly type: "unbind"; readonly socket: number }
  | { readonly type: "pong" }
  | { readonly type: "ended" }

/** An established connection, of a listener or of a dial. */
export interface Connected {
  readonly type: "connected"
  readonly connection: number
  readonly origin: { readonly listener: number } | { readonly dial: number }
  readonly alpn: Alpn | undefined
  readonly peer: NodeId | undefined
  readonly remote: SocketAddress
  readonly streamLimit: number
  readonly datagramBytesMax: number
}
