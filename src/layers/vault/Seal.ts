/**
 * Sealing and opening the payload of a vault file with a passphrase (VAULT-R19 to VAULT-R21, VAULT-R28, VAULT-R29).
 */
import { Effect, Redacted, Result } from "effect"
import { IV_BYTES } from "../../protocol/vault/AesGcm.ts"
import { normalizeText } from "../../protocol/vault/Mnemonic.ts"
import {
  PassphraseRejected,
  VaultCorrupted,
  type VaultError,
  type VaultIo,
  WrongPassphrase
} from "../../protocol/vault/VaultError.ts"
import {
  type KdfCost,
  openVaultFile,
  SALT_BYTES,
  sealVaultFile,
  type VaultFile,
  type VaultHeader
} from "../../protocol/vault/VaultFile.ts"
import { decodePayload, encodePayload, type VaultPayload } from "../../protocol/vault/VaultPayload.ts"
import type { Secret } from "../../services/Vault.ts"
import type { DeriveKey } from "./Argon2.ts"
import { nodeIdOfSeed } from "./OpenVault.ts"
import { type Own, withOwned } from "./Wipe.ts"

/** What sealing needs from outside, so that a test can fix it and look at it. */
export interface SealParts {
  /** From the generator of the operating system, except in tests. */
  readonly random: (what: "entropy" | "salt" | "iv", length: number) => Uint8Array
  readonly deriveKey: DeriveKey
  /** The seed of an entropy and a normalised mnemonic passphrase. */
  readonly deriveSeed: (entropy: Uint8Array, mnemonicPassphrase: Uint8Array) => Uint8Array
  /** The cost of what is sealed. */
  readonly kdf: KdfCost
}

/** The default cost. */
export const KDF_DEFAULT: KdfCost = { m: 65_536, t: 3, p: 1 }

/** For tests only: a thousandth of the cost. */
export const KDF_TEST: KdfCost = { m: 256, t: 1, p: 1 }

export const PASSPHRASE_MIN_CODE_POINTS = 8
export const PASSPHRASE_MAX_BYTES = 1024

/** A new passphrase as it enters the KDF. */
export const checkNewPassphrase = (passphrase: Secret): Result.Result<Uint8Array, PassphraseRejected> => {
  const normalized = normalizeText(Redacted.value(passphrase))
  if (normalized === undefined) return rejected("encoding")
  // Every code point has one byte that is not a continuation byte (10xxxxxx).
  const codePoints = normalized.reduce((count, byte) => ((byte & 0xc0) === 0x80 ? count : count + 1), 0)
  const fault =
    codePoints < PASSPHRASE_MIN_CODE_POINTS ? "short" : normalized.length > PASSPHRASE_MAX_BYTES ? "long" : undefined
  if (fault === undefined) return Result.succeed(normalized)
  normalized.fill(0)
  return rejected(fault)
}

const rejected = (reason: PassphraseRejected["reason"]) => Result.fail(new PassphraseRejected({ reason }))

/** The text of a vault file, under a fresh salt and a fresh initialisation vector. */
export const sealPayload = (
  parts: SealParts,
  passphrase: Uint8Array,
  payload: VaultPayload,
  about: Pick<VaultHeader, "nodeId" | "created">
): Effect.Effect<string, VaultIo> =>
  withOwned((own) =>
    Effect.gen(function* () {
      const kdf = { ...parts.kdf, salt: parts.random("salt", SALT_BYTES) }
      const key = own(yield* parts.deriveKey(passphrase, kdf.salt, kdf))
      const { created, nodeId } = about
      const header = { kdf, iv: parts.random("iv", IV_BYTES), nodeId, created }
      return sealVaultFile(key, header, own(encodePayload(payload)))
    })
  )

/** The payload and its seed, all owned by `own`. The node key must be the one that the header names. */
export const unsealFile = (
  parts: SealParts,
  own: Own,
  passphrase: Secret,
  file: VaultFile
): Effect.Effect<VaultPayload & { readonly seed: Uint8Array }, VaultError> =>
  withOwned((ownBriefly) =>
    Effect.gen(function* () {
      const normalized = normalizeText(Redacted.value(passphrase))
      if (normalized === undefined) return yield* new WrongPassphrase()
      // No vault was ever sealed with a longer one.
      if (ownBriefly(normalized).length > PASSPHRASE_MAX_BYTES) return yield* new WrongPassphrase()
      const { kdf } = file.header
      const key = ownBriefly(yield* parts.deriveKey(normalized, kdf.salt, kdf))
      const opened = ownBriefly(yield* Effect.fromResult(openVaultFile(key, file)))
      const { entropy, mnemonicPassphrase } = yield* Effect.fromResult(decodePayload(opened))
      own(entropy)
      own(mnemonicPassphrase)
      const seed = own(parts.deriveSeed(entropy, mnemonicPassphrase))
      if (nodeIdOfSeed(seed) !== file.header.nodeId) return yield* new VaultCorrupted({ field: "nodeId" })
      return { entropy, mnemonicPassphrase, seed }
    })
  )
