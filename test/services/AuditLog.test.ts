import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { TestConsole } from "effect/testing"
import { AuditLog } from "../../src/services/AuditLog.ts"

const opened = { event: "conn.open", conn: "1", remote: undefined, transport: "memory", alpn: "alknet/call" } as const
const line = "1970-01-01T00:00:00.000Z alknet conn.open conn=1 remote=- port=- transport=memory alpn=alknet/call"

it.effect("lines go to standard error with the time of the clock", () =>
  Effect.gen(function* () {
    yield* AuditLog.use((log) => log.record(opened))
    assert.deepStrictEqual(yield* TestConsole.errorLines, [line])
    assert.deepStrictEqual(yield* TestConsole.logLines, [])
  }).pipe(Effect.provide(AuditLog.layer))
)

it.effect("lines can be collected, or not be written at all", () =>
  Effect.gen(function* () {
    const lines: Array<string> = []
    yield* AuditLog.use((log) => log.record(opened)).pipe(Effect.provide(AuditLog.layerCollect(lines)))
    yield* AuditLog.use((log) => log.record(opened)).pipe(Effect.provide(AuditLog.layerSilent))
    assert.deepStrictEqual(lines, [line])
    assert.deepStrictEqual(yield* TestConsole.errorLines, [])
  })
)
