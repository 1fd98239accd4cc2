/**
 * Folders, secrets and a vault whose secret buffers a test can look at.
 */
import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { Context, Effect, Layer, Redacted, type Scope } from "effect"
import { systemParts } from "../../../src/layers/vault/FileVault.ts"
import { KDF_TEST } from "../../../src/layers/vault/Seal.ts"
import { makeVault, type VaultParts } from "../../../src/layers/vault/VaultMachine.ts"
import { fileStorage } from "../../../src/layers/vault/VaultStorage.ts"
import { type Secret, Vault } from "../../../src/services/Vault.ts"

export const ABANDON = `${"abandon ".repeat(11)}about`
export const PASSPHRASE = "correct horse battery staple"

export const secret = (text: string): Secret => Redacted.make(new TextEncoder().encode(text))
export const textOf = (value: Secret): string => new TextDecoder().decode(Redacted.value(value))
export const isZero = (bytes: Uint8Array): boolean => bytes.every((byte) => byte === 0)

/** A folder of mode 0700 that goes with the scope. */
export const folder: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-vault-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** The path of a vault that is not there yet. */
export const vaultPath: Effect.Effect<string, never, Scope.Scope> = Effect.map(folder, (home) => join(home, "vault"))

/** Every secret buffer that passes between the parts of a vault: entropy, keys of the KDF, seeds. */
export interface Watched {
  readonly parts: VaultParts
  readonly buffers: Array<Uint8Array>
  /** Runs of the KDF. */
  derivations: number
}

export const watched = (path: string, changes: Partial<VaultParts> = {}): Watched => {
  const buffers: Array<Uint8Array> = []
  const deriveKey = changes.deriveKey ?? systemParts.deriveKey
  const random = changes.random ?? systemParts.random
  const watch = (bytes: Uint8Array): Uint8Array => {
    buffers.push(bytes)
    return bytes
  }
  const result: Watched = {
    buffers,
    derivations: 0,
    parts: {
      kdf: KDF_TEST,
      storage: fileStorage(path),
      ...changes,
      random: (what, length) => (what === "entropy" ? watch(random(what, length)) : random(what, length)),
      deriveKey: (passphrase, salt, cost) =>
        Effect.suspend(() => {
          result.derivations++
          buffers.push(passphrase)
          return Effect.map(deriveKey(passphrase, salt, cost), watch)
        }),
      deriveSeed: (entropy, mnemonicPassphrase) => {
        buffers.push(entropy, mnemonicPassphrase)
        return watch(systemParts.deriveSeed(entropy, mnemonicPassphrase))
      }
    }
  }
  return result
}

export const layerOf = (parts: VaultParts): Layer.Layer<Vault> => Layer.effect(Vault, makeVault(parts))

/** The service itself, open until the scope closes. */
export const vaultOf = (parts: VaultParts): Effect.Effect<Vault["Service"], never, Scope.Scope> =>
  Effect.map(Layer.build(layerOf(parts)), (context) => Context.get(context, Vault))

export const restoreAbandon = (vault: Vault["Service"]) =>
  vault.restore({ passphrase: secret(PASSPHRASE), mnemonic: secret(ABANDON) })
