/**
 * The endpoint: see `services/Endpoint.ts` for what it promises.
 *
 * Accepted connections go to the router, each in a fiber of its own. Dialed ones belong to whoever dialed them. Both are
 * listed while they live, written to the audit log, and closed when their peer is removed or disabled (ID-R31).
 */
import { lookup } from "node:dns"
import { isIP } from "node:net"
import { Clock, Duration, Effect, Exit, Layer, Option, RcMap, type Scope, Stream, SubscriptionRef } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import { CloseCode, closeCodeName } from "../protocol/CloseCode.ts"
import { fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { formatSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"
import { AuditLog } from "../services/AuditLog.ts"
import { Discovery } from "../services/Discovery.ts"
import { type DialTarget, Endpoint, type LiveConnection } from "../services/Endpoint.ts"
import { Identity } from "../services/Identity.ts"
import { Router } from "../services/Router.ts"
import { type CloseReason, type Connection, DialError, Transport, type TransportError } from "../services/Transport.ts"
import { connectionMetrics } from "./connectionMetrics.ts"
import { moreTellingDialError } from "./transport/CombinedTransport.ts"
import { stagger } from "./transport/stagger.ts"

export interface EndpointOptions {
  /** Where to listen; none: this node only dials. Port 0 takes any free port. */
  readonly listen?: ReadonlyArray<SocketAddress>
  /** How long live connections may go on after the endpoint's scope closed. Default 2 s. */
  readonly drainTimeout?: Duration.Input
  /** Accepted connections at once, in all. One more is closed with `TooMany`. Default 10,000. */
  readonly maxConnections?: number
  /** Accepted connections at once from one peer key; a peer with many is a bug or an attack. Default 256. */
  readonly maxConnectionsPerPeer?: number
  /** How long an unused pooled connection stays open. Default 30 s. */
  readonly poolIdleTime?: Duration.Input
}

/** Addresses tried for one dial, over all sources. */
const MAX_ADDRESSES = 16

export const layer = (
  options: EndpointOptions = {}
): Layer.Layer<Endpoint, TransportError, AuditLog | Discovery | Identity | Router | Transport> =>
  Layer.effect(
    Endpoint,
    Effect.gen(function* () {
      const audit = yield* AuditLog
      const discovery = yield* Discovery
      const identity = yield* Identity
      const router = yield* Router
      const transport = yield* Transport
      const scope = yield* Effect.scope
      const live = yield* trackConnections(audit, identity)

      const listeners = yield* Effect.forEach(options.listen ?? [], (address) =>
        transport.listen({ address, identity: identity.local, alpns: router.offered })
      )
      yield* Effect.addFinalizer(() => router.drain(options.drainTimeout ?? Duration.seconds(2)))

      const serve = (connection: Connection) =>
        Effect.gen(function* () {
          if (
            live.accepted() >= (options.maxConnections ?? 10_000) ||
            live.acceptedFrom(connection.peer) >= (options.maxConnectionsPerPeer ?? 256)
          ) {
            return yield* connection.close(CloseCode.TooMany, "")
          }
          yield* live.add(connection)
          if (connection.peer !== undefined) yield* discovery.reached(connection.peer, undefined)
          yield* router.serve(connection)
        }).pipe(Effect.scoped)

      for (const listener of listeners) {
        yield* Effect.flatMap(listener.accept, (connection) =>
          Effect.forkIn(serve(connection), scope, { startImmediately: true })
        ).pipe(
          // Handshakes that end together are accepted together.
          Effect.forever({ disableYield: true }),
          Effect.catch(() => Effect.void),
          Effect.forkScoped
        )
      }

      const dial = (nodeId: NodeId, alpn: Alpn, address: SocketAddress) =>
        transport
          .dial({ address, expect: nodeId, alpn, identity: identity.local })
          .pipe(Effect.tap(() => discovery.reached(nodeId, address)))

      const connect = Effect.fnUntraced(function* (target: DialTarget, alpn: Alpn) {
        const known = [...(target.addresses ?? []), ...(yield* discovery.lookup(target.nodeId))]
        const [first, ...rest] = (yield* resolveNames(known)).map((address) => dial(target.nodeId, alpn, address))
        if (first === undefined) return yield* noAddress(target.nodeId, known)
        const connection = yield* stagger([first, ...rest], { moreTelling: moreTellingDialError })
        yield* live.add(connection)
        return connection
      })

      /** What the pool's keys stand for: the addresses of the latest request count. */
      const wanted = new Map<string, { readonly target: DialTarget; readonly alpn: Alpn }>()
      const pool = yield* RcMap.make({
        lookup: (key: string) => {
          const { alpn, target } = wanted.get(key)!
          return connect(target, alpn)
        },
        idleTimeToLive: options.poolIdleTime ?? Duration.seconds(30)
      })

      const open = Effect.fn("Endpoint.open")(function* (target: DialTarget, alpn: Alpn) {
        const key = `${target.nodeId} ${alpn}`
        wanted.set(key, { target, alpn })
        let connection = yield* RcMap.get(pool, key)
        if (closeReasonNow(connection) !== undefined) {
          yield* RcMap.invalidate(pool, key)
          connection = yield* RcMap.get(pool, key)
        }
        return yield* Effect.acquireRelease(connection.open, (stream, exit) =>
          Exit.isSuccess(exit) ? Effect.ignore(stream.finish) : Effect.andThen(stream.reset(0), stream.stop(0))
        )
      })

      yield* closeRevoked(identity, live.list)

      return Endpoint.of({
        nodeId: identity.local.nodeId,
        addresses: listeners.map((listener) => listener.address),
        connect,
        open,
        connections: Effect.sync(live.list)
      })
    })
  )

interface Tracked extends LiveConnection {
  /** A dialed connection to a node that was a peer at that moment. */
  readonly known: boolean
}

/** The live connections, and one audit line at each end of each. */
const trackConnections = (audit: AuditLog["Service"], identity: Identity["Service"]) =>
  Effect.map(Effect.context<never>(), (context) => {
    const metric = connectionMetrics(context)
    const live = new Set<Tracked>()
    const perPeer = new Map<NodeId, number>()
    let accepted = 0
    const count = (connection: Connection, by: 1 | -1) => {
      metric(connection, by)
      if (connection.side !== "accepted") return
      accepted += by
      if (connection.peer === undefined) return
      const next = (perPeer.get(connection.peer) ?? 0) + by
      if (next === 0) perPeer.delete(connection.peer)
      else perPeer.set(connection.peer, next)
    }
    const add = (connection: Connection): Effect.Effect<void, never, Scope.Scope> =>
      Effect.gen(function* () {
        const { alpn, close, id, peer, remoteAddress, side, stats, transport } = connection
        const since = yield* Clock.currentTimeMillis
        const known = side === "dialed" && (yield* isKnown(identity, peer))
        const entry: Tracked = { id, alpn, side, transport, peer, remoteAddress, since, stats, close, known }
        const origin = { conn: id, remote: remoteAddress, transport }
        const gone = Effect.suspend(() => {
          if (!live.delete(entry)) return Effect.void
          count(connection, -1)
          const reason = closeReasonNow(connection)
          return audit.record({
            event: "conn.close",
            ...origin,
            reason: reason === undefined ? "local" : closeText(reason)
          })
        })
        yield* Effect.acquireRelease(
          Effect.suspend(() => {
            live.add(entry)
            count(connection, 1)
            return audit.record({ event: "conn.open", ...origin, alpn })
          }),
          () => gone
        )
        // Who dialed may keep the scope for long after the end; an accepted one ends with its handler.
        if (side === "dialed") {
          yield* Effect.forkScoped(Effect.andThen(connection.closed, Effect.uninterruptible(gone)))
        }
      })
    return {
      add,
      list: () => [...live],
      accepted: () => accepted,
      acceptedFrom: (peer: NodeId | undefined) => (peer === undefined ? 0 : (perPeer.get(peer) ?? 0))
    }
  })

/** Why the connection has ended; undefined while it lives. Costs no fiber switch: an end that has come is there at once. */
const closeReasonNow = (connection: Connection): CloseReason | undefined => {
  const fiber = Effect.runFork(connection.closed)
  const exit = fiber.pollUnsafe()
  if (exit === undefined) fiber.interruptUnsafe()
  return exit !== undefined && Exit.isSuccess(exit) ? exit.value : undefined
}

/** Why a connection ended, for the log: never text of the peer. */
const closeText = (reason: CloseReason): string => {
  if (reason.kind === "app") return `${reason.by}:${closeCodeName(reason.code)}`
  return reason.kind === "transport" ? `${reason.by}:0x${reason.code.toString(16)}` : reason.kind
}

/** Closes the dialed connections of a peer that was known and is not any more; accepted ones are the router's to judge. */
const closeRevoked = (identity: Identity["Service"], list: () => ReadonlyArray<Tracked>) =>
  SubscriptionRef.changes(identity.snapshot).pipe(
    Stream.runForEach(() =>
      Effect.forEach(
        list().filter(({ known }) => known),
        ({ close, peer }) =>
          Effect.flatMap(isKnown(identity, peer), (known) => (known ? Effect.void : close(CloseCode.NoError, ""))),
        { discard: true }
      )
    ),
    Effect.forkScoped
  )

const isKnown = (identity: Identity["Service"], peer: NodeId | undefined): Effect.Effect<boolean> =>
  peer === undefined
    ? Effect.succeed(false)
    : Effect.map(identity.resolveFromFingerprint(fingerprintOfNode(peer)), Option.isSome)

const noAddress = (nodeId: NodeId, known: ReadonlyArray<SocketAddress>) =>
  new DialError({
    reason: { _tag: "NoAddress" },
    target: nodeId,
    hint:
      known.length === 0
        ? "no address is known; give one with --addr HOST:PORT, or use a ticket"
        : `no address for ${known.map(formatSocketAddress).join(", ")}`
  })

/** Names become addresses, both families in turn (RFC 8305 section 4); a name that does not resolve is left out. */
const resolveNames = (addresses: ReadonlyArray<SocketAddress>): Effect.Effect<ReadonlyArray<SocketAddress>> => {
  if (addresses.every(({ host }) => isIP(host) !== 0)) return Effect.succeed(unique(addresses))
  return Effect.map(
    Effect.forEach(addresses, (address) => (isIP(address.host) === 0 ? resolve(address) : Effect.succeed([address])), {
      concurrency: MAX_ADDRESSES
    }),
    (found) => unique(found.flat())
  )
}

const unique = (addresses: ReadonlyArray<SocketAddress>): ReadonlyArray<SocketAddress> =>
  addresses.length < 2
    ? addresses
    : [...new Map(addresses.map((address) => [formatSocketAddress(address), address])).values()].slice(0, MAX_ADDRESSES)

const resolve = ({ host, port }: SocketAddress) =>
  Effect.callback<ReadonlyArray<SocketAddress>>((resume) => {
    lookup(host, { all: true, order: "ipv6first" }, (error, found) => {
      if (error !== null) return resume(Effect.succeed([]))
      const v6 = found.filter(({ family }) => family === 6)
      const v4 = found.filter(({ family }) => family === 4)
      const turns = Array.from({ length: Math.max(v6.length, v4.length) }, (_, index) => [v6[index], v4[index]])
      resume(
        Effect.succeed(turns.flat().flatMap((entry) => (entry === undefined ? [] : [{ host: entry.address, port }])))
      )
    })
  })
