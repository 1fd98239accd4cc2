/**
 * What a running node tells over its control socket: made of its endpoint, router and peers at the moment of asking.
 */
import { Effect, Option } from "effect"
import { fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import { formatSocketAddress } from "../protocol/SocketAddress.ts"
import {
  CONNECTIONS_REPORTED_MAX,
  type ConnectionReport,
  type NodeReport,
  SESSIONS_REPORTED_MAX,
  type ServedAlpn
} from "../services/Control.ts"
import { Endpoint, type LiveConnection } from "../services/Endpoint.ts"
import { Identity } from "../services/Identity.ts"
import { type Access, type Registration, Router } from "../services/Router.ts"
import { SshSessions } from "../services/SshSessions.ts"

/** What only the program knows. */
export type ReportFacts = Pick<NodeReport, "kind" | "version" | "startedAt" | "addresses" | "ticket">

const accessText = (access: Access): string => (typeof access === "string" ? access : `scope ${access.scope}`)

/** A registration, for people and programs. */
export const servedAlpn = ({ access, alpn, description }: Registration): ServedAlpn => ({
  alpn,
  access: accessText(access),
  description: description ?? ""
})

const connectionReport = Effect.fnUntraced(function* (
  connection: LiveConnection,
  identity: Identity["Service"]
): Effect.fn.Return<ConnectionReport> {
  const { alpn, id, peer, remoteAddress, side, since, transport } = connection
  const { bytesReceived, bytesSent, rttMillis } = yield* connection.stats
  const principal = peer === undefined ? undefined : yield* identity.resolveFromFingerprint(fingerprintOfNode(peer))
  return {
    ...{ id, alpn, side, transport, since, bytesSent, bytesReceived },
    ...(rttMillis === undefined ? {} : { rttMillis }),
    ...(peer === undefined ? {} : { peer }),
    ...(principal?._tag === "Some" ? { name: principal.value.id } : {}),
    ...(remoteAddress === undefined ? {} : { remote: formatSocketAddress(remoteAddress) })
  }
})

/** A report each time it is run; with the SSH sessions of the environment, where it has a list of them. */
export const makeReport = (
  facts: ReportFacts
): Effect.Effect<Effect.Effect<NodeReport>, never, Endpoint | Identity | Router> =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint
    const identity = yield* Identity
    const router = yield* Router
    const list = Option.match(yield* Effect.serviceOption(SshSessions), {
      onNone: () => Effect.succeed([]),
      onSome: (sessions) => sessions.list
    })
    return Effect.gen(function* () {
      const connections = yield* endpoint.connections
      const shown = connections.slice(0, CONNECTIONS_REPORTED_MAX)
      const sessions = yield* list
      return {
        ...facts,
        pid: process.pid,
        nodeId: endpoint.nodeId,
        fingerprint: fingerprintOfNode(endpoint.nodeId),
        serves: (yield* router.registrations).map(servedAlpn),
        memoryBytes: process.memoryUsage.rss(),
        connections: yield* Effect.forEach(shown, (connection) => connectionReport(connection, identity)),
        connectionCount: connections.length,
        sessions: sessions.slice(0, SESSIONS_REPORTED_MAX),
        sessionCount: sessions.length
      }
    })
  })
