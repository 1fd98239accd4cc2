/**
 * `alknet vault seal NAME`: keeps a credential of another service, sealed with the vault.
 */
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { readSecretFile, STANDARD_INPUT } from "../../../layers/vault/SecretFile.ts"
import { CredentialStore } from "../../../services/CredentialStore.ts"
import { failed, wrongUsage } from "../../Failure.ts"
import { settings } from "../../Globals.ts"
import { Output } from "../../Output.ts"
import { askSecret, canAsk } from "../../Prompt.ts"
import { layerVault } from "../../Stores.ts"
import { layerCredentials, nameArgument, purposeFlag } from "./Credentials.ts"
import { unlockedVault } from "./Present.ts"

export const seal = Command.make(
  "seal",
  {
    name: nameArgument,
    purpose: purposeFlag,
    file: Flag.String("file").pipe(
      Flag.withMetavar("<path>"),
      Flag.withDescription(
        "Read the secret from a file of mode 0600; else it is asked for, or read from standard input"
      ),
      Flag.optional
    ),
    replace: Flag.Boolean("replace").pipe(
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("Put it in the place of the one that is there")
    )
  },
  Effect.fn(
    function* ({ file, name, purpose, replace }) {
      const output = yield* Output
      const store = yield* CredentialStore
      const { passphraseFile } = yield* settings
      const source = Option.getOrUndefined(file) ?? (canAsk() ? undefined : STANDARD_INPUT)
      if (source === STANDARD_INPUT && passphraseFile === STANDARD_INPUT) {
        return yield* wrongUsage("passphrase and secret cannot both come from standard input", "give --file PATH")
      }
      const id = { purpose, name }
      const before = yield* store.get(id)
      if (Option.isSome(before) && !replace) {
        return yield* failed("CREDENTIAL_EXISTS", `there is a credential ${purpose}/${name} already`, "give --replace")
      }
      const vault = yield* unlockedVault
      const secret = source === undefined ? yield* askSecret(`Secret of ${name}: `) : yield* readSecretFile(source)
      yield* store.put(id, yield* vault.encrypt(id, secret), before)
      yield* output.answer({ purpose, name }, [])
      yield* output.note(`${purpose}/${name} is sealed`)
    },
    Effect.provide([layerVault, layerCredentials])
  )
).pipe(
  Command.withDescription("Seal a credential of another service"),
  Command.withExamples([
    { command: "alknet vault seal openai", description: "asks for the secret, without echo" },
    { command: "alknet vault seal github --replace < token.txt", description: "from standard input" }
  ])
)
