/**
 * `alknet vault …`: the commands on the vault file.
 */
import { Command } from "effect/cli"
import { changePassphrase } from "./vault/ChangePassphrase.ts"
import { create } from "./vault/Create.ts"
import { list } from "./vault/List.ts"
import { open } from "./vault/Open.ts"
import { restore } from "./vault/Restore.ts"
import { rotate } from "./vault/Rotate.ts"
import { seal } from "./vault/Seal.ts"
import { showPhrase } from "./vault/ShowPhrase.ts"
import { status } from "./vault/Status.ts"

export const vault = Command.make("vault").pipe(
  Command.withDescription("The vault: the key of this node and its sealed credentials"),
  Command.withExamples([{ command: "alknet vault show-phrase", description: "to write the recovery phrase down" }]),
  Command.withSubcommands([create, restore, showPhrase, changePassphrase, status, seal, open, list, rotate])
)
