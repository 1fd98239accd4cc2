/**
 * `alknet vault rotate`: seals every credential anew under another key version. Safe to stop and to repeat.
 */
import { Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { rotateCredentials } from "../../../layers/NodeCredentials.ts"
import { failed } from "../../Failure.ts"
import { Output } from "../../Output.ts"
import { printableShort } from "../../Printable.ts"
import { layerVault } from "../../Stores.ts"
import { layerCredentials } from "./Credentials.ts"
import { unlockedVault } from "./Present.ts"

export const rotate = Command.make(
  "rotate",
  {
    to: Flag.Int("to").pipe(
      Flag.withMetavar("<version>"),
      Flag.withDescription("Key version to seal under, 2 or higher")
    )
  },
  Effect.fn(
    function* ({ to }) {
      const output = yield* Output
      yield* unlockedVault
      const report = yield* rotateCredentials(to)
      const named = ({ name, purpose }: { readonly name: string; readonly purpose: string }) => `${purpose}/${name}`
      for (const { error, id } of report.failed) yield* output.warn(`${printableShort(named(id))}: ${error.message}`)
      yield* output.answer(
        {
          rotated: report.rotated.map(named),
          skipped: report.skipped.map(named),
          failed: report.failed.map(({ id }) => named(id))
        },
        `${report.rotated.length} rotated, ${report.skipped.length} there already, ${report.failed.length} failed`
      )
      if (report.failed.length > 0) {
        const message = `${report.failed.length} credentials could not be rotated and were left as they are`
        return yield* failed("ROTATE_INCOMPLETE", message, "seal those again, then repeat")
      }
    },
    Effect.provide([layerVault, layerCredentials])
  )
).pipe(
  Command.withDescription("Seal every credential under a newer key version"),
  Command.withExamples([{ command: "alknet vault rotate --to 3", description: "can be stopped and repeated" }])
)
