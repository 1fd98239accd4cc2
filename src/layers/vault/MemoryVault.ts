/**
 * A vault without a file, for tests: it starts Unlocked with the mnemonic it is given, and its KDF costs nothing. The states
 * and errors are those of `FileVault`.
 */
import { Effect, Layer, Redacted } from "effect"
import { Vault } from "../../services/Vault.ts"
import { systemParts } from "./FileVault.ts"
import { KDF_TEST } from "./Seal.ts"
import { makeVault } from "./VaultMachine.ts"
import { memoryStorage } from "./VaultStorage.ts"

export interface MemoryVaultOptions {
  /** Unlocks it again once it was locked; `alknet-test` unless given. */
  readonly passphrase?: string
}

/** A mnemonic that is not valid is a defect: it is a mistake in the test. */
export const layer = (mnemonic: string, options: MemoryVaultOptions = {}): Layer.Layer<Vault> =>
  Layer.effect(
    Vault,
    Effect.gen(function* () {
      const vault = yield* makeVault({ ...systemParts, kdf: KDF_TEST, storage: memoryStorage() })
      const bytes = (text: string) => Redacted.make(new TextEncoder().encode(text))
      yield* Effect.orDie(
        vault.restore({ passphrase: bytes(options.passphrase ?? "alknet-test"), mnemonic: bytes(mnemonic) })
      )
      return vault
    })
  )
