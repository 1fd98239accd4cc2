/**
 * TCP with TLS 1.3: for clients that cannot do UDP or QUIC, and what a dial falls back to where UDP is blocked
 * (transport.md section 3). Both sides prove their Ed25519 keys as over QUIC; nothing is trusted but the key.
 *
 * One connection is one stream, which the first `open` or `accept` gives, on either side; then `open` is `StreamLimit` and
 * `accept` waits for the end. A client that sends the server name `alknet.invalid` meets the node's Ed25519 certificate and
 * the whole list of ALPNs, and is asked for its own certificate; without one it is anonymous, and the router turns it away
 * where the ALPN is not public. Any other name, or none, meets a P-256 certificate (browsers refuse Ed25519) and the
 * public list, and stays anonymous whatever it shows. Sessions are never resumed; there is no early data.
 *
 * TLS carries no application close code, so the other side sees what TCP can say:
 *
 * | here | on the wire | there |
 * |---|---|---|
 * | `finish` | close_notify and FIN | `EndOfStream`; the other direction goes on |
 * | both directions finished | | `closed`: app, NoError |
 * | `close` with NoError, Draining or Idle | what was written, close_notify, FIN; a reset if the other side has not ended after the drain time | `EndOfStream`, then app, NoError |
 * | `close` with any other code, `reset` | reset | before any byte came, for the dialer: app, NoHandler, by the peer; after: lost |
 * | idle timeout | reset | as the row above; here: idle |
 * | process killed, machine gone | FIN or reset; nothing | end of stream or lost; idle, by keep-alive |
 *
 * So a peer that was turned away (unknown to us, or for an ALPN that is gone) is told at once, and cannot tell why. The
 * reason text never crosses. A killed peer may look like one that finished: protocols carry end marks of their own.
 * `stop` drops what still comes. `reset` costs the whole connection.
 *
 * Idle: with keep-alive (the default) TCP probes a quiet peer after 10 s and gives up 10 s later. A connection on which no
 * byte ever moved ends after the idle time; one whose bytes nobody takes, or whose peer has finished and hears nothing more
 * from us, after the stall time (a TCP socket that has read the end, or is not read, does not say that it was reset).
 *
 * Bounds: 256 KiB read ahead and written ahead for each connection (and 1,024 chunks), 256 connections that wait for
 * `accept`, and the options below. What exceeds them is cut off without an answer.
 */
import { Duration, Effect, Layer } from "effect"
import { Transport } from "../../services/Transport.ts"
import type { WebIdentity } from "./tls/contexts.ts"
import { dial } from "./tls/dial.ts"
import { type ListenerSettings, listen } from "./tls/TlsListener.ts"

export type { WebIdentity } from "./tls/contexts.ts"

export interface Options {
  /** Time for TCP and handshake, on both sides; a slow client holds a socket no longer. Default 10 s. */
  readonly handshakeTimeout?: Duration.Input
  /** Bytes that a client may send before its handshake is complete. Default 64 KiB. */
  readonly handshakeBytesMax?: number
  /** Half-open handshakes from one IPv4 address or IPv6 /64, so that one host cannot take all slots. Default 64. */
  readonly halfOpenPerAddress?: number
  /** Half-open handshakes in all: memory of a flood from many addresses. Default 4,096. */
  readonly halfOpen?: number
  /** Established connections in all. Default 10,000. */
  readonly established?: number
  /** Established connections of one peer key. Default 256. */
  readonly establishedPerPeer?: number
  /**
   * New connections a second from one address; handshakes cost the most CPU time. Default 200: TCP has proven the address
   * already, so there is no Retry step in between as there is in QUIC.
   */
  readonly newPerSecondPerAddress?: number
  /** How long a connection may be without a byte, where nothing else keeps it. Default 30 s. */
  readonly idleTimeout?: Duration.Input
  /** How long unsent bytes may wait, and how long a connection whose peer has finished may be quiet. Default 2 minutes. */
  readonly stalledTimeout?: Duration.Input
  /** Whether TCP keep-alive keeps a quiet connection; without it the idle timeout is all. Default true. */
  readonly keepAlive?: boolean
  /** How long an orderly close waits for the other side to end as well. Default 2 s. */
  readonly closeDrain?: Duration.Input
  /** Certificates for clients that expect a CA-signed name, by server name in lower case. Default none. */
  readonly webIdentities?: ReadonlyMap<string, WebIdentity>
}

export const layer = (options: Options = {}): Layer.Layer<Transport> =>
  Layer.sync(Transport, () => {
    let connections = 0
    const settings: ListenerSettings = {
      limits: {
        newPerSecondPerAddress: options.newPerSecondPerAddress ?? 200,
        halfOpenPerAddress: options.halfOpenPerAddress ?? 64,
        halfOpen: options.halfOpen ?? 4_096,
        established: options.established ?? 10_000
      },
      establishedPerPeer: options.establishedPerPeer ?? 256,
      handshakeMillis: Duration.toMillis(options.handshakeTimeout ?? "10 seconds"),
      handshakeBytesMax: options.handshakeBytesMax ?? 65_536,
      idleMillis: Duration.toMillis(options.idleTimeout ?? "30 seconds"),
      stalledMillis: Duration.toMillis(options.stalledTimeout ?? "2 minutes"),
      closeDrainMillis: Duration.toMillis(options.closeDrain ?? "2 seconds"),
      keepAlive: options.keepAlive ?? true,
      webIdentities: options.webIdentities ?? new Map(),
      nextId: () => `tls-${++connections}`
    }
    return Transport.of({
      name: "tls",
      listen: Effect.fn("TlsTransport.listen")(function* (options) {
        return yield* listen(options, settings)
      }),
      dial: Effect.fn("TlsTransport.dial")(function* (options) {
        return yield* dial(options, settings)
      })
    })
  })
