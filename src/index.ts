/**
 * `alknet`: what a node is made of, and the layers to make it from. Nothing that is not exported here is public.
 *
 * Services are exported by name. A module of layers is exported as a whole, so that a composition says what it takes:
 * `QuicTransport.layer`. The vault is not here: only the assembly of a node and the program may reach it.
 */

// The words of the protocols: names, keys, addresses, codes.
export { Alpn } from "./protocol/Alpn.ts"
export { CloseCode, closeCodeName } from "./protocol/CloseCode.ts"
export { formatSocketAddress, parseSocketAddress, type SocketAddress } from "./protocol/SocketAddress.ts"
export { Fingerprint, fingerprintOfNode } from "./protocol/identity/Fingerprint.ts"
export { NodeId, type PeerKey } from "./protocol/identity/NodeId.ts"
export { AccessControl } from "./protocol/call/AccessControl.ts"
export { CallError } from "./protocol/call/CallError.ts"
export { CALL_PATH, CALL_SUBPROTOCOL, offeredSubprotocols } from "./protocol/call/Upgrade.ts"
export { type GenerateOptions, generateClient } from "./protocol/call/Codegen.ts"

// A node and how it reaches others.
export * from "./services/Transport.ts"
export * from "./services/Endpoint.ts"
export * from "./services/Discovery.ts"
export * from "./services/Router.ts"

// Who is who, and who may do what.
export * from "./services/Identity.ts"
export * from "./services/PeerStore.ts"
export * from "./services/AuditLog.ts"
export * from "./services/Capabilities.ts"
export * from "./services/CredentialStore.ts"
export { makeLocalIdentity, type NodeKeyPair } from "./layers/LocalIdentity.ts"

// Calls: operations, what serves them, what asks for them.
export * from "./services/Operation.ts"
export * from "./services/OperationGroup.ts"
export * from "./services/OperationContext.ts"
export * from "./services/OperationEnv.ts"
export * from "./services/SessionSource.ts"
export * from "./services/ImportOverlay.ts"
export * from "./services/PeerGraph.ts"
export {
  type Admission,
  type CallerView,
  OperationRegistry,
  type Registration as OperationRegistration,
  RegistryError
} from "./services/OperationRegistry.ts"
export * from "./services/Ownership.ts"
export * from "./services/RemoteFilter.ts"
export * from "./services/Dispatcher.ts"
export * from "./services/CallHandler.ts"
export * from "./services/CallClient.ts"
export * from "./services/CallConnection.ts"
export * from "./services/CallPeers.ts"
export * from "./services/CallLimits.ts"

// The assembly: a whole node over an identity, a peer store and a transport.
export * as Node from "./layers/Node.ts"

// Files: the tree that peers see, SFTP on both sides.
export * from "./services/FileTree.ts"
export * as FolderTree from "./layers/files/FolderTree.ts"
export * as MemoryTree from "./layers/files/MemoryTree.ts"
export * as ReadOnlyTree from "./layers/files/ReadOnlyTree.ts"
export * as SftpServer from "./layers/sftp/Server.ts"
export * as SftpClient from "./layers/sftp/Client.ts"
export * as SftpTransfer from "./layers/sftp/Transfer.ts"
export * as SftpHandler from "./layers/handlers/SftpHandler.ts"

// Forwarding: where peers may connect through a node, and tunnels and a SOCKS5 proxy that use it.
export * from "./services/ForwardPolicy.ts"
export { type ForwardRule, parseForwardTarget } from "./protocol/forward/ForwardRule.ts"
export { type ForwardDestination, type ForwardSpec, parseForwardSpec } from "./protocol/forward/ForwardSpec.ts"
export * as ForwardPolicyLayer from "./layers/ForwardPolicy.ts"
export * as TunnelHandler from "./layers/handlers/TunnelHandler.ts"
export * as TunnelClient from "./layers/tunnel/TunnelClient.ts"
export * as TunnelForwards from "./layers/tunnel/Forwards.ts"
export * as Socks5 from "./layers/Socks5.ts"

// What it tells to monitoring.
export * as Telemetry from "./layers/Telemetry.ts"

// The layers it is made of.
export * as QuicTransport from "./layers/transport/QuicTransport.ts"
export * as TlsTransport from "./layers/transport/TlsTransport.ts"
export * as CombinedTransport from "./layers/transport/CombinedTransport.ts"
export * as EndpointLayer from "./layers/Endpoint.ts"
export * as RouterLayer from "./layers/Router.ts"
export * as IdentityLayer from "./layers/Identity.ts"
export * as PeerStoreDiscovery from "./layers/PeerStoreDiscovery.ts"
export * as SqlitePeerStore from "./layers/store/SqlitePeerStore.ts"
export * as MemoryPeerStore from "./layers/store/MemoryPeerStore.ts"
export * as SqliteCredentialStore from "./layers/store/SqliteCredentialStore.ts"
export * as MemoryCredentialStore from "./layers/store/MemoryCredentialStore.ts"
export * as OperationRegistryLayer from "./layers/OperationRegistry.ts"
export * as ReloadingRegistry from "./layers/ReloadingRegistry.ts"

// Operations as modules: load a user's file, again after each change, and serve what it exports.
export * from "./services/ModuleError.ts"
export * as ModuleLoader from "./layers/ModuleLoader.ts"
export * as OperationModule from "./layers/OperationModule.ts"
export * as SessionOverlayLayer from "./layers/SessionOverlay.ts"
export * as PeerGraphLayer from "./layers/PeerGraph.ts"
export * as ImportFrom from "./layers/ImportFrom.ts"
export * as DispatcherLayer from "./layers/call/Dispatcher.ts"
export * as WebSocketClient from "./layers/call/WebSocketClient.ts"
export * as WebSocketUpgrade from "./layers/call/WebSocketUpgrade.ts"
export * as CallHandlerLayer from "./layers/handlers/CallHandler.ts"
export * as JoinHandler from "./layers/handlers/JoinHandler.ts"
export * as CallClientLayer from "./layers/CallClient.ts"
export * as CallPeersLayer from "./layers/CallPeers.ts"
export * as Client from "./layers/Client.ts"
export * as NodeOperations from "./layers/NodeOperations.ts"
export * as Invite from "./layers/Invite.ts"
export * as Join from "./layers/Join.ts"
export * as ApiKeyIssue from "./layers/ApiKeyIssue.ts"

// A running node, as other programs of the same user reach it.
export * from "./services/Control.ts"
export * as ControlServer from "./layers/ControlServer.ts"
export * as ControlClient from "./layers/ControlClient.ts"
export * as ControlReport from "./layers/ControlReport.ts"
export * as ConfigFile from "./layers/ConfigFile.ts"

// SSH: who is logged in, what runs, and the server.
export * from "./services/Shell.ts"
export * from "./services/SshSessions.ts"
export * as ShellLayer from "./layers/Shell.ts"
export * as SshSessionsLayer from "./layers/SshSessions.ts"
export * as SshHandler from "./layers/handlers/SshHandler.ts"
