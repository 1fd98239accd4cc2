/**
 * What the Effect side of the QUIC transport needs of whatever runs the driver: this thread (`LocalEngine.ts`) or a worker
 * (`worker/WorkerEngine.ts`). Plain synchronous code with callbacks.
 */
import type { Alpn } from "../../../protocol/Alpn.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import type { CloseReason, ConnectionStats, OfferedAlpns } from "../../../services/Transport.ts"
import type { TlsIdentity } from "./Contexts.ts"
import type { DialFailure } from "./Dialer.ts"
import type { PendingWrite, ReadEnd, WriteEnd } from "./QuicStream.ts"

/** A stream; `QuicStream` says what its members do. */
export interface StreamHandle {
  readonly id: number
  readonly readEnd: ReadEnd | undefined
  readonly writeEnd: WriteEnd | undefined
  onReadable: (() => void) | undefined
  readonly read: () => Uint8Array | undefined
  readonly write: (bytes: Uint8Array, end: boolean) => number
  readonly queueWrite: (write: PendingWrite) => void
  readonly cancelWrite: (write: PendingWrite) => void
  readonly reset: (code: number) => void
  readonly stop: (code: number) => void
}

/** An established connection; `QuicConnection` says what its members do. */
export interface ConnectionHandle {
  readonly id: string
  readonly isServer: boolean
  readonly peer: NodeId | undefined
  readonly alpn: Alpn | undefined
  readonly remote: SocketAddress
  readonly closeReason: CloseReason | undefined
  readonly isClosed: boolean
  readonly datagramBytesMax: number
  onIncoming: (() => void) | undefined
  onOpenable: (() => void) | undefined
  onDatagram: (() => void) | undefined
  onClosed: (() => void) | undefined
  isAwaited: (() => boolean) | undefined
  readonly accept: () => StreamHandle | undefined
  readonly open: () => StreamHandle | undefined
  readonly sendDatagram: (message: Uint8Array) => void
  readonly receiveDatagram: () => Uint8Array | undefined
  readonly close: (code: number, reason: string) => void
  /** `answer` may be called at once, and is called in any case. */
  readonly askStats: (answer: (stats: ConnectionStats) => void) => void
}

/** Why nothing listens. */
export type ListenFailure =
  | { readonly kind: "unsupported" }
  | { readonly kind: "certificate" }
  | { readonly kind: "bind"; readonly code: string }

export interface EngineListen {
  readonly address: SocketAddress
  readonly identity: TlsIdentity
  /** Serves anonymous clients with this certificate, where it is set. */
  readonly web: TlsIdentity | undefined
  readonly alpns: OfferedAlpns
  /** Gets each connection that passed every check. */
  readonly onConnection: (connection: ConnectionHandle) => void
}

export interface EngineListener {
  readonly address: SocketAddress
  /** Ends its connections and frees the address; `done` is called when no handle is left. */
  readonly close: (done: () => void) => void
}

export interface EngineDial {
  /** A literal address. */
  readonly remote: SocketAddress
  readonly expect: NodeId
  readonly alpn: Alpn
  /** The same object for each dial of one identity: what is made of it is kept with it. */
  readonly identity: TlsIdentity
}

export type Listened = (listener: EngineListener | undefined, failure: ListenFailure | undefined) => void
export type Dialed = (connection: ConnectionHandle | undefined, failure: DialFailure | undefined) => void

export interface QuicEngine {
  readonly listen: (request: EngineListen, done: Listened) => void
  /** The answer gives the dial up, or closes its connection. `done` is called at most once. */
  readonly dial: (request: EngineDial, done: Dialed) => () => void
  /** Ends what was dialed. Listeners are closed by themselves. */
  readonly close: (done: () => void) => void
}
