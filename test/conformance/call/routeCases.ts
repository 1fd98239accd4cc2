/** Conformance of where a composed name is found in one node, and of sessions (call.md section 11). */
import { assert } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { SessionSource } from "../../../src/services/SessionSource.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { Compose, composing, open, saying, sessionLayer } from "./composing.ts"
import { both, casesOver } from "./kit.ts"

export const routeCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "CALL-089 routing: the session first, then the registry with its internal operations; one env and one session per tree",
    Effect.gen(function* () {
      const { asked, below } = yield* sessionLayer(saying("c/both", "session"))
      const groups = [
        composing({ scopedEnv: ["c/both", "c/curated", "c/compose"] }),
        saying("c/both", "curated"),
        saying("c/curated", "curated")
      ]
      const { connection } = yield* both(provider, { server: { groups, below } })
      assert.strictEqual(yield* connection.call(Compose, { name: "c/both" }), "session")
      assert.strictEqual(yield* connection.call(Compose, { name: "c/curated" }), "curated")
      const nested = { name: "c/compose", input: { name: "c/compose", input: { name: "c/both" } } }
      assert.strictEqual(yield* connection.call(Compose, nested), "session")
      assert.lengthOf(asked, 3)
    })
  )

  check(
    "CALL-089 a session source that breaks counts as none",
    Effect.gen(function* () {
      const below = Layer.succeed(SessionSource, SessionSource.of({ overlay: () => Effect.die("no session") }))
      const groups = [composing({ scopedEnv: ["c/curated"] }), saying("c/curated", "curated")]
      const { connection, server } = yield* both(provider, { server: { groups, below } })
      assert.strictEqual(yield* connection.call(Compose, { name: "c/curated" }), "curated")
      assert.isTrue(server.logs.some((line) => line.includes("session")))
    })
  )

  check(
    "CALL-083 operations of a session are NOT_FOUND from a wire, whatever their declaration says",
    Effect.gen(function* () {
      const group = OperationGroup.make(
        Operation.implement(Operation.query("s/open", { ...open, visibility: "external" }), () => Effect.succeed("no"))
      )
      const { below } = yield* sessionLayer(group)
      const { connection } = yield* both(provider, {
        server: { groups: [composing({ scopedEnv: ["s/open"] })], below }
      })
      assert.strictEqual((yield* Effect.flip(connection.call("s/open", {}))).code, "NOT_FOUND")
      assert.strictEqual(yield* connection.call(Compose, { name: "s/open" }), "no")
      const listed = yield* connection.call("services/list", {})
      assert.notInclude(JSON.stringify(listed), "s/open")
    })
  )
}
