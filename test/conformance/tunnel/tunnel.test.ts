/** `alknet/tunnel` over every transport layer. */
import { describe } from "@effect/vitest"
import { chosenNames, provider } from "../transport/registry.ts"
import { bulkCases } from "./bulkCases.ts"
import { connectionCases } from "./connectionCases.ts"
import { listenerCases } from "./listenerCases.ts"
import { socksCases } from "./socksCases.ts"

for (const name of chosenNames()) {
  describe(`tunnels over ${name}`, () => {
    connectionCases(provider(name))
    listenerCases(provider(name))
    socksCases(provider(name))
    bulkCases(provider(name))
  })
}
