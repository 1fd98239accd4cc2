/**
 * `alknet peers …`: who may reach us, and for what.
 */
import { Command } from "effect/cli"
import { add } from "./peers/Add.ts"
import { disable, enable, remove } from "./peers/Change.ts"
import { list } from "./peers/List.ts"
import { show } from "./peers/Show.ts"

export const peers = Command.make("peers").pipe(
  Command.withDescription("Who may reach us, and for what"),
  Command.withExamples([{ command: "alknet peers list", description: "everybody we know" }]),
  Command.withSubcommands([add, list, show, remove, disable, enable])
)
