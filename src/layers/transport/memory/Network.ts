/**
 * The network that the nodes of one process share: who listens where, which links exist, which nodes are cut off.
 *
 * A node that is cut off keeps its links, but nothing moves on them: they end with `idle` after the idle time, unless the
 * node is healed before. That is what a killed process or a pulled cable looks like from the other side.
 */
import { Clock, Effect, Exit, type Scope } from "effect"
import type { Alpn } from "../../../protocol/Alpn.ts"
import { CloseCode } from "../../../protocol/CloseCode.ts"
import type { NodeId } from "../../../protocol/identity/NodeId.ts"
import { formatSocketAddress, type SocketAddress } from "../../../protocol/SocketAddress.ts"
import {
  type Connection,
  ConnectionClosed,
  DialError,
  type DialOptions,
  type Listener,
  type ListenOptions,
  PeerMismatch,
  TransportError
} from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"
import { Link, type LinkEnd } from "./Link.ts"

/** Connections that wait for `accept`; the next dial is refused with `TooMany`. */
export const BACKLOG_MAX = 256

/** TLS alert no_application_protocol, what a refused ALPN looks like on the other transports. */
export const NO_APPLICATION_PROTOCOL = 120

/** What one node's transport does; see MemoryTransport.Options. */
export interface DialSettings {
  readonly anonymous: boolean
  readonly multiStream: boolean
  readonly streamWindow: number
  readonly streamsMax: number
  readonly idleTimeoutMillis: number
  readonly handshakeTimeoutMillis: number
  readonly keepAlive: boolean
}

interface Bound {
  readonly options: ListenOptions
  readonly offer: (end: LinkEnd) => boolean
}

const FIRST_PORT = 49_152
const LAST_PORT = 65_535

export class Network {
  readonly #scope: Scope.Scope
  readonly #bound = new Map<string, Bound>()
  readonly #links = new Map<Link, { readonly settings: DialSettings; readonly nodes: ReadonlyArray<NodeId> }>()
  readonly #cut = new Set<NodeId>()
  #nextPort = FIRST_PORT
  #nextLink = 1

  constructor(scope: Scope.Scope) {
    this.#scope = scope
  }

  /** Binds an address until the scope closes; the connections of the listener end with it. */
  listen(options: ListenOptions): Effect.Effect<Listener, TransportError, Scope.Scope> {
    return Effect.acquireRelease(
      Effect.suspend(() => this.#bind(options)),
      ({ unbind }) => unbind
    ).pipe(Effect.map(({ listener }) => listener))
  }

  /** One handshake. Costs no time, except at a node that is cut off. */
  dial(options: DialOptions, settings: DialSettings): Effect.Effect<Connection, DialError> {
    return Effect.suspend((): Effect.Effect<Connection, DialError> => {
      const target = formatSocketAddress(options.address)
      const bound = this.#find(options.address)
      if (bound === undefined) {
        return new DialError({
          reason: { _tag: "Unreachable", code: "ECONNREFUSED" },
          target,
          hint: "nothing listens there"
        })
      }
      const actual = bound.options.identity.nodeId
      if (this.#cut.has(actual) || this.#cut.has(options.identity.nodeId)) {
        return Effect.delay(
          new DialError({ reason: { _tag: "TimedOut" }, target, hint: "no answer" }),
          settings.handshakeTimeoutMillis
        )
      }
      if (actual !== options.expect) {
        const reason = new PeerMismatch({ expected: options.expect, actual })
        return new DialError({ reason, target, hint: reason.message })
      }
      const { alpns } = bound.options
      if (!(settings.anonymous ? alpns.web() : alpns.node()).includes(options.alpn)) {
        return refused(target, NO_APPLICATION_PROTOCOL, `it does not serve ${options.alpn}, or not for us`)
      }
      return Effect.flatMap(this.#connect(options, settings, bound), (link) =>
        link === undefined ? refused(target, CloseCode.TooMany, "too many connections wait there") : link
      )
    })
  }

  cut(nodeId: NodeId): Effect.Effect<void> {
    return Effect.suspend(() => {
      this.#cut.add(nodeId)
      const hit = [...this.#links].filter(([link, { nodes }]) => !link.frozen && nodes.includes(nodeId))
      for (const [link] of hit) link.freeze()
      return Effect.forEach(
        hit,
        ([link, { settings }]) =>
          Effect.delay(
            Effect.sync(() => link.frozen && link.close(undefined, "idle", CloseCode.Idle, "")),
            settings.idleTimeoutMillis
          ).pipe(untilClosed(link), Effect.forkIn(this.#scope, { startImmediately: true })),
        { discard: true }
      )
    })
  }

  heal(nodeId: NodeId): Effect.Effect<void> {
    return Effect.sync(() => {
      this.#cut.delete(nodeId)
      for (const [link, { nodes }] of this.#links) {
        if (link.frozen && !nodes.some((node) => this.#cut.has(node))) link.thaw()
      }
    })
  }

  #bind(options: ListenOptions) {
    const port = options.address.port === 0 ? this.#freePort(options.address.host) : options.address.port
    const address: SocketAddress = { host: options.address.host, port: port ?? 0 }
    const key = formatSocketAddress(address)
    if (port === undefined || this.#bound.has(key)) {
      return new TransportError({ reason: "AddressInUse", address: key, hint: "another node listens there" })
    }
    const waiting: Array<LinkEnd> = []
    const ends = new Set<LinkEnd>()
    let closed: ConnectionClosed | undefined
    const accept = new Waitable<Connection, ConnectionClosed>(() => {
      const end = waiting.shift()
      return end !== undefined ? Exit.succeed(end) : closed === undefined ? undefined : Exit.fail(closed)
    })
    this.#bound.set(key, {
      options,
      offer: (end) => {
        if (waiting.length >= BACKLOG_MAX) return false
        ends.add(end)
        end.whenSettled(() => ends.delete(end))
        waiting.push(end)
        accept.wake()
        return true
      }
    })
    const unbind = Effect.suspend(() => {
      this.#bound.delete(key)
      waiting.length = 0
      closed = new ConnectionClosed({ by: "local", kind: "app", code: CloseCode.NoError, reason: "not listening" })
      accept.wake()
      return Effect.forEach([...ends], (end) => end.close(CloseCode.Draining, ""), { discard: true })
    })
    return Effect.succeed({ listener: { address, accept: accept.effect } satisfies Listener, unbind })
  }

  #freePort(host: string): number | undefined {
    for (let tries = FIRST_PORT; tries <= LAST_PORT; tries++) {
      const port = this.#nextPort
      this.#nextPort = port === LAST_PORT ? FIRST_PORT : port + 1
      if (!this.#bound.has(formatSocketAddress({ host, port }))) return port
    }
    return undefined
  }

  /** The exact address, else one that is bound to all addresses of the family. */
  #find({ host, port }: SocketAddress): Bound | undefined {
    return (
      this.#bound.get(formatSocketAddress({ host, port })) ??
      (host.includes(":") ? undefined : this.#bound.get(formatSocketAddress({ host: "0.0.0.0", port }))) ??
      this.#bound.get(formatSocketAddress({ host: "::", port }))
    )
  }

  #connect(
    options: DialOptions,
    settings: DialSettings,
    bound: Bound
  ): Effect.Effect<Effect.Effect<LinkEnd> | undefined> {
    return Clock.clockWith((clock) =>
      Effect.sync(() => {
        const now = () => clock.currentTimeMillisUnsafe()
        let lastActivity = settings.keepAlive ? 0 : now()
        const link = new Link({
          id: `memory-${this.#nextLink++}`,
          alpn: options.alpn as Alpn,
          dialer: {
            peer: settings.anonymous ? undefined : options.identity.nodeId,
            address: { host: options.address.host, port: FIRST_PORT + (this.#nextLink % (LAST_PORT - FIRST_PORT)) }
          },
          acceptor: { peer: bound.options.identity.nodeId, address: options.address },
          multiStream: settings.multiStream,
          streamWindow: settings.streamWindow,
          streamsMax: settings.streamsMax,
          touch: () => {
            if (!settings.keepAlive) lastActivity = now()
          }
        })
        if (!bound.offer(link.accepted)) return undefined
        this.#links.set(link, { settings, nodes: [options.identity.nodeId, bound.options.identity.nodeId] })
        link.dialed.whenSettled(() => this.#links.delete(link))
        if (settings.keepAlive) return Effect.succeed(link.dialed)
        const idle = Effect.suspend(function wait(): Effect.Effect<void> {
          const left = lastActivity + settings.idleTimeoutMillis - now()
          if (left > 0) return Effect.flatMap(Effect.sleep(left), wait)
          return Effect.sync(() => link.close(undefined, "idle", CloseCode.Idle, ""))
        })
        return idle.pipe(
          untilClosed(link),
          Effect.forkIn(this.#scope, { startImmediately: true }),
          Effect.as(link.dialed)
        )
      })
    )
  }
}

const refused = (target: string, code: number, hint: string) =>
  new DialError({ reason: { _tag: "Refused", code }, target, hint })

/** A timer of a link goes with the link. */
const untilClosed =
  (link: Link) =>
  <A>(timer: Effect.Effect<A>): Effect.Effect<void> =>
    Effect.asVoid(Effect.raceFirst(timer, link.dialed.closed))
