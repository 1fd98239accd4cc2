/**
 * `alknet`: what a node is made of, and the layers to make it from. Nothing that is not exported here is public.
 *
 * Services are exported by name; a module of layers is exported as a whole, so that a composition reads
 * `Router.layer`-like where it stands: `RouterLayer.layer`.
 */

// The words of the protocols: names, keys, addresses, codes.
export { Alpn } from "./protocol/Alpn.ts"
export { CloseCode, closeCodeName } from "./protocol/CloseCode.ts"
export { Fingerprint } from "./protocol/identity/Fingerprint.ts"
export { NodeId, type PeerKey } from "./protocol/identity/NodeId.ts"
export { formatSocketAddress, parseSocketAddress, type SocketAddress } from "./protocol/SocketAddress.ts"

// The services: contracts, with their types and errors.
export * from "./services/Endpoint.ts"
export * from "./services/Identity.ts"
export * from "./services/PeerStore.ts"
export * from "./services/Router.ts"
export * from "./services/Transport.ts"
