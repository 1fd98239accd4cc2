/** The conformance suite of the call protocol (call.md section 18) over every carrier. */
import { describe } from "@effect/vitest"
import { chosenNames, provider } from "../transport/registry.ts"
import { flowCases } from "./flowCases.ts"
import { gateCases } from "./gateCases.ts"

for (const name of chosenNames()) {
  describe(`calls over ${name}`, () => {
    gateCases(provider(name))
    flowCases(provider(name))
  })
}
