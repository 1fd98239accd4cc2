/** `alknet serve-ops`: a module as a user writes it, in a folder that has nothing of the project. */
import { mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber } from "effect"
import { root } from "../house/SourceScanner.ts"
import { alknet, arrangeServed, errorOf, privateFolder, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 180_000

const moduleOf = (answer: string) => `
import { AccessControl, Operation, OperationContext, OperationGroup } from "alknet"
import { Context, Effect, Layer, Schema, Stream } from "effect"
import { suffix } from "./suffix.ts"

class Words extends Context.Service<Words, { readonly answer: string }>()("test/Words") {}

/** What the handlers need. */
export const layer = Layer.effect(Words, Effect.acquireRelease(
  Effect.succeed({ answer: ${JSON.stringify(answer)} + suffix }),
  ({ answer }) => Effect.logInfo("closed " + answer)
))

export const Who = Operation.query("words/who", {
  output: Schema.Struct({ caller: Schema.String, answer: Schema.String }),
  access: AccessControl.open,
  visibility: "external"
})
export const Watch = Operation.subscription("words/watch", { output: Schema.String, visibility: "external" })
const Hidden = Operation.query("words/hidden", { output: Schema.String })

export const who = Operation.implement(Who, Effect.gen(function* () {
  const { identity } = yield* OperationContext
  const { answer } = yield* Words
  return { caller: identity === undefined ? "nobody" : "somebody", answer }
}))
export const words = OperationGroup.make(
  Operation.implement(Watch, Stream.concat(Stream.fromEffect(Effect.map(Words, ({ answer }) => answer)), Stream.never)),
  Operation.implement(Hidden, Effect.map(Words, ({ answer }) => answer))
)
`

const served = (answer: string, suffix: string) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const file = join(privateFolder(folder, "module"), "served.ts")
    writeFileSync(file, moduleOf(answer))
    writeFileSync(join(folder, "module/suffix.ts"), `export const suffix: string = ${JSON.stringify(suffix)}`)
    // What lies beside the file must not be taken for the program's own.
    mkdirSync(join(folder, "module/node_modules/effect"), { recursive: true })
    writeFileSync(join(folder, "module/node_modules/effect/package.json"), '{ "name": "effect", "version": "3.0.0" }')
    const [a, b] = [join(folder, "a"), join(folder, "b")]
    const node = yield* startNode(a, [], ["serve-ops", file])
    const { ticket } = JSON.parse((yield* alknet(["--home", a, "invite", "--scope", "call:*", "--json"])).stdout)
    yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
    return {
      folder,
      file,
      node,
      a,
      b,
      call: (...args: ReadonlyArray<string>) => alknet(["--home", b, "call", "a", ...args])
    }
  })

describe("a served module", () => {
  it.live(
    "offers what it exports, with what its handlers need, and shares Effect with the program",
    () =>
      Effect.gen(function* () {
        const { b, call, node } = yield* served("one", "!")
        assert.deepStrictEqual(node.ready.operations, [
          { name: "words/who", op_type: "query", visibility: "external" },
          { name: "words/watch", op_type: "subscription", visibility: "external" },
          { name: "words/hidden", op_type: "query", visibility: "internal" }
        ])
        const who = yield* call("words/who", "--json")
        assert.deepStrictEqual(JSON.parse(who.stdout), { caller: "somebody", answer: "one!" })
        assert.strictEqual(errorOf(yield* call("words/hidden", "--json")).code, "NOT_FOUND")
        const ops = JSON.parse((yield* alknet(["--home", b, "ops", "a", "--json"])).stdout)
        assert.deepStrictEqual(ops.at(-1), { name: "words/who", namespace: "words", op_type: "query" })
        yield* node.signal("SIGINT")
        assert.strictEqual((yield* node.ended).code, 130)
        assert.include(node.stderr(), "closed one!")
      }),
    PATIENT
  )

  it.live(
    "is followed: a change is served to the next request, and one that does not load changes nothing",
    () =>
      Effect.gen(function* () {
        const { call, file, node } = yield* served("one", "")
        const answer = Effect.map(call("words/who", "--json"), ({ stdout }) => JSON.parse(stdout).answer)
        assert.strictEqual(yield* answer, "one")

        const closed = yield* Effect.forkChild(node.says(/closed one/), { startImmediately: true })
        writeFileSync(`${file}.new`, moduleOf("two"))
        renameSync(`${file}.new`, file)
        const reloaded = JSON.parse(yield* node.prints('"reloaded"'))
        assert.strictEqual(reloaded.operations.length, 3)
        assert.strictEqual(yield* answer, "two")
        yield* Fiber.join(closed)

        writeFileSync(join(dirname(file), "suffix.ts"), 'export const suffix = " more"')
        yield* node.prints('"reloaded"')
        assert.strictEqual(yield* answer, "two more")

        writeFileSync(file, moduleOf("three").replace("export const layer =", "export const layer = ="))
        const broken = JSON.parse(yield* node.prints('"reload-failed"'))
        assert.deepStrictEqual([broken.event, broken.error.code], ["reload-failed", "MODULE_ERROR"])
        assert.match(broken.error.message, /served\.ts:9:22: SyntaxError: /)
        assert.strictEqual(yield* answer, "two more")

        writeFileSync(file, moduleOf("four").replace("words/watch", "words/who"))
        const twice = JSON.parse(yield* node.prints('"reload-failed"'))
        assert.match(twice.error.message, /served\.ts:14: operation words\/who: another operation has this name$/)
        assert.strictEqual(yield* answer, "two more")

        const lost = yield* Effect.forkChild(node.says(/a promise failed .*Error: lost/), { startImmediately: true })
        writeFileSync(file, `${moduleOf("four")}\nvoid Promise.reject(new Error("lost"))\n`)
        yield* node.prints('"reloaded"')
        yield* Fiber.join(lost)
        assert.strictEqual(yield* answer, "four more")
      }),
    PATIENT
  )
})

describe("a module that cannot be served is one clear line, and nothing is made for it", () => {
  const serve = (text: string | undefined) =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const file = join(folder, "served.ts")
      if (text !== undefined) writeFileSync(file, text)
      const home = join(folder, "home")
      const ran = yield* alknet(["--home", home, "serve-ops", file, "--listen", "127.0.0.1:0", "--json"])
      assert.deepStrictEqual([ran.code, ran.stdout], [1, ""])
      const { hint, message } = errorOf(ran)
      return { hint, message: message.replace(`${folder}/`, ""), lines: ran.stderr.trim().split("\n"), home }
    })

  const refused = (text: string | undefined) =>
    Effect.tap(serve(text), ({ home, lines }) =>
      Effect.sync(() => {
        assert.strictEqual(lines.length, 1)
        assert.deepStrictEqual(readdirSync(home), [])
      })
    )

  it.live(
    "a missing file, wrong syntax, a missing import, exports that are no operations, a layer that is none",
    () =>
      Effect.gen(function* () {
        const missing = yield* refused(undefined)
        assert.strictEqual(missing.message, "served.ts: there is no such file")
        const syntax = yield* refused("export const a =\n")
        assert.match(syntax.message, /^served\.ts:1: SyntaxError: /)
        const absent = yield* refused('import "./absent.ts"\n')
        assert.match(absent.message, /^served\.ts:1: Cannot find module/)
        const empty = yield* refused("export const a = 1\n")
        assert.strictEqual(empty.message, "served.ts: it exports no operation")
        const declared =
          'import { Operation } from "alknet"\nimport { Schema } from "effect"\nexport const A = Operation.query("a/b", { output: Schema.String })\n'
        const declaration = yield* refused(declared)
        assert.include(declaration.message, "none with a handler")
        assert.include(declaration.hint, "Operation.implement")
        const layer = yield* refused(
          `${declared}export const a = Operation.implement(A, () => "x" as never)\nexport const layer = 7\n`
        )
        assert.strictEqual(layer.message, 'served.ts: its export "layer" is no Layer')
      }),
    PATIENT
  )

  it.live(
    "operations that no registry takes, and a layer that fails",
    () =>
      Effect.gen(function* () {
        const head = 'import { Operation } from "alknet"\nimport { Effect, Layer, Schema } from "effect"\n'
        const named = (name: string) =>
          `Operation.implement(Operation.query(${JSON.stringify(name)}, { output: Schema.String }), Effect.succeed("x"))`
        const name = yield* refused(`${head}export const a = ${named("no name")}\n`)
        assert.match(name.message, /^served\.ts:3: operation no name: /)
        const failing = `${head}export const a = ${named("a/b")}\nexport const layer = Layer.effectDiscard(Effect.fail(new Error("no disk")))\n`
        assert.strictEqual((yield* serve(failing)).message, "served.ts: its layer failed: no disk")
      }),
    PATIENT
  )
})

describe("the module of the guide", () => {
  it.live(
    "is served as it stands there",
    () =>
      Effect.gen(function* () {
        const guide = readFileSync(join(root, "docs/operations.md"), "utf8")
        const text = /^```ts\n(\/\/ notes\.ts\n[\s\S]*?)^```$/m.exec(guide)?.[1] ?? ""
        const { b, call } = yield* arrangeServed(text)
        const added = yield* call("notes/add", '{"text":"milk"}', "--json")
        assert.deepStrictEqual(JSON.parse(added.stdout), { id: 1 })
        const wrong = yield* call("notes/add", '{"text":""}')
        assert.strictEqual(wrong.code, 1)
        assert.match(wrong.stderr, /^ {2}text: /m)
        const missing = yield* call("notes/read", '{"id":7}', "--json")
        assert.deepStrictEqual([missing.code, errorOf(missing).code], [1, "NOTE_NOT_FOUND"])
        const listed = yield* alknet(["--home", b, "ops", "a", "notes/read"])
        assert.include(listed.stdout, "NOTE_NOT_FOUND (404)")
      }),
    PATIENT
  )
})
