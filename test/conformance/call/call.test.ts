/** The conformance suite of the call protocol (call.md section 18) over every carrier. */
import { describe } from "@effect/vitest"
import { callProvider, chosenCallNames } from "../transport/registry.ts"
import { backpressureCases } from "./backpressureCases.ts"
import { callerCases } from "./callerCases.ts"
import { cascadeCases } from "./cascadeCases.ts"
import { compositionCases } from "./compositionCases.ts"
import { contextCases } from "./contextCases.ts"
import { endCases } from "./endCases.ts"
import { gateCases } from "./gateCases.ts"
import { importCases } from "./importCases.ts"
import { limitCases } from "./limitCases.ts"
import { outcomeCases } from "./outcomeCases.ts"
import { ownerCases } from "./ownerCases.ts"
import { peerCases } from "./peerCases.ts"
import { routeCases } from "./routeCases.ts"
import { streamCases } from "./streamCases.ts"
import { subscriberCases } from "./subscriberCases.ts"
import { subscriptionCases } from "./subscriptionCases.ts"
import { telemetryCases } from "./telemetryCases.ts"
import { typedCases } from "./typedCases.ts"
import { wireCases } from "./wireCases.ts"

const suites = [
  compositionCases,
  routeCases,
  importCases,
  peerCases,
  cascadeCases,
  gateCases,
  ownerCases,
  typedCases,
  outcomeCases,
  streamCases,
  wireCases,
  contextCases,
  limitCases,
  subscriptionCases,
  subscriberCases,
  backpressureCases,
  callerCases,
  endCases,
  telemetryCases
]

for (const name of chosenCallNames()) {
  describe(`calls over ${name}`, () => {
    for (const suite of suites) suite(callProvider(name))
  })
}
