/**
 * The vault: the one master secret of a node, the keys made from it, and the sealing of credentials that cannot be derived
 * (vault.md).
 *
 * It is local to the process that opened it: nothing that a peer can call leads here (VAULT-R01), and only the assembly and
 * the command line import it. Layers: `FileVault` (a sealed file) and `MemoryVault` (tests), in src/layers/vault.
 *
 * | state | create, restore | unlock | lock | changePassphrase, reveal | key, encrypt, decrypt, rotate |
 * |---|---|---|---|---|---|
 * | Absent | to Unlocked | VaultAbsent | no effect | VaultAbsent | VaultAbsent |
 * | Locked | VaultExists | to Unlocked, or stays | no effect | works, stays | VaultLocked |
 * | Unlocked | VaultExists | AlreadyUnlocked | to Locked | works, stays | works |
 *
 * Arguments are checked before the state. Wiping is best effort: JavaScript strings and copies inside libraries cannot be
 * wiped, and memory can be swapped out.
 */
import { Context, type Effect, type Redacted, type Scope, type Stream } from "effect"
import type { KeyRole } from "../protocol/vault/KeyRole.ts"
import type {
  VaultCorrupted,
  VaultError,
  VaultInsecure,
  VaultIo,
  VaultVersionUnsupported
} from "../protocol/vault/VaultError.ts"

/** UTF-8 text or raw bytes, never a string. */
export type Secret = Redacted.Redacted<Uint8Array>

/** A key pair of one role, secret and public part of one derivation, so that the two cannot come apart. */
export interface KeyPair {
  readonly role: KeyRole
  /** Derivation path, such as `m/74'/0'/0'/0'`. */
  readonly path: string
  readonly scheme: "ed25519" | "x25519"
  /** 32 bytes. */
  readonly publicKey: Uint8Array
  /** 32 bytes: RFC 8032 seed or RFC 7748 private key. A copy of the caller's own, wiped when the caller's scope closes. */
  readonly secret: Secret
}

export interface VaultStatus {
  readonly state: "Absent" | "Locked" | "Unlocked"
  /** z-base-32 of the node key. While Locked it is what the file says; unlocking proves it. */
  readonly nodeId?: string
  /** The file was sealed at a cost below the least that is advised today; a new passphrase seals it at the default cost. */
  readonly weakKdf: boolean
  /** Milliseconds since the epoch at which the vault locks by itself, where auto-lock is on and it is unlocked. */
  readonly autoLockAt?: number
}

/** What a credential is for and what it is called. Both are bound into the seal. */
export interface BlobId {
  /** `^[a-z][a-z0-9-]{0,31}$` */
  readonly purpose: string
  /** `^[A-Za-z0-9][A-Za-z0-9._/@+:-]{0,127}$` */
  readonly name: string
}

/** Shows the words of the mnemonic to their owner. No copy of a word may outlive the effect. */
export type Show<A, E, R> = (words: ReadonlyArray<string>) => Effect.Effect<A, E, R>

export class Vault extends Context.Service<
  Vault,
  {
    /** Works in every state and needs no secret. */
    readonly status: Effect.Effect<VaultStatus, VaultInsecure | VaultIo | VaultCorrupted | VaultVersionUnsupported>
    /** The current status first, then one more at every change of state. */
    readonly changes: Stream.Stream<VaultStatus>
    /**
     * Makes a new vault and leaves it unlocked. `show` runs before anything is written: where it fails, nothing was made.
     * New vaults have 24 words unless told.
     */
    readonly create: <A, E, R>(options: {
      readonly passphrase: Secret
      readonly words?: 12 | 15 | 18 | 21 | 24
      readonly mnemonicPassphrase?: Secret
      readonly show: Show<A, E, R>
    }) => Effect.Effect<A, VaultError | E, R>
    /** Makes the vault of an existing mnemonic and leaves it unlocked. */
    readonly restore: (options: {
      readonly passphrase: Secret
      readonly mnemonic: Secret
      readonly mnemonicPassphrase?: Secret
    }) => Effect.Effect<void, VaultError>
    /** `VaultLocked` where `lock` came in between. */
    readonly unlock: (passphrase: Secret) => Effect.Effect<void, VaultError>
    /** Ends a running `unlock`, and has wiped every secret of the vault when it returns. */
    readonly lock: Effect.Effect<void>
    readonly changePassphrase: (options: {
      readonly current: Secret
      readonly next: Secret
    }) => Effect.Effect<void, VaultError>
    /** Shows the words again. Always asks for the passphrase, unlocked or not. */
    readonly reveal: <A, E, R>(passphrase: Secret, show: Show<A, E, R>) => Effect.Effect<A, VaultError | E, R>
    readonly key: (role: KeyRole) => Effect.Effect<KeyPair, VaultError, Scope.Scope>
    /**
     * Seals up to 65536 bytes as JSON text of format 3. Initialisation vectors are random, so one key version is good for
     * 2^32 credentials; nobody counts them.
     */
    readonly encrypt: (id: BlobId, plaintext: Secret, keyVersion?: number) => Effect.Effect<string, VaultError>
    /** Opens a blob of format 3, or of format 2 as the Rust alknet writes it. The plaintext belongs to the caller. */
    readonly decrypt: (id: BlobId, blob: string) => Effect.Effect<Secret, VaultError>
    /** Seals anew as format 3 under `toKeyVersion`, which is not lower than the blob's. */
    readonly rotate: (id: BlobId, blob: string, toKeyVersion: number) => Effect.Effect<string, VaultError>
  }
>()("alknet/Vault") {}
