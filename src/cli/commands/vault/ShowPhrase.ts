/**
 * `alknet vault show-phrase`: the words again, for the passphrase.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import { Vault } from "../../../services/Vault.ts"
import { currentPassphrase } from "../../Passphrase.ts"
import { layerVault } from "../../Stores.ts"
import { requireVault } from "./Present.ts"
import { showWords } from "./Words.ts"

export const showPhrase = Command.make(
  "show-phrase",
  {},
  Effect.fn(function* () {
    yield* requireVault
    const passphrase = yield* currentPassphrase
    yield* (yield* Vault).reveal(passphrase, showWords)
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Show the recovery phrase; whoever reads it can be this node"),
  Command.withExamples([{ command: "alknet vault show-phrase", description: "to write it down" }])
)
