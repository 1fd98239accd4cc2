/**
 * `alknet vault open NAME`: prints a sealed credential.
 */
import { Effect, Option, Redacted } from "effect"
import { Command } from "effect/cli"
import { CredentialStore } from "../../../services/CredentialStore.ts"
import { failed } from "../../Failure.ts"
import { Output, writeTo } from "../../Output.ts"
import { printableShort } from "../../Printable.ts"
import { layerVault } from "../../Stores.ts"
import { layerCredentials, nameArgument, purposeFlag } from "./Credentials.ts"
import { unlockedVault } from "./Present.ts"

export const open = Command.make(
  "open",
  { name: nameArgument, purpose: purposeFlag },
  Effect.fn(
    function* ({ name, purpose }) {
      const output = yield* Output
      const id = { purpose, name }
      const blob = yield* (yield* CredentialStore).get(id)
      if (Option.isNone(blob)) {
        const message = `there is no credential ${printableShort(`${purpose}/${name}`)}`
        return yield* failed("CREDENTIAL_ABSENT", message, "see: alknet vault list")
      }
      const vault = yield* unlockedVault
      const secret = yield* vault.decrypt(id, blob.value)
      const bytes = Redacted.value(secret)
      // The bytes themselves, so that any secret can go into a file; a line end only for people.
      if (output.json) yield* output.answer({ purpose, name, secret: new TextDecoder().decode(bytes) }, [])
      else yield* writeTo(process.stdout, process.stdout.isTTY ? Buffer.concat([bytes, Buffer.from("\n")]) : bytes)
      bytes.fill(0)
    },
    Effect.provide([layerVault, layerCredentials])
  )
).pipe(
  Command.withDescription("Print a sealed credential"),
  Command.withExamples([
    { command: "alknet vault open github > token.txt", description: "exactly the bytes that were sealed" }
  ])
)
