import { assert, it } from "@effect/vitest"
import { chosenNames, provider } from "./registry.ts"

it("a transport name that is unknown fails the run", () => {
  assert.throws(() => provider("carrier-pigeon"), /no transport provider "carrier-pigeon"; there are: memory, /)
})

it("every transport layer that a node can use is in the registry", () => {
  for (const name of ["memory", "tls", "quic", "faulty"]) assert.strictEqual(provider(name).name, name)
  for (const name of chosenNames()) assert.strictEqual(provider(name).name, name)
})
