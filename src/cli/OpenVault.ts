/**
 * The vault, open: with the passphrase of an existing one, or made on first use. A vault that is made without being asked
 * gets a generated passphrase that is kept in the home, so that a node runs without a question; the owner is told how to see
 * the phrase and to set an own passphrase.
 */
import { Effect } from "effect"
import { readSecretFile } from "../layers/vault/SecretFile.ts"
import { Vault } from "../services/Vault.ts"
import { settings } from "./Globals.ts"
import { Home } from "./Home.ts"
import { Output } from "./Output.ts"
import { currentPassphrase, forgetGeneratedPassphrase, keepGeneratedPassphrase } from "./Passphrase.ts"

const makeOnFirstUse = Effect.gen(function* () {
  const home = yield* Home
  const output = yield* Output
  const vault = yield* Vault
  const { passphraseFile } = yield* settings
  const own = passphraseFile !== undefined
  const passphrase = own ? yield* readSecretFile(passphraseFile) : yield* keepGeneratedPassphrase
  yield* vault.create({ passphrase, show: () => Effect.void })
  if (own) yield* forgetGeneratedPassphrase
  yield* output.note(
    own
      ? `made a key for this node in ${home.vault}; write its recovery phrase down: alknet vault show-phrase`
      : `made a key for this node in ${home.vault}; its passphrase is kept in ${home.passphrase}. See the recovery phrase with "alknet vault show-phrase", set an own passphrase with "alknet vault passphrase"`
  )
  return passphrase
})

/** Leaves the vault of the environment, which is locked or absent, unlocked; gives the passphrase that it has. */
export const openVault = Effect.gen(function* () {
  const home = yield* Home
  const output = yield* Output
  const vault = yield* Vault
  yield* home.prepare
  const { state, weakKdf } = yield* vault.status
  if (state === "Absent") return yield* makeOnFirstUse
  if (weakKdf) yield* output.warn("the vault is sealed at a low cost; run: alknet vault passphrase")
  const passphrase = yield* currentPassphrase
  yield* vault.unlock(passphrase)
  return passphrase
})
