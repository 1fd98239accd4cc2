/** `alknet call` of queries and subscriptions as a user types it: lines, pipes, Ctrl-C, hints and what is wrong with input. */
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { arrangeServed, errorOf, type Ran, spawnAlknet, startNode } from "./Alknet.ts"

const PATIENT = 180_000

/** More than all buffers between a handler and a reader that does not read. */
const FLOOD = 20_000
const FLOOD_ITEM_CHARACTERS = 4000

const served = `
import { Operation, OperationGroup } from "alknet"
import { Effect, Schema, Stream } from "effect"

class Spent extends Schema.TaggedError<Spent>()("Spent", { after: Schema.Int }) {
  static readonly code = "SPENT"
}
const Item = Schema.Struct({ n: Schema.Int })
const external = { visibility: "external" } as const
const Few = Operation.subscription("count/few", { output: Item, ...external })
const Endless = Operation.subscription("count/endless", { output: Item, ...external })
const Failing = Operation.subscription("count/failing", { output: Item, errors: [Spent], ...external })
const Flood = Operation.subscription("count/flood", { output: Schema.Struct({ n: Schema.Int, text: Schema.String }), ...external })
const Position = Operation.query("count/position", { output: Schema.Int, ...external })
const Check = Operation.mutation("count/check", {
  input: Schema.Struct({ name: Schema.String, sizes: Schema.Array(Schema.Struct({ width: Schema.Int })) }),
  output: Schema.Void,
  ...external
})

let position = 0
const text = "x".repeat(${FLOOD_ITEM_CHARACTERS})
const told = (name: string) => Stream.ensuring(Effect.logInfo("ended " + name))
const counted = (stream: Stream.Stream<number>) => stream.pipe(Stream.map((n) => ({ n })))

export const counts = OperationGroup.make(
  Operation.implement(Few, counted(Stream.make(1, 2, 3))),
  Operation.implement(Endless, counted(Stream.iterate(0, (n) => n + 1).pipe(Stream.rechunk(1), Stream.tap(() => Effect.sleep(10)), told("endless")))),
  Operation.implement(Failing, Stream.concat(counted(Stream.make(1, 2)), Stream.fail(new Spent({ after: 2 })))),
  Operation.implement(Flood, Stream.range(1, ${FLOOD}).pipe(
    Stream.rechunk(1),
    Stream.map((n) => { position = n; return { n, text } }),
    told("flood")
  )),
  Operation.implement(Position, Effect.sync(() => position)),
  Operation.implement(Check, () => Effect.void)
)
`

const arrange = arrangeServed(served)

class Served extends Context.Service<Served, Effect.Success<typeof arrange>>()("test/Served") {
  static readonly layer = Layer.effect(this, arrange)
}

const lines = (ran: Ran): ReadonlyArray<unknown> =>
  ran.stdout
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line))

/** A command that is still running; nothing of its output is read. */
const running = (args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => spawnAlknet(args)),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )

const exited = (child: ReturnType<typeof spawnAlknet>): Effect.Effect<number | null> =>
  Effect.callback((resume) => {
    if (child.exitCode !== null) resume(Effect.succeed(child.exitCode))
    else child.once("exit", (code) => resume(Effect.succeed(code)))
  })

const firstOutput = (child: ReturnType<typeof spawnAlknet>): Effect.Effect<void> =>
  Effect.callback((resume) => void child.stdout?.once("data", () => resume(Effect.void)))

layer(Served.layer, { excludeTestServices: true, timeout: PATIENT })("call --stream", (it) => {
  it.effect(
    "CALL-121 prints a line of JSON for each item and ends when the subscription ends",
    () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const ran = yield* call("count/few", "--stream")
        assert.deepStrictEqual([ran.code, ran.stdout, ran.stderr], [0, '{"n":1}\n{"n":2}\n{"n":3}\n', ""])
        assert.deepStrictEqual(lines(yield* call("count/few", "--stream", "--json")), [{ n: 1 }, { n: 2 }, { n: 3 }])
      }),
    PATIENT
  )

  it.effect(
    "a failure after items goes to standard error, with the exit code of the failure",
    () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const ran = yield* call("count/failing", "--stream", "--json")
        assert.deepStrictEqual(lines(ran), [{ n: 1 }, { n: 2 }])
        assert.deepStrictEqual([ran.code, errorOf(ran).code], [1, "SPENT"])
        const unknown = yield* call("count/nothing", "--stream", "--json")
        assert.deepStrictEqual([unknown.code, unknown.stdout, errorOf(unknown).code], [3, "", "NOT_FOUND"])
      }),
    PATIENT
  )

  it.effect(
    "CALL-125 Ctrl-C ends the handler of the other node and exits with 130",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Served
        const child = yield* running(["--home", b, "call", "a", "count/endless", "--stream"])
        yield* firstOutput(child)
        const waiting = yield* Effect.forkChild(node.says(/ended endless/), { startImmediately: true })
        child.kill("SIGINT")
        assert.strictEqual(yield* exited(child), 130)
        yield* Fiber.join(waiting)
      }),
    PATIENT
  )

  it.effect(
    "a reader that goes away ends the handler too, as head does; the exit code is that of SIGPIPE",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Served
        const child = yield* running(["--home", b, "call", "a", "count/endless", "--stream"])
        yield* firstOutput(child)
        const waiting = yield* Effect.forkChild(node.says(/ended endless/), { startImmediately: true })
        child.stdout?.destroy()
        assert.strictEqual(yield* exited(child), 141)
        yield* Fiber.join(waiting)
      }),
    PATIENT
  )

  it.effect(
    "CALL-125 Ctrl-C ends the handler too where the connection is a running node's and stays open",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Served
        yield* startNode(b)
        const child = yield* running(["--home", b, "call", "a", "count/endless", "--stream"])
        yield* firstOutput(child)
        const waiting = yield* Effect.forkChild(node.says(/ended endless/), { startImmediately: true })
        child.kill("SIGINT")
        assert.strictEqual(yield* exited(child), 130)
        yield* Fiber.join(waiting).pipe(Effect.timeout("10 seconds"))
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.effect(
    "CALL-122 a reader that does not read stops the handler, and loses nothing when it goes on",
    () =>
      Effect.gen(function* () {
        const { b, call } = yield* Served
        const child = yield* running(["--home", b, "call", "a", "count/flood", "--stream"])
        // Nobody reads: the position stands still before the end.
        let before = -1
        let now = 0
        while (now === 0 || now !== before) {
          before = now
          now = JSON.parse((yield* call("count/position", "--json")).stdout)
        }
        assert.isBelow(now, FLOOD)
        const read = yield* Effect.callback<string>((resume) => {
          const chunks: Array<Buffer> = []
          child.stdout?.on("data", (chunk: Buffer) => chunks.push(chunk))
          child.stdout?.on("end", () => resume(Effect.succeed(Buffer.concat(chunks).toString("utf8"))))
        })
        const numbers = read
          .split("\n")
          .slice(0, -1)
          .map((line) => JSON.parse(line).n)
        assert.strictEqual(numbers.length, FLOOD)
        assert.isTrue(numbers.every((n, index) => n === index + 1))
        assert.strictEqual(yield* exited(child), 0)
      }),
    PATIENT
  )

  it.effect(
    "--timeout ends a stream that goes on, with the exit code of a time that is over",
    () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const ran = yield* call("count/endless", "--stream", "--timeout", "1s", "--json")
        assert.isNotEmpty(lines(ran))
        assert.deepStrictEqual([ran.code, errorOf(ran).code], [4, "TIMEOUT"])
      }),
    PATIENT
  )

  it.effect(
    "CALL-126 without --stream a subscription gives its first item, with --stream a query its answer; both say so",
    () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const first = yield* call("count/few")
        assert.deepStrictEqual([first.code, JSON.parse(first.stdout)], [0, { n: 1 }])
        assert.match(first.stderr, /^count\/few is a subscription, .*--stream\n$/)
        assert.strictEqual((yield* call("count/few", "--quiet")).stderr, "")
        const query = yield* call("count/position", "--stream")
        assert.deepStrictEqual([query.code, lines(query).length], [0, 1])
        assert.match(query.stderr, /^count\/position is a query: /)
        assert.strictEqual(lines(yield* call("services/list", "--stream")).length, 1)
      }),
    PATIENT
  )

  it.effect(
    "CALL-040 input that does not fit is told by the path of each issue, one a line",
    () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const input = '{"name":7,"sizes":[{"width":1},{"width":"wide"}]}'
        const people = yield* call("count/check", input)
        assert.strictEqual(people.code, 1)
        assert.match(people.stderr, /^alknet: invalid input \(.*\)\n {2}name: .+\n {2}sizes\.1\.width: .+\n$/)
        const programs = yield* call("count/check", input, "--json")
        const { code, issues } = JSON.parse(programs.stderr).error
        assert.strictEqual(code, "INVALID_INPUT")
        assert.deepStrictEqual(
          issues.map(({ path }: { readonly path: unknown }) => path),
          [["name"], ["sizes", 1, "width"]]
        )
      }),
    PATIENT
  )

  it.effect(
    "input that is no JSON is told by line and column, before anything is dialed",
    () =>
      Effect.gen(function* () {
        const { call } = yield* Served
        const ran = yield* call("count/check", '{\n  "name": x\n}', "--json")
        assert.deepStrictEqual([ran.code, errorOf(ran).code], [2, "USAGE"])
        assert.include(errorOf(ran).message, "line 2, column 11: expected a value")
      }),
    PATIENT
  )
})
