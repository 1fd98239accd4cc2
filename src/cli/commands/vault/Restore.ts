/**
 * `alknet vault restore`: the vault of a phrase that somebody wrote down.
 */
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { readSecretFile } from "../../../layers/vault/SecretFile.ts"
import { Vault } from "../../../services/Vault.ts"
import { failed, wrongUsage } from "../../Failure.ts"
import { settings } from "../../Globals.ts"
import { Home } from "../../Home.ts"
import { Output } from "../../Output.ts"
import { forgetGeneratedPassphrase, newPassphrase } from "../../Passphrase.ts"
import { askSecret, canAsk } from "../../Prompt.ts"
import { layerVault } from "../../Stores.ts"
import { mnemonicPassphraseFlag } from "./Words.ts"

export const restore = Command.make(
  "restore",
  {
    phraseFile: Flag.String("phrase-file").pipe(
      Flag.withMetavar("<path>"),
      Flag.withDescription("Read the words from a file of mode 0600, or - for standard input; else they are asked for"),
      Flag.optional
    ),
    mnemonicPassphrase: mnemonicPassphraseFlag
  },
  Effect.fn(function* ({ mnemonicPassphrase, phraseFile }) {
    const home = yield* Home
    const output = yield* Output
    const vault = yield* Vault
    const { passphraseFile } = yield* settings
    const fromInput = [passphraseFile, Option.getOrUndefined(phraseFile), Option.getOrUndefined(mnemonicPassphrase)]
    if (fromInput.filter((path) => path === "-").length > 1) {
      return yield* wrongUsage("only one of the secrets can come from standard input")
    }
    if (Option.isNone(phraseFile) && !canAsk()) {
      return yield* failed("PHRASE_NEEDED", "the phrase is needed", "give --phrase-file PATH, or run it on a terminal")
    }
    yield* home.prepare
    const mnemonic = Option.isSome(phraseFile)
      ? yield* readSecretFile(phraseFile.value)
      : yield* askSecret("The words of the phrase, with spaces (not shown): ")
    const extra = Option.isSome(mnemonicPassphrase) ? yield* readSecretFile(mnemonicPassphrase.value) : undefined
    const passphrase = yield* newPassphrase
    yield* vault.restore({ passphrase, mnemonic, ...(extra === undefined ? {} : { mnemonicPassphrase: extra }) })
    yield* forgetGeneratedPassphrase
    const { nodeId } = yield* vault.status
    yield* output.answer({ nodeId }, `${nodeId}`)
    yield* output.note(`vault ${home.vault} is restored`)
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Make the vault of a phrase that was written down"),
  Command.withExamples([
    { command: "alknet vault restore", description: "asks for the words and a passphrase" },
    { command: "alknet vault restore --phrase-file words.txt --passphrase-file pass.txt", description: "in a script" }
  ])
)
