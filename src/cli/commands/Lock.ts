/**
 * `alknet lock`: ends what `alknet unlock` started. A node that serves is not ended by it.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import { Control } from "../../services/Control.ts"
import { failed } from "../Failure.ts"
import { Output } from "../Output.ts"
import { layerRunning } from "../Running.ts"

export const lock = Command.make(
  "lock",
  {},
  Effect.fn(function* () {
    const output = yield* Output
    const control = yield* Control
    const { kind, pid } = yield* control.report
    if (kind === "up") {
      return yield* failed("NODE_SERVES", `process ${pid} serves this node`, `stop it with Ctrl-C, or: kill ${pid}`)
    }
    yield* control.stop
    yield* output.answer({ locked: true, pid }, [])
    yield* output.note("the vault is closed")
  }, Effect.provide(layerRunning))
).pipe(
  Command.withDescription("Close the vault that unlock keeps open"),
  Command.withExamples([{ command: "alknet lock", description: "other commands ask for the passphrase again" }])
)
