/** Conformance of operations about what somebody owns: over a wire, listed, and composed (call.md section 9). */
import { assert } from "@effect/vitest"
import { Effect, Layer, Schema } from "effect"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { Ownership } from "../../../src/services/Ownership.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { composing } from "./composing.ts"
import { outcome } from "./gallery.ts"
import { both, casesOver, principal, spy } from "./kit.ts"

const Exec = Operation.mutation("box/exec", {
  input: Schema.Struct({ box: Schema.Struct({ id: Schema.String }), command: Schema.String }),
  output: Schema.String,
  visibility: "external",
  access: AccessControl.resource("box", "exec").owned("box.id")
})

const owned = new Map([
  ["client", "mine"],
  ["robot", "robots"]
])

/** Asked elsewhere, so never finished at once. */
const owners = Layer.succeed(
  Ownership,
  Ownership.of({
    owns: ({ id }, type, box, action) =>
      Effect.as(Effect.yieldNow, type === "box" && action === "exec" && box === owned.get(id))
  })
)

const authority = { id: "robot", scopes: [], resources: { box: ["exec"] } }

const boxes = () => {
  const ran = spy()
  const exec = Operation.implement(Exec, ({ box, command }) => Effect.as(ran.touch(), `${box.id}: ${command}`))
  return { ran, groups: [OperationGroup.make(exec), composing({ authority, scopedEnv: ["box/exec"] })] }
}

const missing = "FORBIDDEN missing resource: box/exec"
const boxOf = (id: unknown) => ({ box: { id }, command: "ls" }) as Schema.Json

export const ownerCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "CALL-043 who owns what the input names is let through; others are FORBIDDEN before anything is decoded",
    Effect.gen(function* () {
      const { groups, ran } = boxes()
      const { client, connection, server } = yield* both(provider, { server: { groups, below: owners } })
      assert.strictEqual(yield* connection.call(Exec, { box: { id: "mine" }, command: "ls" }), "mine: ls")
      server.people.byKey.set(client.nodeId, { ...principal("client", "*"), resources: { box: ["exec"] } })
      for (const input of [boxOf("robots"), boxOf(5), boxOf(null), { command: 5 }, null, []]) {
        assert.strictEqual(yield* outcome(connection.call("box/exec", input)), missing)
      }
      assert.strictEqual(ran.state.count, 1)
      const bad = yield* outcome(connection.call("box/exec", { box: { id: "mine" } }))
      assert.match(bad, /^INVALID_INPUT invalid input: command: /)
      const schema = yield* connection.call("services/schema", { name: "box/exec" })
      assert.deepNestedInclude(schema, { "access_control.resource_action": "exec" })
    })
  )

  check(
    "CALL-087 composed it is the authority that must own it",
    Effect.gen(function* () {
      const { groups, ran } = boxes()
      const { connection } = yield* both(provider, { server: { groups, below: owners } })
      const compose = (id: string) => connection.call("c/compose", { name: "box/exec", input: boxOf(id) })
      assert.strictEqual(yield* compose("robots"), "robots: ls")
      assert.strictEqual(yield* compose("mine"), missing)
      assert.strictEqual(ran.state.count, 1)
    })
  )

  check(
    "CALL-074 a node without an Ownership goes on by what the identity holds",
    Effect.gen(function* () {
      const { groups } = boxes()
      const { connection } = yield* both(provider, { server: { groups } })
      assert.strictEqual(yield* outcome(connection.call("box/exec", boxOf("mine"))), missing)
      const composed = yield* connection.call("c/compose", { name: "box/exec", input: boxOf("mine") })
      assert.strictEqual(composed, "mine: ls")
    })
  )
}
