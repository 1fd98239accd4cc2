/**
 * What one peer, one address and everybody together may take from the QUIC driver (transport.md section 2, "Limits").
 *
 * Every bound has a default and is an option of `QuicTransport.layer`. What they protect against is said at each.
 */
export interface QuicLimits {
  /** Time in which a handshake must complete. A slow handshake holds memory and a half-open place. */
  readonly handshakeMillis: number
  /** Bytes that a peer may send before its handshake is complete; then the connection is dropped without an answer. */
  readonly handshakeBytes: number
  /** Half-open handshakes of one address (IPv4 /32, IPv6 /64). */
  readonly halfOpenPerAddress: number
  /** Half-open handshakes in all. */
  readonly halfOpen: number
  /** Half-open handshakes in all from which on every Initial must carry a Retry token, which proves its address. */
  readonly halfOpenBeforeRetry: number
  /** Established connections of one peer; one more is closed with `TooMany`. */
  readonly connectionsPerPeer: number
  /** Established connections in all; one more is closed with `TooMany`. */
  readonly connections: number
  /** New connections a second from one address without proof of the address; above, a Retry token is asked for. */
  readonly newPerSecond: number
  /** New connections a second from one address with a Retry token; above, datagrams are dropped silently. */
  readonly newPerSecondWithRetry: number
  /** Established connections that nobody has accepted yet; one more is closed with `TooMany`. */
  readonly backlog: number
  /** Version negotiation and Retry packets a second in all: what an unproven address makes us send. */
  readonly statelessPerSecond: number
  /** Streams that a peer may have open at a time. */
  readonly streams: number
  /** Bytes of one stream that wait in the driver for a reader; beyond, flow control holds the peer. */
  readonly readAheadBytes: number
  /** Bytes that a peer may have in flight to us on a new stream. */
  readonly firstStreamWindowBytes: number
  /** The same on a stream whose reader keeps up: its window grows to this. */
  readonly streamWindowBytes: number
  /** Received datagrams (RFC 9221) that wait for a reader; the oldest are dropped. */
  readonly datagramQueue: number
  /** Time without a packet after which a connection ends. */
  readonly idleMillis: number
  /** How often a dialed connection that is in use sends something, so that it does not go idle. */
  readonly keepAliveMillis: number
  /** Time for which a closed connection still answers with its close packet. */
  readonly closeDrainMillis: number
  /** Watchdog: datagrams that one connection may receive in a second. */
  readonly datagramsPerSecond: number
  /** Watchdog: computing time in milliseconds a second that a connection may take beside 0.1 ms a datagram. */
  readonly cpuMillisPerSecond: number
  /**
   * Watchdog: bytes received on a connection that have not come out as stream data, beside 200 a datagram and a quarter of
   * the data: the most that a peer can make us hold. What readers have left unread counts here, and frames that only fill
   * the memory of the stack. More than all streams of a peer at their first window, so that readers may wait.
   */
  readonly unreadBytes: number
}

const MEBIBYTE = 1024 * 1024

export const DEFAULT_LIMITS: QuicLimits = {
  handshakeMillis: 10_000,
  handshakeBytes: 64 * 1024,
  halfOpenPerAddress: 64,
  halfOpen: 4096,
  halfOpenBeforeRetry: 512,
  connectionsPerPeer: 256,
  connections: 10_000,
  newPerSecond: 50,
  newPerSecondWithRetry: 200,
  backlog: 1024,
  statelessPerSecond: 5000,
  streams: 256,
  readAheadBytes: 256 * 1024,
  firstStreamWindowBytes: 256 * 1024,
  streamWindowBytes: 8 * MEBIBYTE,
  datagramQueue: 256,
  idleMillis: 30_000,
  keepAliveMillis: 10_000,
  closeDrainMillis: 2000,
  datagramsPerSecond: 500_000,
  cpuMillisPerSecond: 250,
  unreadBytes: 96 * MEBIBYTE
}

/** Connection ids of one peer that may be active at a time. */
export const ACTIVE_CONNECTION_IDS = 4

/** Size of a UDP payload that every path carries (RFC 9000 section 14). */
export const DATAGRAM_BYTES_MIN = 1200

/** Largest UDP payload. */
export const DATAGRAM_BYTES_MAX = 65_527
