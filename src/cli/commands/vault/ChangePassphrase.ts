/**
 * `alknet vault passphrase`: another passphrase for the same vault. A generated one that the home kept is removed after it
 * has been replaced.
 */
import { resolve } from "node:path"
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { readSecretFile } from "../../../layers/vault/SecretFile.ts"
import { Vault } from "../../../services/Vault.ts"
import { wrongUsage } from "../../Failure.ts"
import { settings } from "../../Globals.ts"
import { Home } from "../../Home.ts"
import { Output } from "../../Output.ts"
import { askNewPassphrase, currentPassphrase, forgetGeneratedPassphrase } from "../../Passphrase.ts"
import { layerVault } from "../../Stores.ts"
import { requireVault } from "./Present.ts"

export const changePassphrase = Command.make(
  "passphrase",
  {
    next: Flag.String("new-passphrase-file").pipe(
      Flag.withMetavar("<path>"),
      Flag.withDescription("Read the new passphrase from a file of mode 0600, or - for standard input"),
      Flag.optional
    )
  },
  Effect.fn(function* ({ next: nextFile }) {
    const home = yield* Home
    const output = yield* Output
    const { passphraseFile } = yield* settings
    if (passphraseFile === "-" && Option.contains(nextFile, "-")) {
      return yield* wrongUsage("only one of the two passphrases can come from standard input")
    }
    if (Option.isSome(nextFile) && resolve(nextFile.value) === home.passphrase) {
      return yield* wrongUsage(
        `${home.passphrase} is where a generated passphrase is kept`,
        "put the new one into another file"
      )
    }
    yield* requireVault
    const current = yield* currentPassphrase
    const next = Option.isSome(nextFile) ? yield* readSecretFile(nextFile.value) : yield* askNewPassphrase
    yield* (yield* Vault).changePassphrase({ current, next })
    yield* forgetGeneratedPassphrase
    yield* output.answer({ changed: true }, [])
    yield* output.note("the passphrase is changed; the node id is the same")
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Change the passphrase of the vault"),
  Command.withExamples([
    { command: "alknet vault passphrase", description: "set an own passphrase; asks twice" },
    {
      command: "alknet vault passphrase --passphrase-file old.txt --new-passphrase-file new.txt",
      description: "in a script"
    }
  ])
)
