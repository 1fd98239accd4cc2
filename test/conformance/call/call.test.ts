/** The conformance suite of the call protocol (call.md section 18) over every carrier. */
import { describe } from "@effect/vitest"
import { callProvider, chosenCallNames } from "../transport/registry.ts"
import { callerCases } from "./callerCases.ts"
import { contextCases } from "./contextCases.ts"
import { endCases } from "./endCases.ts"
import { gateCases } from "./gateCases.ts"
import { outcomeCases } from "./outcomeCases.ts"
import { streamCases } from "./streamCases.ts"
import { wireCases } from "./wireCases.ts"

const suites = [gateCases, outcomeCases, streamCases, wireCases, contextCases, callerCases, endCases]

for (const name of chosenCallNames()) {
  describe(`calls over ${name}`, () => {
    for (const suite of suites) suite(callProvider(name))
  })
}
