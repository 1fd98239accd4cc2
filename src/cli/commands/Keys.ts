/**
 * `alknet keys …`: API keys, for programs that have no node key.
 */
import { Command } from "effect/cli"
import { add } from "./keys/Add.ts"
import { list } from "./keys/List.ts"
import { revoke } from "./keys/Revoke.ts"

export const keys = Command.make("keys").pipe(
  Command.withDescription("API keys, for programs that have no node key"),
  Command.withExamples([{ command: "alknet keys list", description: "which there are" }]),
  Command.withSubcommands([add, list, revoke])
)
