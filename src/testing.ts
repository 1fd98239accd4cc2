/**
 * `alknet/testing`: what programs that are built on Alknet need for their own tests. A network in one process
 * (`MemoryTransport`), and throw-away node keys.
 */
export { makeEphemeralIdentity } from "./layers/LocalIdentity.ts"
export * as MemoryTransport from "./layers/transport/MemoryTransport.ts"
