/**
 * The conformance suite of the `Transport` contract (transport.md section 7): every case that concerns a layer, over that
 * layer. Cases that only one stack can show are beside its own tests.
 */
import { describe } from "@effect/vitest"
import { adapterCases } from "./adapterCases.ts"
import { connectionCases } from "./connectionCases.ts"
import type { TransportProvider } from "./provider.ts"
import { routerCases } from "./routerCases.ts"
import { streamCases } from "./streamCases.ts"

export const transportSuite = (provider: TransportProvider): void => {
  describe(`transport ${provider.name}`, () => {
    streamCases(provider)
    connectionCases(provider)
    adapterCases(provider)
    routerCases(provider)
  })
}
