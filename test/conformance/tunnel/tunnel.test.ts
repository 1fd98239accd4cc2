/** `alknet/tunnel` over every transport layer. */
import { describe } from "@effect/vitest"
import { chosenNames, provider } from "../transport/registry.ts"
import { connectionCases } from "./connectionCases.ts"

for (const name of chosenNames()) {
  describe(`tunnels over ${name}`, () => {
    connectionCases(provider(name))
  })
}
