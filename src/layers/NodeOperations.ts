/**
 * The operations that every node offers: `node/ping`, `node/info`, `node/status`.
 *
 * | operation | who may | what it tells |
 * |---|---|---|
 * | `node/ping` | whoever may connect, also a node that we dialed | nothing: that the node answers |
 * | `node/info` | whoever may connect | the node's id; to callers with an identity also version and ALPNs |
 * | `node/status` | scope `node:admin` | how long it runs, and its live connections |
 *
 * They are open where the table says so because `alknet/call` admits known peers only; a gateway that lets anonymous
 * callers in shows them no more than the id.
 */
import { Clock, Effect, Schema } from "effect"
import { AccessControl } from "../protocol/call/AccessControl.ts"
import { NodeId } from "../protocol/identity/NodeId.ts"
import { formatSocketAddress } from "../protocol/SocketAddress.ts"
import { Endpoint, type LiveConnection } from "../services/Endpoint.ts"
import { Identity } from "../services/Identity.ts"
import { Operation } from "../services/Operation.ts"
import { OperationContext } from "../services/OperationContext.ts"
import { OperationGroup } from "../services/OperationGroup.ts"
import { Router } from "../services/Router.ts"

export const Ping = Operation.query("node/ping", {
  description: "Answers.",
  output: Schema.Struct({}),
  access: AccessControl.open,
  visibility: "external",
  remoteSafe: true
})

export const Info = Operation.query("node/info", {
  description: "Who this node is and which protocols it serves.",
  output: Schema.Struct({
    nodeId: NodeId,
    /** Only for callers with an identity, like `alpns`. */
    version: Schema.optionalKey(Schema.String),
    alpns: Schema.optionalKey(Schema.Array(Schema.String))
  }),
  access: AccessControl.open,
  visibility: "external"
})

/** At most this many connections are described, the oldest first. */
export const STATUS_CONNECTIONS_MAX = 1000

const ConnectionStatus = Schema.Struct({
  id: Schema.String,
  alpn: Schema.String,
  side: Schema.Literals(["accepted", "dialed"]),
  transport: Schema.String,
  peer: Schema.optionalKey(Schema.String),
  remoteAddress: Schema.optionalKey(Schema.String),
  /** Milliseconds since the epoch. */
  since: Schema.Finite,
  bytesSent: Schema.Finite,
  bytesReceived: Schema.Finite
})

export const Status = Operation.query("node/status", {
  description: "How long this node runs and who is connected.",
  output: Schema.Struct({
    version: Schema.String,
    uptimeMillis: Schema.Finite,
    connectionCount: Schema.Int,
    connections: Schema.Array(ConnectionStatus)
  }),
  access: AccessControl.scopes("node:admin"),
  visibility: "external"
})

export interface Options {
  /** Of the program, for people. */
  readonly version: string
  /** When the node started, in milliseconds since the epoch. */
  readonly startedAt: number
}

/** What the handlers need of the node. */
export type Needs = Endpoint | Identity | Router

/** The group for a registry. */
export const group = ({ startedAt, version }: Options): OperationGroup<Needs> =>
  OperationGroup.make(
    Operation.implement(Ping, Effect.succeed({})),
    Operation.implement(
      Info,
      Effect.gen(function* () {
        const { identity } = yield* OperationContext
        const { nodeId } = (yield* Identity).local
        if (identity === undefined) return { nodeId }
        const registrations = yield* (yield* Router).registrations
        return { nodeId, version, alpns: registrations.map((registration) => registration.alpn) }
      })
    ),
    Operation.implement(
      Status,
      Effect.gen(function* () {
        const connections = yield* (yield* Endpoint).connections
        const now = yield* Clock.currentTimeMillis
        return {
          version,
          uptimeMillis: Math.max(0, now - startedAt),
          connectionCount: connections.length,
          connections: yield* Effect.forEach(connections.slice(0, STATUS_CONNECTIONS_MAX), statusOf)
        }
      })
    )
  )

const statusOf = Effect.fnUntraced(function* (connection: LiveConnection) {
  const { bytesReceived, bytesSent } = yield* connection.stats
  const { alpn, id, peer, remoteAddress, side, since, transport } = connection
  return {
    ...{ id, alpn, side, transport, since, bytesSent, bytesReceived },
    ...(peer === undefined ? {} : { peer }),
    ...(remoteAddress === undefined ? {} : { remoteAddress: formatSocketAddress(remoteAddress) })
  }
})
