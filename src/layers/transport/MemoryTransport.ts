/**
 * A network in one process: the `Transport` contract with no socket, no thread and no real timer.
 *
 * For tests, simulations and benches of the layers above. Every node that is given the same `MemoryNetwork` can reach the
 * others by address; keys and ALPNs are checked as in a real handshake (the key that answers must be the expected one, the
 * ALPN must be in the live list of the listener at that moment). It does not encrypt and proves nothing: it trusts the
 * `LocalIdentity` it is given.
 *
 * ```ts
 * const Network = MemoryTransport.MemoryNetwork.layer
 * const Alice = Node.pipe(Layer.provide(MemoryTransport.layer))
 * const Bob = Node.pipe(Layer.provide(MemoryTransport.layer))
 * Layer.mergeAll(Alice, Bob).pipe(Layer.provide(Network)) // one network: provided once, to both
 * ```
 *
 * Bounds: `streamWindow` bytes (and 1,024 chunks) for each direction of a stream, `streamsMax` streams a side, 128
 * datagrams of at most 1,300 bytes, 256 connections that wait for `accept`. Addresses: any host text; port 0 takes the
 * next free one from 49152 on; a listener on `0.0.0.0` or `::` answers for every host.
 */
import { Context, Duration, Effect, Layer } from "effect"
import { CloseCode } from "../../protocol/CloseCode.ts"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { Transport } from "../../services/Transport.ts"
import { type DialSettings, Network } from "./memory/Network.ts"

/** The network that nodes share. Two layers of it are two networks that do not meet. */
export class MemoryNetwork extends Context.Service<
  MemoryNetwork,
  {
    /**
     * Cuts a node off: nothing moves on its connections any more, which end with `idle` after the idle time, and dials to
     * it time out. What a killed process looks like from outside.
     */
    readonly cut: (nodeId: NodeId) => Effect.Effect<void>
    /** Joins it again; connections that have not ended go on, with nothing lost. */
    readonly heal: (nodeId: NodeId) => Effect.Effect<void>
    /** For the transport layer only. */
    readonly network: Network
  }
>()("alknet/MemoryNetwork") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(Effect.scope, (scope) => {
      const network = new Network(scope)
      return this.of({ cut: (nodeId) => network.cut(nodeId), heal: (nodeId) => network.heal(nodeId), network })
    })
  )
}

export interface Options {
  /** Test only: dials present no certificate, so that the acceptor sees no peer key. Default false. */
  readonly anonymous?: boolean
  /** False: the connections that this transport dials have one stream, as over TLS. Default true. */
  readonly multiStream?: boolean
  /** Bytes that one direction of a stream may hold. Default 256 KiB. */
  readonly streamWindow?: number
  /** Streams that one side may have open at once; the next `open` waits. Default 256. */
  readonly streamsMax?: number
  /** How long a connection on which nothing moves lives, where it is not kept alive. Default 30 s. */
  readonly idleTimeout?: Duration.Input
  /** How long a dial to a node that is cut off takes. Default 10 s. */
  readonly handshakeTimeout?: Duration.Input
  /** Whether dialed connections keep themselves alive, as those of QUIC do. Default true. */
  readonly keepAlive?: boolean
}

/** A transport with options of its own, on the `MemoryNetwork` in the context. */
export const layerWith = (options: Options): Layer.Layer<Transport, never, MemoryNetwork> =>
  Layer.effect(Transport, make(options))

/** The transport with the defaults, on the `MemoryNetwork` in the context. */
export const layer: Layer.Layer<Transport, never, MemoryNetwork> = Layer.suspend(() => layerWith({}))

/** Transport and a network of its own, for one program in which all nodes share this very layer. */
export const layerAlone: Layer.Layer<Transport | MemoryNetwork> = Layer.suspend(() =>
  layer.pipe(Layer.provideMerge(MemoryNetwork.layer))
)

const make = Effect.fnUntraced(function* (options: Options) {
  const { network } = yield* MemoryNetwork
  const settings: DialSettings = {
    anonymous: options.anonymous ?? false,
    multiStream: options.multiStream ?? true,
    streamWindow: options.streamWindow ?? 262_144,
    streamsMax: options.streamsMax ?? 256,
    idleTimeoutMillis: Duration.toMillis(options.idleTimeout ?? "30 seconds"),
    handshakeTimeoutMillis: Duration.toMillis(options.handshakeTimeout ?? "10 seconds"),
    keepAlive: options.keepAlive ?? true
  }
  return Transport.of({
    name: "memory",
    listen: Effect.fn("MemoryTransport.listen")(function* (options) {
      return yield* network.listen(options)
    }),
    dial: Effect.fn("MemoryTransport.dial")(function* (options) {
      return yield* Effect.acquireRelease(
        network.dial(options, settings),
        (connection) => connection.close(CloseCode.NoError, ""),
        // A dial to a node that does not answer can be given up.
        { interruptible: true }
      )
    })
  })
})
