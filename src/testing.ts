/**
 * `alknet/testing`: what programs that are built on Alknet need for their own tests. A network in one process
 * (`MemoryTransport`), faults with a seed over any transport or below QUIC (`FaultyTransport`), and throw-away node keys.
 */
export { makeEphemeralIdentity } from "./layers/LocalIdentity.ts"
export * as FaultyTransport from "./layers/transport/FaultyTransport.ts"
export * as MemoryTransport from "./layers/transport/MemoryTransport.ts"
