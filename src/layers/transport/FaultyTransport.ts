/**
 * Any transport, with things going wrong: delays, sudden deaths, corrupted bytes, slow readers, partitions; for messages
 * (RFC 9221) loss, duplication and reordering too. The same seed gives the same faults in the same places, so that with
 * `TestClock` a whole run repeats.
 *
 * Each node's own side decides about what it writes, so give all nodes of a run this layer. Streams stay reliable, as
 * those of TLS and QUIC are: bytes arrive late, in order, or the connection dies. For faults below QUIC, between its
 * packets, dial through `datagramRelay`.
 *
 * What it does not do: it does not slow the handshake, and a write waits until it is delivered, so a single writer has one
 * chunk in flight.
 */
import { Context, Deferred, Duration, Effect, Exit, Layer, type Scope } from "effect"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { formatSocketAddress } from "../../protocol/SocketAddress.ts"
import { type Connection, DialError, Transport } from "../../services/Transport.ts"
import { Dice, type Faults } from "./faulty/Faults.ts"
import { FaultyConnection, type Path } from "./faulty/FaultyConnection.ts"

export { type DatagramRelay, datagramRelay } from "./faulty/datagramRelay.ts"
export type { Faults } from "./faulty/Faults.ts"

export interface Options {
  /** Decides every throw of the dice. Print it with a failing run. */
  readonly seed: number
  readonly faults?: Faults
  /** How long a connection whose nodes are parted lives. Default 30 s. */
  readonly idleTimeout?: Duration.Input
}

/** What a test does to the network while it runs. */
export class FaultControl extends Context.Service<
  FaultControl,
  {
    /** Parts two nodes: nothing crosses, dials time out, and connections end as idle unless they are healed in time. */
    readonly partition: (one: NodeId, other: NodeId) => Effect.Effect<void>
    /** Ends the partition of two nodes; what waited goes on. */
    readonly heal: (one: NodeId, other: NodeId) => Effect.Effect<void>
    /** Every connection of a node is lost, now. */
    readonly kill: (node: NodeId) => Effect.Effect<void>
    /** Other faults from now on, for connections that begin later. */
    readonly setFaults: (faults: Faults) => Effect.Effect<void>
  }
>()("alknet/FaultControl") {}

/** How long a dial to a parted node takes. */
const DIAL_TIMEOUT = Duration.seconds(10)

export const layer = <E, R>(
  inner: Layer.Layer<Transport, E, R>,
  options: Options
): Layer.Layer<Transport | FaultControl, E, R> =>
  Layer.effectContext(
    Effect.gen(function* () {
      const scope = yield* Effect.scope
      const context = yield* Layer.buildWithScope(inner, scope)
      const network = new FaultyNetwork(options, scope)
      return Context.make(Transport, network.wrap(Context.get(context, Transport))).pipe(
        Context.add(FaultControl, network.control)
      )
    })
  )

class FaultyNetwork {
  readonly control: FaultControl["Service"]
  readonly #seed: number
  readonly #idleTimeout: Duration.Input
  readonly #scope: Scope.Scope
  readonly #live = new Set<FaultyConnection>()
  readonly #parted = new Map<string, Deferred.Deferred<void>>()
  #faults: Faults
  #lanes = 0

  constructor(options: Options, scope: Scope.Scope) {
    this.#seed = options.seed
    this.#faults = options.faults ?? {}
    this.#idleTimeout = options.idleTimeout ?? "30 seconds"
    this.#scope = scope
    this.control = FaultControl.of({
      partition: (one, other) => Effect.suspend(() => this.#partition(one, other)),
      heal: (one, other) => Effect.sync(() => this.#heal(one, other)),
      kill: (node) =>
        Effect.suspend(() => Effect.forEach(this.#of(node), (connection) => connection.die("lost"), { discard: true })),
      setFaults: (faults) =>
        Effect.sync(() => {
          this.#faults = faults
        })
    })
  }

  wrap(inner: Transport["Service"]): Transport["Service"] {
    return Transport.of({
      name: inner.name,
      listen: (options) =>
        Effect.map(inner.listen(options), (listener) => ({
          address: listener.address,
          accept: Effect.flatMap(listener.accept, (connection) => this.#wrapOne(connection, options.identity.nodeId))
        })),
      dial: (options) =>
        Effect.suspend(() => {
          const dice = new Dice(this.#seed, this.#lanes++)
          const target = formatSocketAddress(options.address)
          const silent = new DialError({ reason: { _tag: "TimedOut" }, target, hint: "no answer in time" })
          if (dice.happens(this.#faults.unreachable) || this.#isParted(options.identity.nodeId, options.expect)) {
            return Effect.delay(silent, DIAL_TIMEOUT)
          }
          return Effect.flatMap(inner.dial(options), (connection) => this.#wrapOne(connection, options.identity.nodeId))
        })
    })
  }

  #wrapOne(inner: Connection, own: NodeId): Effect.Effect<Connection> {
    return Effect.suspend(() => {
      const { peer } = inner
      const path: Path = {
        passable: Effect.suspend(() => {
          const parted = peer === undefined ? undefined : this.#parted.get(pairKey(own, peer))
          return parted === undefined
            ? Effect.void
            : Effect.raceFirst(Deferred.await(parted), Effect.asVoid(inner.closed))
        }),
        isPassable: () => peer === undefined || !this.#isParted(own, peer)
      }
      const nodes = peer === undefined ? [own] : [own, peer]
      const faulty = new FaultyConnection(inner, nodes, this.#faults, new Dice(this.#seed, this.#lanes++), path)
      this.#live.add(faulty)
      return Effect.andThen(
        inner.closed,
        Effect.sync(() => this.#live.delete(faulty))
      ).pipe(Effect.forkIn(this.#scope, { startImmediately: true }), Effect.as(faulty.connection))
    })
  }

  #of(node: NodeId): ReadonlyArray<FaultyConnection> {
    return [...this.#live].filter(({ nodes }) => nodes.includes(node))
  }

  #isParted(one: NodeId, other: NodeId): boolean {
    return this.#parted.has(pairKey(one, other))
  }

  #partition(one: NodeId, other: NodeId): Effect.Effect<void> {
    const key = pairKey(one, other)
    if (this.#parted.has(key)) return Effect.void
    const healed = Deferred.makeUnsafe<void>()
    this.#parted.set(key, healed)
    const starve = Effect.delay(
      Effect.suspend(() =>
        Effect.forEach(
          this.#of(one).filter(({ nodes }) => nodes.includes(other)),
          (connection) => connection.die("idle"),
          { discard: true }
        )
      ),
      this.#idleTimeout
    )
    return Effect.raceFirst(starve, Deferred.await(healed)).pipe(
      Effect.forkIn(this.#scope, { startImmediately: true }),
      Effect.asVoid
    )
  }

  #heal(one: NodeId, other: NodeId): void {
    const key = pairKey(one, other)
    const healed = this.#parted.get(key)
    this.#parted.delete(key)
    if (healed !== undefined) Deferred.doneUnsafe(healed, Exit.void)
  }
}

const pairKey = (one: NodeId, other: NodeId): string => (one < other ? `${one} ${other}` : `${other} ${one}`)
