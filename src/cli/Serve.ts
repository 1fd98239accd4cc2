/**
 * What `up` and `unlock` share: an own node whose endpoint is lent over the control socket until it is told to end.
 */
import { Clock, Deferred, Duration, Effect, Layer, Option } from "effect"
import { makeReport } from "../layers/ControlReport.ts"
import * as ControlServer from "../layers/ControlServer.ts"
import { issueInvite } from "../layers/Invite.ts"
import type { ServedAlpn } from "../layers/Node.ts"
import type { Needs } from "../layers/NodeOperations.ts"
import type { Config } from "../protocol/Config.ts"
import { toForwardRule } from "../protocol/forward/RuleEntry.ts"
import { nodeIdFromText } from "../protocol/identity/NodeId.ts"
import { formatSocketAddress, type SocketAddress } from "../protocol/SocketAddress.ts"
import { AuditLog } from "../services/AuditLog.ts"
import { ControlError, type NodeReport } from "../services/Control.ts"
import { Endpoint } from "../services/Endpoint.ts"
import type { Identity } from "../services/Identity.ts"
import type { ModuleError } from "../services/ModuleError.ts"
import type { OperationGroup } from "../services/OperationGroup.ts"
import type { OperationRegistry } from "../services/OperationRegistry.ts"
import type { PeerStore } from "../services/PeerStore.ts"
import { SshSessions } from "../services/SshSessions.ts"
import { dialableAddresses } from "./Addresses.ts"
import { failed } from "./Failure.ts"
import { filesToServe } from "./Files.ts"
import { Home } from "./Home.ts"
import { loadNode } from "./Opened.ts"
import { openVault } from "./OpenVault.ts"
import { advertised, plainTicket } from "./PlainTicket.ts"
import { runningReport } from "./Running.ts"
import { sshToServe } from "./Ssh.ts"
import { layerPeers } from "./Stores.ts"
import { layerTelemetry } from "./Telemetry.ts"
import { version } from "./Version.ts"

/** What is in flight may take this long when the node ends; the whole end has two seconds. */
const DRAIN_WITHIN = Duration.seconds(1)

/** There is one process for a home; a second one is told so before it asks for anything. */
export const refuseSecond = Effect.gen(function* () {
  const running = yield* runningReport
  if (Option.isNone(running)) return
  const { kind, pid } = running.value
  return yield* kind === "up"
    ? failed(
        "ALREADY_RUNNING",
        `this node is already running as process ${pid}`,
        `see "alknet status"; stop it with: kill ${pid}`
      )
    : failed("ALREADY_RUNNING", `process ${pid} keeps this vault open`, "end it with: alknet lock")
})

export interface ServeOptions<A, E, R> {
  readonly kind: NodeReport["kind"]
  readonly listen: ReadonlyArray<SocketAddress>
  /** Undefined: everything. */
  readonly only: ReadonlyArray<ServedAlpn> | undefined
  /** Undefined: what is public by nature. */
  readonly anonymous: ReadonlyArray<ServedAlpn> | undefined
  readonly config: Config
  /** Undefined: the operations that every node has. */
  readonly registry?: (own: OperationGroup<Needs>) => Layer.Layer<OperationRegistry, ModuleError, Needs>
  /** Runs when everything is there; the node ends when it does, or when it is told to. */
  readonly ready: (report: NodeReport) => Effect.Effect<A, E, R>
}

/** Runs the node. The vault of the environment is opened first, or made. */
export const serve = <A, E, R>(options: ServeOptions<A, E, R>) =>
  Effect.gen(function* () {
    yield* openVault
    const { Node, NodeIdentity } = yield* loadNode
    const { anonymous, config, kind, listen, only, registry } = options
    const isolation = config["quic-isolation"]
    const servesSsh = only === undefined || only.includes("alknet/ssh")
    const servesFiles = servesSsh || only.includes("alknet/sftp")
    const node = Node.layer<never, ModuleError>({
      version,
      listen,
      drainTimeout: DRAIN_WITHIN,
      ...(only === undefined ? {} : { only }),
      ...(anonymous === undefined ? {} : { anonymous }),
      ...(config.label === undefined ? {} : { label: config.label }),
      ...(servesFiles ? { files: yield* filesToServe(config) } : {}),
      ...(servesSsh ? { ssh: yield* sshToServe(config) } : {}),
      forward: { rules: yield* rulesOf(config) },
      ...(registry === undefined ? {} : { registry })
    }).pipe(
      Layer.provideMerge(NodeIdentity.layer),
      Layer.provide(Node.layerTransportWith(isolation === undefined ? {} : { isolation })),
      Layer.provideMerge(layerPeers),
      Layer.provide(kind === "up" ? AuditLog.layer : AuditLog.layerSilent),
      Layer.provide(kind === "up" ? layerTelemetry(config) : Layer.empty)
    )
    return yield* lend(options).pipe(Effect.provide(node))
  }).pipe(Effect.scoped)

/** `[forward]` of the config. */
const rulesOf = ({ forward }: Config) =>
  Effect.forEach(forward?.rules ?? [], (entry) =>
    Effect.mapError(Effect.fromResult(toForwardRule(entry)), (problem) => failed("CONFIG_INVALID", problem))
  )

const lend = <A, E, R>({ config, kind, ready }: ServeOptions<A, E, R>) =>
  Effect.gen(function* () {
    const home = yield* Home
    const endpoint = yield* Endpoint
    const services = yield* Effect.context<Identity | PeerStore>()
    const sessions = yield* SshSessions
    const stopped = yield* Deferred.make<void>()
    const addresses = dialableAddresses(endpoint.addresses)
    const known = advertised(config, addresses)
    const { label } = config
    const report = yield* makeReport({
      kind,
      version,
      startedAt: yield* Clock.currentTimeMillis,
      addresses: addresses.map(formatSocketAddress),
      ticket: yield* plainTicket(endpoint.nodeId, known, label)
    })
    const refused = (hint: string) => new ControlError({ reason: "Refused", path: home.controlSocket, hint })
    const control = ControlServer.layer({
      path: home.controlSocket,
      report,
      stop: Effect.asVoid(Deferred.succeed(stopped, undefined)),
      endSession: sessions.end,
      invite: ({ audience, lifeSeconds, scopes }) =>
        Effect.gen(function* () {
          const holder = audience === undefined ? undefined : yield* Effect.fromResult(nodeIdFromText(audience))
          const { grant, ticket } = yield* issueInvite({
            issuer: "operator",
            scopes,
            life: Duration.seconds(lifeSeconds),
            addresses: known,
            ...(label === undefined ? {} : { label }),
            ...(holder === undefined ? {} : { audience: holder })
          })
          return { ticket, expiresAt: grant.expiresAt }
        }).pipe(
          Effect.mapError((error) => refused(error.message)),
          Effect.provide(services)
        )
    })
    yield* Effect.raceFirst(Effect.flatMap(report, ready), Deferred.await(stopped)).pipe(Effect.provide(control))
  })
