/** `alknet codegen`: what it writes type-checks, and a program that uses it talks to the node that it was made of. */
import { execFile } from "node:child_process"
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { promisify } from "node:util"
import { afterAll, assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { root } from "../house/SourceScanner.ts"
import { alknet, arrangeServed, errorOf, privateFolder } from "./Alknet.ts"

const PATIENT = 180_000

const served = `
import { AccessControl, Operation, OperationGroup } from "alknet"
import { Effect, Schema, Stream } from "effect"

class Unknown extends Schema.TaggedError<Unknown>()("Unknown", { name: Schema.String }) {
  static readonly code = "UNKNOWN"
}
const open = { access: AccessControl.open, visibility: "external" } as const
const Size = Operation.query("shop/size", {
  input: Schema.Struct({ name: Schema.String }),
  output: Schema.Struct({ width: Schema.Int, note: Schema.optionalKey(Schema.String) }),
  errors: [Unknown],
  ...open
})
const Watch = Operation.subscription("shop/watch", { output: Schema.Struct({ n: Schema.Int }), ...open })
const Secret = Operation.query("vip/secret", { output: Schema.String, visibility: "external", access: AccessControl.scopes("vip") })

export const shop = OperationGroup.make(
  Operation.implement(Size, ({ name }) => name === "desk" ? Effect.succeed({ width: 80 }) : Effect.fail(new Unknown({ name }))),
  Operation.implement(Watch, Stream.make({ n: 1 }, { n: 2 })),
  Operation.implement(Secret, Effect.succeed("none of yours"))
)
`

const client = `
import { AuditLog, CallClient, Client, IdentityLayer, MemoryPeerStore, Node, NodeId } from "alknet"
import { makeEphemeralIdentity } from "alknet/testing"
import { Effect, Layer, Schema, Stream } from "effect"
import { operations } from "./shop.ts"

const [nodeId = "", host = "", port = ""] = process.argv.slice(2)
const target = { nodeId: Schema.decodeSync(NodeId)(nodeId), addresses: [{ host, port: Number(port) }] }

const program = Effect.gen(function* () {
  const connection = yield* (yield* CallClient).connect(target)
  const { shop } = Client.make(connection, operations)
  const { width } = yield* shop.size({ name: "desk" })
  const failed = yield* Effect.flip(shop.size({ name: "chair" }))
  const items = yield* Stream.runCollect(shop.watch())
  const numbers: ReadonlyArray<number> = items.map(({ n }) => n)
  // @ts-expect-error a number is no name
  const wrong = () => shop.size({ name: 7 })
  return { width, failed: failed._tag, numbers, wrong: typeof wrong }
})

const node = Node.layer({ version: "1.0.0", only: [] }).pipe(
  Layer.provide(Node.layerTransport),
  Layer.provide([AuditLog.layerSilent, Layer.unwrap(Effect.map(makeEphemeralIdentity, IdentityLayer.layer))]),
  Layer.provide(MemoryPeerStore.layer())
)
console.log(JSON.stringify(await Effect.runPromise(program.pipe(Effect.scoped, Effect.provide(node)))))
`

const arrange = arrangeServed(served, ["--anonymous", "call"])

class Served extends Context.Service<Served, Effect.Success<typeof arrange>>()("test/Served") {
  static readonly layer = Layer.effect(this, arrange)
}

/** Inside the project, so that the module and its program find packages. */
const folder = join(root, ".cache/codegen", String(process.pid))
mkdirSync(folder, { recursive: true })
afterAll(() => rmSync(folder, { recursive: true, force: true }))

const run = promisify(execFile)
const output = (...arguments_: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.promise(() =>
    run(process.execPath, arguments_, { cwd: folder, timeout: PATIENT }).then(
      ({ stdout }) => stdout,
      (error: { readonly stdout: string; readonly stderr: string }) =>
        Promise.reject(new Error(error.stdout + error.stderr))
    )
  )

/** The sources stand in for the package. */
const fromSources = (text: string): string =>
  text
    .replaceAll(/from "alknet"/g, 'from "../../../src/index.ts"')
    .replaceAll(/from "alknet\/testing"/g, 'from "../../../src/testing.ts"')

layer(Served.layer, { excludeTestServices: true, timeout: PATIENT })("codegen", (it) => {
  it.effect(
    "writes a module that type-checks and calls the node with its types and errors",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Served
        const ran = yield* alknet(["--home", b, "codegen", "a"])
        assert.deepStrictEqual([ran.code, ran.stderr], [0, ""])
        writeFileSync(join(folder, "shop.ts"), fromSources(ran.stdout))
        writeFileSync(join(folder, "client.ts"), fromSources(client))
        const tsconfig = { extends: join(root, "test/tsconfig.json"), include: ["*.ts"], exclude: [] }
        writeFileSync(join(folder, "tsconfig.json"), JSON.stringify(tsconfig))
        yield* output(join(root, "node_modules/typescript/bin/tsc"), "--noEmit", "-p", folder)
        const [host = "", port = ""] = node.ready.addresses[0]!.split(":")
        const printed = yield* output(join(folder, "client.ts"), node.ready.nodeId, host, port)
        assert.deepStrictEqual(JSON.parse(printed), {
          width: 80,
          failed: "Unknown",
          numbers: [1, 2],
          wrong: "function"
        })
      }),
    PATIENT
  )

  it.effect(
    "writes what this node may call, or what of it was named",
    () =>
      Effect.gen(function* () {
        const { b } = yield* Served
        const all = JSON.parse((yield* alknet(["--home", b, "codegen", "a", "--json"])).stdout)
        assert.deepStrictEqual(all.operations, ["node/info", "node/ping", "shop/size", "shop/watch"])
        assert.notInclude(all.module, "vip/secret")
        const some = JSON.parse((yield* alknet(["--home", b, "codegen", "a", "shop", "node/ping", "--json"])).stdout)
        assert.deepStrictEqual(some.operations, ["node/ping", "shop/size", "shop/watch"])
        const none = yield* alknet(["--home", b, "codegen", "a", "shop/size", "vip/secret", "--json"])
        assert.deepStrictEqual([none.code, none.stdout, errorOf(none).code], [3, "", "NOT_FOUND"])
      }),
    PATIENT
  )

  it.effect(
    "with --out replaces a file whole, and leaves it as it was where something fails",
    () =>
      Effect.gen(function* () {
        const { b, folder: own } = yield* Served
        const target = join(privateFolder(own, "out"), "shop.ts")
        writeFileSync(target, "before")
        chmodSync(target, 0o640)
        const failed = yield* alknet(["--home", b, "codegen", "a", "nothing/here", "-o", target])
        assert.deepStrictEqual([failed.code, readFileSync(target, "utf8")], [3, "before"])
        const ran = yield* alknet(["--home", b, "codegen", "a", "shop", "-o", target, "--json"])
        assert.deepStrictEqual(JSON.parse(ran.stdout), { path: target, operations: ["shop/size", "shop/watch"] })
        assert.include(readFileSync(target, "utf8"), '"shop/size"')
        assert.deepStrictEqual(readdirSync(join(own, "out")), ["shop.ts"])
        const folderTaken = yield* alknet(["--home", b, "codegen", "a", "-o", join(own, "out"), "--json"])
        assert.deepStrictEqual([folderTaken.code, errorOf(folderTaken).code], [1, "FILE_UNWRITABLE"])
        const absent = join(own, "absent/shop.ts")
        assert.strictEqual(
          errorOf(yield* alknet(["--home", b, "codegen", "a", "-o", absent, "--json"])).code,
          "FILE_UNWRITABLE"
        )
        assert.isFalse(existsSync(absent))
      }),
    PATIENT
  )

  it.effect(
    "ops shows people what it takes and gives, and keeps its shape for programs",
    () =>
      Effect.gen(function* () {
        const { b } = yield* Served
        const all = yield* alknet(["--home", b, "ops", "a"])
        assert.match(all.stdout, /^OPERATION +KIND +ACCESS +TAKES +GIVES$/m)
        assert.match(
          all.stdout,
          /^shop\/size +query +everybody let in +\{ name: string \} +\{ width: integer, note\?: string \}$/m
        )
        const one = yield* alknet(["--home", b, "ops", "a", "shop/size"])
        assert.deepStrictEqual(one.stdout.split("\n").slice(0, 11), [
          "operation  shop/size",
          "kind       query",
          "access     everybody let in",
          "takes",
          "  {",
          "    name: string",
          "  }",
          "gives",
          "  {",
          "    width: integer",
          "    note?: string"
        ])
        assert.include(one.stdout, "  UNKNOWN (500)\n    {\n      name: string\n    }\n")
        const json = JSON.parse((yield* alknet(["--home", b, "ops", "a", "shop/size", "--json"])).stdout)
        assert.deepStrictEqual(Object.keys(json).slice(0, 3), ["name", "namespace", "op_type"])
        const hidden = yield* alknet(["--home", b, "ops", "a", "vip/secret", "--json"])
        assert.deepStrictEqual([hidden.code, errorOf(hidden).code], [3, "NOT_FOUND"])
      }),
    PATIENT
  )
})
