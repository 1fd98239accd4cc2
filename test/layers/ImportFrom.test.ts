import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { IMPORT_DESCRIPTION_MAX, IMPORT_TOTAL_MAX, importFrom } from "../../src/layers/ImportFrom.ts"
import { document, handPeer, listOf } from "../conformance/call/handPeer.ts"
import { serving } from "../conformance/call/kit.ts"
import { provider } from "../conformance/transport/registry.ts"

it.live("CALL-100 descriptions that are too long together fail the import, and nothing is installed", () =>
  Effect.gen(function* () {
    const { connection, dialed } = yield* serving(provider("memory"))
    const peer = yield* handPeer(dialed, true)
    const text = "x".repeat(IMPORT_DESCRIPTION_MAX - 1_000)
    const names = Array.from({ length: Math.ceil(IMPORT_TOTAL_MAX / text.length) + 1 }, (_, index) => `w/${index}`)
    peer.says.list = listOf(...names)
    peer.says.schema = (name) => document(name, "query", { input_schema: text })
    const error = yield* Effect.flip(importFrom(connection))
    assert.deepInclude(error, { _tag: "AdapterError", reason: "SchemaParse" })
    assert.include(error.message, `${IMPORT_TOTAL_MAX}`)
    assert.deepStrictEqual(connection.imports.names(), [])
    const some = names.slice(0, 10)
    assert.deepStrictEqual(yield* importFrom(connection, { filter: (name) => some.includes(name) }), some)
  })
)

it.live(
  "CALL-100 a failure of discovery says which operation, which code and what the other node says, cut to a length",
  () =>
    Effect.gen(function* () {
      const { connection, dialed } = yield* serving(provider("memory"))
      const peer = yield* handPeer(dialed, true)
      peer.says.list = listOf("w/a")
      peer.says.schema = () => ({ code: "FORBIDDEN", message: "m".repeat(10_000), retryable: false })
      const error = yield* Effect.flip(importFrom(connection))
      assert.deepInclude(error, { reason: "DiscoveryFailed", operation: "w/a", code: "FORBIDDEN" })
      assert.include(error.message, "operation w/a: services/schema: FORBIDDEN mmm")
      assert.isBelow(error.message.length, 300)
    })
)
