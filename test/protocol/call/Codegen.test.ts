/** Generated clients: what they say, that they compile, and that no document can make them say something else. */
import { execFile } from "node:child_process"
import { mkdirSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, describe, it } from "@effect/vitest"
import { Effect, Schema } from "effect"
import { generateClient } from "../../../src/protocol/call/Codegen.ts"
import { type ErasedOperation, mutation, query, subscription } from "../../../src/protocol/call/Operation.ts"
import { codecOf } from "../../../src/protocol/call/OperationCodec.ts"
import { schemaDocumentOf, specOf } from "../../../src/protocol/call/OperationSpec.ts"
import { root } from "../../house/SourceScanner.ts"
import { hostileDocuments } from "./HostileDocuments.ts"

class FileNotFound extends Schema.TaggedError<FileNotFound>()("FileNotFound", { path: Schema.String }) {
  static readonly code = "FILE_NOT_FOUND"
  static readonly httpStatus = 404
}
interface Tree {
  readonly name: string
  readonly kids: ReadonlyArray<Tree>
}
const Tree: Schema.Codec<Tree> = Schema.Struct({
  name: Schema.String,
  kids: Schema.Array(Schema.suspend(() => Tree))
}).annotate({ identifier: "Tree" })

const ReadFile = query("fs/readFile", {
  input: Schema.Struct({ path: Schema.String, limit: Schema.optionalKey(Schema.Number) }),
  output: Schema.Struct({ data: Schema.Uint8Array }),
  errors: [FileNotFound]
})
const Watch = subscription("fs/watch", {
  input: Schema.Struct({ path: Schema.String }),
  output: Schema.Union([Schema.Literals(["made", "gone"]), Tree]),
  errors: [FileNotFound]
})
class Bare extends Schema.TaggedError<Bare>()("Bare", {}) {
  static readonly code = "BARE"
}
const Ping = mutation("ping", { output: Schema.NullOr(Schema.Int), errors: [Bare] })
const Odd = query("ping/ping", {
  input: Schema.Tuple([Schema.String, Schema.Record(Schema.String, Schema.Boolean)]),
  output: Schema.Json
})
const documentsOf = (...operations: ReadonlyArray<ErasedOperation>) =>
  operations.map((operation) => schemaDocumentOf(specOf(operation)))

const folder = join(root, ".cache/codegen", String(process.pid))
const modules: Array<string> = []
mkdirSync(folder, { recursive: true })
afterAll(() => rmSync(folder, { recursive: true, force: true }))

/** Runs a generated module, whose names of packages are replaced by the sources. */
const load = (text: string): Promise<Readonly<Record<string, unknown>>> => {
  const file = join(folder, `client${modules.length}.ts`)
  modules.push(file)
  writeFileSync(file, text.replace(`from "alknet"`, `from "../../../src/services/Operation.ts"`))
  return import(file)
}

const typeCheck = () => {
  const config = { extends: join(root, "test/tsconfig.json"), include: ["*.ts"], exclude: [] }
  writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(config))
  const compiler = join(root, "node_modules/typescript/bin/tsc")
  return promisify(execFile)(process.execPath, [compiler, "--noEmit", "-p", folder], { timeout: 120_000 }).then(
    () => "",
    (error: { stdout?: string }) => error.stdout ?? "the compiler did not end"
  )
}

const isOperation = (value: unknown): value is ErasedOperation =>
  typeof value === "object" && value !== null && "kind" in value && typeof value.kind === "string"

const operationsIn = (module: Readonly<Record<string, unknown>>) => Object.values(module).filter(isOperation)

describe("a generated client", () => {
  it("reads like declarations that somebody wrote", () => {
    assert.strictEqual(
      generateClient(documentsOf(ReadFile, Watch), { nodeId: "abc123" }),
      `/**
 * The operations of the node abc123, generated from what it says of them. Generate it again instead of changing it.
 */

import { Schema } from "effect"
import { Operation } from "alknet"

export type Tree = { readonly name: string; readonly kids: ReadonlyArray<Tree> }
export const Tree: Schema.Codec<Tree> = Schema.Struct({
  name: Schema.String,
  kids: Schema.Array(Schema.suspend((): Schema.Codec<Tree> => Tree))
})

export class FileNotFound extends Schema.TaggedError<FileNotFound>()("FileNotFound", {
  path: Schema.String
}) {
  static readonly code = "FILE_NOT_FOUND"
  static readonly httpStatus = 404
}

export const FsReadFile = Operation.query("fs/readFile", {
  input: Schema.Struct({
    path: Schema.String,
    limit: Schema.optionalKey(Schema.Number)
  }),
  output: Schema.Struct({
    data: Schema.Uint8Array
  }),
  errors: [FileNotFound],
  visibility: "external"
})

export const FsWatch = Operation.subscription("fs/watch", {
  input: Schema.Struct({
    path: Schema.String
  }),
  output: Schema.Union([Schema.Literal("made"), Schema.Literal("gone"), Tree]),
  errors: [FileNotFound],
  visibility: "external"
})

/** For \`Client.make(connection, operations)\`. */
export const operations = {
  fs: {
    readFile: FsReadFile,
    watch: FsWatch
  }
} as const
`
    )
  })

  it("is the same for the same documents in any order", () => {
    const documents = documentsOf(ReadFile, Watch, Ping, Odd)
    const text = generateClient(documents)
    assert.strictEqual(generateClient(documents.toReversed()), text)
    assert.notInclude(text, "left out")
  })

  it.live("understands what the node understands: values pass through both codecs", () =>
    Effect.gen(function* () {
      const module = yield* Effect.promise(() => load(generateClient(documentsOf(ReadFile, Watch, Ping, Odd))))
      const made = new Map(operationsIn(module).map((operation) => [operation.name, operation]))
      const same = Effect.fnUntraced(function* (operation: ErasedOperation, input: unknown, output: unknown) {
        const generated = codecOf(made.get(operation.name)!)
        const codec = codecOf(operation)
        assert.strictEqual(made.get(operation.name)?.kind, operation.kind)
        assert.deepEqual(yield* codec.decodeInput(yield* generated.encodeInput(input)), input)
        assert.deepEqual(yield* generated.decodeOutput(yield* codec.encodeOutput(output)), output)
      })
      yield* same(ReadFile, { path: "/a", limit: Number.NaN }, { data: new Uint8Array([1, 2]) })
      yield* same(Watch, { path: "/a" }, { name: "a", kids: [{ name: "b", kids: [] }] })
      yield* same(Watch, { path: "/a" }, "made")
      yield* same(Ping, undefined, null)
      yield* same(Odd, ["a", { b: true }], { any: ["thing", null] })
      const bare = codecOf(made.get("ping")!).decodeError(codecOf(Ping).encodeError(new Bare({}))!)
      assert.instanceOf(bare, module["Bare"] as typeof Bare)
      const thrown = codecOf(ReadFile).encodeError(new FileNotFound({ path: "/a" }))!
      const received = codecOf(made.get("fs/readFile")!).decodeError(thrown)
      assert.instanceOf(received, module["FileNotFound"] as typeof FileNotFound)
      assert.deepInclude(received, { path: "/a" })
    })
  )

  it("what is not understood is Schema.Json, and says why; what only narrows is left out", () => {
    const outputOf = (schema: Schema.Json) =>
      /output: (.*),\n/.exec(generateClient([{ name: "a", op_type: "query", output_schema: schema }]))?.[1]
    const object = { type: "object", properties: { a: {} } }
    assert.strictEqual(outputOf({ allOf: [object, object] }), "Schema.Json /* allOf is not understood */")
    assert.strictEqual(outputOf({ ...object, if: {} }), "Schema.Json /* if is not understood */")
    assert.strictEqual(outputOf({ anyOf: [object], type: "object" }), "Schema.Json /* anyOf beside other keywords */")
    assert.strictEqual(outputOf({ enum: [{}] }), "Schema.Json /* a literal that is not primitive */")
    assert.strictEqual(outputOf({ type: "quaternion" }), "Schema.Json /* a type that is not known */")
    assert.strictEqual(outputOf({ $ref: "#/$defs/A" }), "Schema.Json /* a reference that leads nowhere */")
    const cycle = { $ref: "#/$defs/A", $defs: { A: { anyOf: [{ $ref: "#/$defs/B" }] }, B: { $ref: "#/$defs/A" } } }
    assert.strictEqual(outputOf(cycle), "Schema.Json /* a definition that is only itself */")
    assert.strictEqual(outputOf("schema"), "Schema.Json /* no schema */")
    assert.strictEqual(outputOf({ description: "x".repeat(300_000) }), "Schema.Json /* it is too long */")
    let deep: Schema.Json = true
    for (let level = 0; level < 1000; level++) deep = { type: "array", items: deep }
    assert.include(outputOf(deep), "Schema.Json /* nested too deeply */")
    assert.strictEqual(outputOf({ type: "string", pattern: "(a+)+$", maxLength: 3 }), "Schema.String")
    assert.strictEqual(outputOf({ type: "integer" }), "Schema.Finite")
    assert.strictEqual(outputOf({ type: ["string", "null"] }), "Schema.Union([Schema.String, Schema.Null])")
    assert.strictEqual(outputOf(null), "Schema.Json")
    assert.strictEqual(outputOf({ not: { type: "null" } }), "Schema.Struct({})")
    assert.strictEqual(outputOf({ not: { type: "string" } }), "Schema.Json /* not is not understood */")
  })

  it.live("hostile documents: every module runs, declares operation names only, and leaves no trace", () =>
    Effect.gen(function* () {
      for (let seed = 1; seed <= 150; seed++) {
        const documents = hostileDocuments(seed)
        const text = generateClient(documents)
        assert.strictEqual(generateClient(documents.toReversed()), text)
        const module = yield* Effect.promise(() => load(text))
        const known = new Set(documents.map((document) => (document as { readonly name: Schema.Json }).name))
        for (const { name } of operationsIn(module)) assert.isTrue(known.has(name))
      }
      assert.isFalse("escaped" in globalThis)
      assert.isFalse("escaped" in {})
    })
  )

  it.live(
    "every one of these modules type-checks",
    () =>
      Effect.gen(function* () {
        assert.isAbove(modules.length, 150)
        assert.strictEqual(yield* Effect.promise(typeCheck), "")
      }),
    120_000
  )
})
