/**
 * What commands on an existing vault begin with: there must be one, before anybody is asked for its passphrase.
 */
import { Effect } from "effect"
import { VaultAbsent } from "../../../protocol/vault/VaultError.ts"
import { Vault } from "../../../services/Vault.ts"
import { Output } from "../../Output.ts"
import { currentPassphrase } from "../../Passphrase.ts"

/** Fails with `VaultAbsent`; warns where the file is sealed at a cost that is too low today. */
export const requireVault = Effect.gen(function* () {
  const output = yield* Output
  const status = yield* (yield* Vault).status
  if (status.state === "Absent") return yield* new VaultAbsent()
  if (status.weakKdf) {
    yield* output.warn("the vault is sealed at a low cost; run: alknet vault passphrase")
  }
  return status
})

/** The vault, unlocked with the passphrase of the home. */
export const unlockedVault = Effect.gen(function* () {
  yield* requireVault
  const vault = yield* Vault
  yield* vault.unlock(yield* currentPassphrase)
  return vault
})
