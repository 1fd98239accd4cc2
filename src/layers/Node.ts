/**
 * The assembly: a whole node, wired in one place. Who we are comes from an identity (`NodeIdentity` takes it from the vault),
 * who is known from the peer store, bytes from a transport; everything else is here, from the sockets at the bottom to the
 * handlers on top.
 *
 * ```
 * CallHandler  CallClient  JoinHandler  SftpHandler    what the node serves and how it calls others
 *       TunnelHandler <- ForwardPolicy                 where peers may connect through it
 *       Dispatcher <- OperationRegistry                operations behind their gates
 *    Endpoint <- Router <- Discovery                   sockets, ALPN -> handler, node id -> address
 *  Transport   Identity <- PeerStore                   QUIC and TLS on one port; our key, our peers
 * ```
 *
 * When the node's scope closes, all handlers drain at once and for one `drainTimeout` altogether, before anything below
 * them goes.
 */
import { Clock, type Duration, Effect, Layer } from "effect"
import type { OperationGroup } from "../services/OperationGroup.ts"
import type { OperationRegistry, RegistryError } from "../services/OperationRegistry.ts"
import { RemoteFilter } from "../services/RemoteFilter.ts"
import { Router } from "../services/Router.ts"
import * as CallClientLayer from "./CallClient.ts"
import * as DispatcherLayer from "./call/Dispatcher.ts"
import * as EndpointLayer from "./Endpoint.ts"
import * as ForwardPolicyLayer from "./ForwardPolicy.ts"
import * as FolderTree from "./files/FolderTree.ts"
import * as ReadOnlyTree from "./files/ReadOnlyTree.ts"
import * as CallHandler from "./handlers/CallHandler.ts"
import * as JoinHandler from "./handlers/JoinHandler.ts"
import * as SftpHandler from "./handlers/SftpHandler.ts"
import * as SshHandler from "./handlers/SshHandler.ts"
import * as TunnelHandler from "./handlers/TunnelHandler.ts"
import * as NodeOperations from "./NodeOperations.ts"
import * as OperationRegistryLayer from "./OperationRegistry.ts"
import * as PeerStoreDiscovery from "./PeerStoreDiscovery.ts"
import * as RouterLayer from "./Router.ts"
import * as ShellLayer from "./Shell.ts"
import * as SshSessionsLayer from "./SshSessions.ts"
import * as CombinedTransport from "./transport/CombinedTransport.ts"
import * as QuicTransport from "./transport/QuicTransport.ts"
import * as TlsTransport from "./transport/TlsTransport.ts"

/** The ALPNs that a node can serve. */
export const ALPNS = ["alknet/call", "alknet/join", "alknet/sftp", "alknet/ssh", "alknet/tunnel"] as const
export type ServedAlpn = (typeof ALPNS)[number]
/** Those of them that may be open to strangers; the others need a scope. */
export const PUBLIC_ALPNS: ReadonlyArray<ServedAlpn> = ["alknet/call", "alknet/join"]

export interface FilesOptions {
  readonly root: string
  /** Nobody may change what is in it, whatever their scopes. Default false. */
  readonly readOnly?: boolean
}

export interface SshOptions
  extends SshHandler.SshHandlerOptions,
    Pick<ShellLayer.ShellOptions, "shell" | "searchPath"> {}

export interface NodeOptions<R = never, E = RegistryError> extends Pick<EndpointLayer.EndpointOptions, "listen"> {
  /** Of the program, told to known peers. */
  readonly version: string
  /** What this node calls itself to those who join it; 1 to 64 bytes. */
  readonly label?: string
  /** What is served. Default: everything. */
  readonly only?: ReadonlyArray<ServedAlpn>
  /** What strangers may use beside what is public by nature; their calls still pass every gate. Default: nothing. */
  readonly anonymous?: ReadonlyArray<ServedAlpn>
  /** The folder that SFTP shows to peers with `sftp:read`, which must be there. Default: none, and no SFTP. */
  readonly files?: FilesOptions
  /** Where peers with `ssh:forward` scopes may connect through this node. Default: nowhere. */
  readonly forward?: ForwardPolicyLayer.ForwardPolicyOptions
  /** How this node serves SSH, to peers with `ssh` scopes; files over it are those of `files`. Default: no SSH. */
  readonly ssh?: SshOptions
  /** How long what is in flight may go on after the scope closed. Default 1.5 s. */
  readonly drainTimeout?: Duration.Input
  /** Operations beside those that every node has. */
  readonly operations?: ReadonlyArray<OperationGroup<R>>
  /** Runs beside each connection that a node dials to this one for calls, and is interrupted at its end: to import from it. */
  readonly onConnection?: CallHandler.Options["onConnection"]
  /** Makes the registry, of these operations and whatever else; instead of `operations`. */
  readonly registry?: (
    own: OperationGroup<NodeOperations.Needs>
  ) => Layer.Layer<OperationRegistry, E, R | NodeOperations.Needs>
}

/** A node over an identity, a peer store and a transport. */
export const layer = <R = never, E = RegistryError>(options: NodeOptions<R, E>) => {
  const serves = (alpn: ServedAlpn) => options.only === undefined || options.only.includes(alpn)
  const registry = Layer.unwrap(
    Effect.map(Clock.currentTimeMillis, (startedAt) => {
      const own = NodeOperations.group({ version: options.version, startedAt })
      const made: Layer.Layer<OperationRegistry, E | RegistryError, R | NodeOperations.Needs> =
        options.registry?.(own) ?? OperationRegistryLayer.layer(own, ...(options.operations ?? []))
      return made
    })
  )
  const files = options.files === undefined ? undefined : layerFiles(options.files)
  const policy = ForwardPolicyLayer.layer(options.forward ?? { rules: [] })
  const handlers = Layer.mergeAll(
    CallClientLayer.layer,
    serves("alknet/call")
      ? Layer.provide(
          CallHandler.layerWith({
            access: options.anonymous?.includes("alknet/call") === true ? "anonymous" : "known-peer",
            ...(options.onConnection === undefined ? {} : { onConnection: options.onConnection })
          }),
          RemoteFilter.layerTrusted
        )
      : Layer.empty,
    serves("alknet/join")
      ? JoinHandler.layer(options.label === undefined ? {} : { label: options.label })
      : Layer.empty,
    files !== undefined && serves("alknet/sftp") ? Layer.provide(SftpHandler.layer, files) : Layer.empty,
    options.ssh !== undefined && serves("alknet/ssh")
      ? SshHandler.layer(options.ssh).pipe(
          Layer.provide([policy, ShellLayer.layer(options.ssh)]),
          Layer.provide(files ?? Layer.empty)
        )
      : Layer.empty,
    serves("alknet/tunnel") ? Layer.provide(TunnelHandler.layer(), policy) : Layer.empty
  )
  const drainTimeout = options.drainTimeout ?? "1500 millis"
  return drainFirst(drainTimeout).pipe(
    Layer.provideMerge(handlers),
    Layer.provideMerge(SshSessionsLayer.layer),
    Layer.provideMerge(DispatcherLayer.layer),
    Layer.provideMerge(registry),
    Layer.provideMerge(
      EndpointLayer.layer({ drainTimeout, ...(options.listen === undefined ? {} : { listen: options.listen }) })
    ),
    Layer.provideMerge(RouterLayer.layer),
    Layer.provideMerge(PeerStoreDiscovery.layer)
  )
}

/** The folder as a jail. */
const layerFiles = ({ readOnly, root }: FilesOptions) => {
  const folder = FolderTree.layer(root)
  return readOnly === true ? Layer.provide(ReadOnlyTree.layer, folder) : folder
}

/** QUIC, and TLS over TCP on the same port number. */
export const layerTransportWith = (options: Pick<QuicTransport.QuicTransportOptions, "isolation">) =>
  CombinedTransport.layer(QuicTransport.layer(options), TlsTransport.layer())

/** The same with the defaults: the QUIC stack runs in this thread. */
export const layerTransport = layerTransportWith({})

/** Built last, so that it is closed first. */
const drainFirst = (timeout: Duration.Input) =>
  Layer.effectDiscard(Effect.flatMap(Router, (router) => Effect.addFinalizer(() => router.drain(timeout))))
