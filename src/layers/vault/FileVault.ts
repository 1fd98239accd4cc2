/**
 * The vault of a node in a file, sealed with a passphrase. Starts Absent or Locked; closing the layer locks it.
 */
import { Duration, Effect, Layer } from "effect"
import { seedFromEntropy } from "../../protocol/vault/Mnemonic.ts"
import { Vault } from "../../services/Vault.ts"
import { deriveKey } from "./Argon2.ts"
import { KDF_DEFAULT, KDF_TEST, type SealParts } from "./Seal.ts"
import { makeVault } from "./VaultMachine.ts"
import { fileStorage } from "./VaultStorage.ts"

export interface FileVaultOptions {
  /** Locks when no key was used for this long. Default: never. */
  readonly autoLock?: Duration.Input
  /** Cost of what is sealed from now on. `test` protects nothing and is for tests only. */
  readonly kdf?: "default" | "test"
  /** Version under which credentials are sealed, 2 unless given. */
  readonly keyVersion?: number
}

/** A vault in the file at `path`. Its folder is made, for the user alone, when the vault is created. */
export const layer = (path: string, options: FileVaultOptions = {}): Layer.Layer<Vault> =>
  Layer.effect(
    Vault,
    Effect.suspend(() =>
      makeVault({
        ...systemParts,
        kdf: options.kdf === "test" ? KDF_TEST : KDF_DEFAULT,
        storage: fileStorage(path),
        ...(options.autoLock === undefined ? {} : { autoLock: Duration.fromInputUnsafe(options.autoLock) }),
        ...(options.keyVersion === undefined ? {} : { keyVersion: options.keyVersion })
      })
    )
  )

/** The generator of the operating system, and the derivations of vault.md. */
export const systemParts: Omit<SealParts, "kdf"> = {
  random: (_, length) => crypto.getRandomValues(new Uint8Array(length)),
  deriveKey,
  deriveSeed: seedFromEntropy
}
