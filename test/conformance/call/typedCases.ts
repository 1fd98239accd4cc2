/** Conformance of typed clients, written by hand and generated from what a node says of its operations (call.md section 10). */
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert } from "@effect/vitest"
import { Effect, Schema, Stream } from "effect"
import * as Client from "../../../src/layers/Client.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { generateClient } from "../../../src/protocol/call/Codegen.ts"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { root } from "../../house/SourceScanner.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { both, casesOver } from "./kit.ts"

class Missing extends Schema.TaggedError<Missing>()("Missing", { path: Schema.String }) {
  static readonly code = "MISSING"
}
const open = { visibility: "external", access: AccessControl.open } as const
const Path = Schema.Struct({ path: Schema.String })
const Read = Operation.query("fs/read", {
  input: Path,
  output: Schema.Struct({ data: Schema.Uint8Array }),
  errors: [Missing],
  ...open
})
const Lines = Operation.subscription("fs/lines", { input: Path, output: Schema.Number, errors: [Missing], ...open })
const Touch = Operation.mutation("fs/touch", { output: Schema.Void, ...open })

const files = OperationGroup.make(
  Operation.implement(Read, ({ path }) =>
    path === "/none" ? Effect.fail(new Missing({ path })) : Effect.succeed({ data: new TextEncoder().encode(path) })
  ),
  Operation.implement(Lines, ({ path }) =>
    Stream.concat(Stream.make(1, Number.POSITIVE_INFINITY), Stream.fail(new Missing({ path })))
  ),
  Operation.implement(Touch, Effect.void)
)

type Generated = typeof written

const written = { fs: { read: Read, lines: Lines, touch: Touch } }

/** What a user of the generated module has: it is written to a file and loaded, with the sources in place of the package. */
const load = (text: string) =>
  Effect.gen(function* () {
    const folder = join(root, ".cache/generated", crypto.randomUUID())
    mkdirSync(folder, { recursive: true })
    yield* Effect.addFinalizer(() => Effect.sync(() => rmSync(folder, { recursive: true })))
    const file = join(folder, "client.ts")
    writeFileSync(file, text.replace(`from "alknet"`, `from "../../../src/services/Operation.ts"`))
    const module: { readonly operations: Generated } = yield* Effect.promise(() => import(file))
    return module.operations
  })

const discover = (connection: CallConnection["Service"]) =>
  Effect.gen(function* () {
    const listed = (yield* connection.call("services/list", null)) as { operations: ReadonlyArray<{ name: string }> }
    return yield* Effect.forEach(listed.operations, ({ name }) => connection.call("services/schema", { name }))
  })

const use = (client: Client.Client<Generated>) =>
  Effect.gen(function* () {
    assert.deepEqual(yield* client.fs.read({ path: "/a" }), { data: new TextEncoder().encode("/a") })
    const missing = yield* Effect.flip(client.fs.read({ path: "/none" }))
    assert.deepInclude(missing, { _tag: "Missing", path: "/none" })
    yield* client.fs.touch()
    const items: Array<number> = []
    const failed = yield* client.fs.lines({ path: "/b" }).pipe(
      Stream.runForEach((item) => Effect.sync(() => items.push(item))),
      Effect.flip
    )
    assert.deepStrictEqual(items, [1, Number.POSITIVE_INFINITY])
    assert.deepInclude(failed, { _tag: "Missing", path: "/b" })
    // @ts-expect-error a path is text
    const wrong = yield* Effect.flip(client.fs.read({ path: 5 }))
    assert.deepInclude(wrong, { code: "INVALID_INPUT", origin: "local" })
  })

export const typedCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)

  check(
    "CALL-022 a typed client calls and subscribes, and gets declared errors as instances of their classes",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [files] } })
      yield* use(Client.make(connection, written))
      const missing = yield* Effect.flip(connection.call(Read, { path: "/none" }))
      assert.instanceOf(missing, Missing)
    })
  )

  check(
    "CALL-092 what the node says of its operations is enough for a client that is generated from it",
    Effect.gen(function* () {
      const { connection } = yield* both(provider, { server: { groups: [files] } })
      const operations = yield* load(generateClient(yield* discover(connection)))
      yield* use(Client.make(connection, operations))
    })
  )
}
