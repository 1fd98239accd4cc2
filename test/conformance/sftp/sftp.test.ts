/** `alknet/sftp` over every transport layer. */
import { describe } from "@effect/vitest"
import { chosenNames, provider } from "../transport/registry.ts"
import { sessionCases } from "./sessionCases.ts"

for (const name of chosenNames()) {
  describe(`files over ${name}`, () => {
    sessionCases(provider(name))
  })
}
