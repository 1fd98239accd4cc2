/**
 * `alknet serve-ops FILE.ts`: runs a node that offers the operations which a module exports, and follows the file: when it
 * or what it imports changes, the new operations take the place of the old ones. Connections stay, running requests end on
 * the old ones, and a version that does not load leaves them as they are.
 */
import { resolve } from "node:path"
import { type Cause, Effect } from "effect"
import { Argument, Command } from "effect/cli"
import * as ModuleLoader from "../../layers/ModuleLoader.ts"
import * as OperationModule from "../../layers/OperationModule.ts"
import * as ReloadingRegistry from "../../layers/ReloadingRegistry.ts"
import type { NodeReport } from "../../services/Control.ts"
import { accessText } from "../AccessText.ts"
import { explainCause } from "../Explain.ts"
import { announce, nodeFlags, runNode } from "../NodeCommand.ts"
import { Output } from "../Output.ts"
import { printable, printableShort } from "../Printable.ts"
import { layerVault } from "../Stores.ts"

/** What is served, for programs. */
const entriesOf = ({ group }: OperationModule.OperationModule) =>
  group.implementations.map(({ operation: { kind, name, visibility } }) => ({ name, op_type: kind, visibility }))

/** The same for people. An operation that nobody can call is most likely a slip. */
const linesOf = ({ group }: OperationModule.OperationModule): ReadonlyArray<string> =>
  group.implementations.map(({ operation: { access, kind, name, visibility } }) =>
    visibility === "internal"
      ? `operation  ${printable(name)} (${kind}): internal, no peer can call it; declare it with visibility: "external"`
      : `operation  ${printable(name)} (${kind}): ${accessText(access)}`
  )

const openModule = Effect.fnUntraced(function* (file: string) {
  const loader = yield* ModuleLoader.make(file)
  const load = Effect.flatMap(loader.load, ({ exports }) =>
    OperationModule.read(exports, [file, ...loader.files().slice(1)])
  )
  return { load, changed: loader.changed }
})

type Module = Effect.Success<ReturnType<typeof openModule>>

/** Exchanges the operations after each change, for ever. What is wrong is said once. */
const follow = Effect.fnUntraced(function* (
  file: string,
  { changed, load }: Module,
  exchange: (version: OperationModule.OperationModule) => Effect.Effect<void, unknown>
) {
  const output = yield* Output
  let said = ""
  const failed = Effect.fnUntraced(function* (cause: Cause.Cause<unknown>) {
    const explained = yield* explainCause(cause)
    if (explained === undefined) return yield* Effect.interrupt
    const { code, hint, message } = explained
    if (message === said) return
    said = message
    yield* output.json
      ? output.answer({ event: "reload-failed", error: { code, message, hint } }, [])
      : output.warn(`${message}${hint === "" ? "" : ` (${hint})`}; the operations from before are still served`)
  })
  const reload = Effect.gen(function* () {
    const version = yield* load
    yield* exchange(version)
    said = ""
    yield* output.answer({ event: "reloaded", operations: entriesOf(version) }, [
      `reloaded   ${file}`,
      ...linesOf(version)
    ])
  })
  return yield* Effect.forever(Effect.andThen(changed, Effect.catchCause(reload, failed)), { disableYield: true })
})

/** A promise of the module that fails while nobody looks is the module's mistake; it must not end the node. */
const reportLostRejections = Effect.gen(function* () {
  const output = yield* Output
  const run = Effect.runForkWith(yield* Effect.context<never>())
  const report = (reason: unknown) => {
    const said = reason instanceof Error ? `${reason.name}: ${reason.message}` : "it is no Error"
    run(output.warn(`a promise failed and nobody looked at it (${printableShort(said)})`))
  }
  yield* Effect.acquireRelease(
    Effect.sync(() => process.on("unhandledRejection", report)),
    () => Effect.sync(() => process.off("unhandledRejection", report))
  )
})

export const serveOps = Command.make(
  "serve-ops",
  {
    file: Argument.String("file").pipe(Argument.withDescription("A module that exports operations, such as notes.ts")),
    ...nodeFlags
  },
  Effect.fn(function* ({ file: path, ...flags }) {
    const file = resolve(path)
    const service = Effect.gen(function* () {
      yield* reportLostRejections
      const module = yield* openModule(file)
      const first = yield* module.load
      const registry = yield* ReloadingRegistry.make(first, OperationModule.registry)
      return {
        registry: registry.layer,
        ready: (report: NodeReport) =>
          Effect.andThen(
            announce(report, { operations: entriesOf(first) }, linesOf(first)),
            follow(file, module, registry.exchange)
          )
      }
    })
    yield* Effect.scoped(runNode(flags, service))
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Run a node that offers the operations of a module; follows its changes"),
  Command.withExamples([
    { command: "alknet serve-ops notes.ts", description: "what it exports, on port 4433" },
    { command: "alknet serve-ops notes.ts --listen 127.0.0.1:0 --json", description: "a line for each reload" }
  ])
)
