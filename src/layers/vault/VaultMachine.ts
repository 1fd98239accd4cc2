/**
 * The states of a vault and everything that it does in them (vault.md sections 4 to 7), over any storage.
 *
 * - `create`, `restore`, `unlock` and `changePassphrase` run one at a time. `lock` does not wait for them: it ends a running
 *   `unlock` (which answers `VaultLocked`), and what a running `create` makes stays locked.
 * - `key`, `encrypt`, `decrypt` and `rotate` use the open vault in one synchronous step, so that they give a whole result or
 *   `VaultLocked`.
 * - One fiber, the keeper, wipes cached keys when they expire and locks when nothing was used for `autoLock`.
 */
import {
  Cause,
  Clock,
  Duration,
  Effect,
  Exit,
  Fiber,
  FiberHandle,
  Option,
  Redacted,
  Result,
  type Scope,
  Semaphore,
  SubscriptionRef
} from "effect"
import { IV_BYTES } from "../../protocol/vault/AesGcm.ts"
import {
  checkBlobName,
  openBlob,
  PLAINTEXT_MAX_BYTES,
  parseBlob,
  sealBlob
} from "../../protocol/vault/CredentialBlob.ts"
import { MIN_KEY_VERSION, printPath, specOfKeyVersion, specOfRole } from "../../protocol/vault/KeyPath.ts"
import {
  entropyBytes,
  entropyFromSentence,
  normalizeMnemonicPassphrase,
  WORD_COUNTS,
  wordsFromEntropy
} from "../../protocol/vault/Mnemonic.ts"
import { publicKeyOf } from "../../protocol/vault/PublicKey.ts"
import {
  AlreadyUnlocked,
  InvalidKeyVersion,
  MnemonicInvalid,
  PlaintextTooLarge,
  VaultAbsent,
  type VaultCorrupted,
  type VaultError,
  VaultExists,
  type VaultIo,
  VaultLocked,
  type VaultVersionUnsupported
} from "../../protocol/vault/VaultError.ts"
import { isWeakKdf, parseVaultFile, type VaultFile } from "../../protocol/vault/VaultFile.ts"
import type { VaultPayload } from "../../protocol/vault/VaultPayload.ts"
import type { Secret, Vault, VaultStatus } from "../../services/Vault.ts"
import { CACHE_MILLIS } from "./KeyCache.ts"
import { nodeIdOfSeed, OpenVault } from "./OpenVault.ts"
import { checkNewPassphrase, type SealParts, sealPayload, unsealFile } from "./Seal.ts"
import type { VaultStorage } from "./VaultStorage.ts"
import { type Own, withOwned } from "./Wipe.ts"

export interface VaultParts extends SealParts {
  readonly storage: VaultStorage
  /** Locks when no key was used for this long; absent: never. */
  readonly autoLock?: Duration.Duration
  /** Version under which `encrypt` seals when it is not told; 2 unless given. */
  readonly keyVersion?: number
}

export const makeVault = Effect.fnUntraced(function* (
  parts: VaultParts
): Effect.fn.Return<Vault["Service"], never, Scope.Scope> {
  const { autoLock, storage } = parts
  const turn = yield* Semaphore.make(1)
  const keeper = yield* FiberHandle.make()
  let open: OpenVault | undefined
  /** The vault that the keeper looks after now. */
  let kept: OpenVault | undefined
  let unlocking: Fiber.Fiber<void, VaultError> | undefined
  /** Grows with every lock: what began under another number must not unlock. */
  let epoch = 0
  let closed = false

  const autoLockAt = (vault: OpenVault): number | undefined =>
    autoLock === undefined ? undefined : vault.lastUse + Duration.toMillis(autoLock)

  const statusOfOpen = (vault: OpenVault): VaultStatus => {
    const at = autoLockAt(vault)
    const { nodeId, weakKdf } = vault
    return { state: "Unlocked", nodeId, weakKdf, ...(at === undefined ? {} : { autoLockAt: at }) }
  }

  const readFile = Effect.flatMap(
    storage.read,
    (content): Effect.Effect<VaultFile, VaultAbsent | VaultCorrupted | VaultVersionUnsupported> =>
      Option.isNone(content) ? Effect.fail(new VaultAbsent()) : Effect.fromResult(parseVaultFile(content.value))
  )

  const status = Effect.suspend(() =>
    open !== undefined
      ? Effect.succeed(statusOfOpen(open))
      : readFile.pipe(
          Effect.map(
            ({ header }): VaultStatus => ({ state: "Locked", nodeId: header.nodeId, weakKdf: isWeakKdf(header.kdf) })
          ),
          Effect.catchTag("VaultAbsent", () => Effect.succeed<VaultStatus>({ state: "Absent", weakKdf: false }))
        )
  )

  const published = yield* SubscriptionRef.make<VaultStatus>(
    yield* Effect.catch(status, () => Effect.succeed<VaultStatus>({ state: "Locked", weakKdf: false }))
  )

  /** Wipes at once. What is told about it comes after. */
  const close = Effect.suspend(() => {
    epoch++
    const vault = open
    if (vault === undefined) return Effect.void
    open = undefined
    vault.wipe()
    return SubscriptionRef.set(published, { state: "Locked", nodeId: vault.nodeId, weakKdf: vault.weakKdf })
  })

  /** Runs until there is nothing left that could expire. */
  const keep = (vault: OpenVault) =>
    Effect.gen(function* () {
      while (open === vault) {
        const now = yield* Clock.currentTimeMillis
        const lockAt = autoLockAt(vault)
        if (lockAt !== undefined && now >= lockAt) return yield* close
        vault.expire(now)
        const next = Math.min(lockAt ?? Number.POSITIVE_INFINITY, vault.nextExpiry ?? Number.POSITIVE_INFINITY)
        if (next === Number.POSITIVE_INFINITY) break
        // A key that comes while it sleeps expires no earlier than the longest sleep.
        yield* Effect.sleep(Duration.millis(Math.min(next - now, CACHE_MILLIS)))
      }
      if (kept === vault) kept = undefined
    })

  const ensureKept = (vault: OpenVault) =>
    Effect.suspend(() => {
      if (kept === vault) return Effect.void
      kept = vault
      return Effect.asVoid(FiberHandle.run(keeper, keep(vault)))
    })

  /** Unlocks with a copy of the seed. Gives false, and unlocks nothing, where a lock came since `since`. */
  const adopt = (seed: Uint8Array, weakKdf: boolean, since: number) =>
    Effect.gen(function* () {
      const now = yield* Clock.currentTimeMillis
      if (closed || epoch !== since) return false
      const vault = new OpenVault(seed.slice(), weakKdf, now)
      open = vault
      yield* SubscriptionRef.set(published, statusOfOpen(vault))
      yield* ensureKept(vault)
      return true
    }).pipe(Effect.uninterruptible)

  /** The open vault in one synchronous step that counts as a use. */
  const withOpen = <A>(use: (vault: OpenVault, now: number) => Result.Result<A, VaultError>) =>
    Effect.flatMap(Clock.currentTimeMillis, (now): Effect.Effect<A, VaultError> => {
      if (open === undefined) return notOpen
      const vault = open
      vault.lastUse = now
      const result = use(vault, now)
      return Effect.andThen(ensureKept(vault), Effect.fromResult(result))
    })

  const notOpen: Effect.Effect<never, VaultLocked | VaultAbsent | VaultIo> = Effect.flatMap(storage.exists, (exists) =>
    Effect.fail(exists ? new VaultLocked() : new VaultAbsent())
  )

  const refuseExisting = Effect.suspend(() =>
    Effect.flatMap(open === undefined ? storage.exists : Effect.succeed(true), (exists) =>
      exists ? Effect.fail(new VaultExists()) : Effect.void
    )
  )

  /** Seals, writes and unlocks a new vault. */
  const establish = (own: Own, passphrase: Uint8Array, payload: VaultPayload) =>
    turn.withPermit(
      Effect.gen(function* () {
        yield* refuseExisting
        const since = epoch
        const seed = own(parts.deriveSeed(payload.entropy, payload.mnemonicPassphrase))
        const created = Math.floor((yield* Clock.currentTimeMillis) / 1000)
        const text = yield* sealPayload(parts, passphrase, payload, { nodeId: nodeIdOfSeed(seed), created })
        // Where a lock came meanwhile the vault is made and stays locked.
        const written = storage.write(text, "create")
        yield* Effect.uninterruptible(Effect.andThen(written, adopt(seed, isWeakKdf(parts.kdf), since)))
      })
    )

  const unlockFile = (passphrase: Secret): Effect.Effect<void, VaultError> =>
    withOwned((own) =>
      Effect.gen(function* () {
        const since = epoch
        const file = yield* readFile
        const { seed } = yield* unsealFile(parts, own, passphrase, file)
        if (!(yield* adopt(seed, isWeakKdf(file.header.kdf), since))) return yield* new VaultLocked()
      })
    )

  const lock = Effect.suspend(() => (unlocking === undefined ? Effect.void : Fiber.interrupt(unlocking))).pipe(
    Effect.andThen(close),
    Effect.andThen(Effect.suspend(() => (open === undefined ? FiberHandle.clear(keeper) : Effect.void))),
    Effect.uninterruptible
  )

  yield* Effect.addFinalizer(() =>
    Effect.suspend(() => {
      closed = true
      return lock
    })
  )

  return {
    status,
    changes: SubscriptionRef.changes(published),

    create: Effect.fn("Vault.create")((options) =>
      withOwned((own) =>
        Effect.gen(function* () {
          const words = options.words ?? 24
          if (!WORD_COUNTS.includes(words)) return yield* new MnemonicInvalid({ reason: "count" })
          const passphrase = own(yield* Effect.fromResult(checkNewPassphrase(options.passphrase)))
          const mnemonicPassphrase = own(yield* normalizeOptional(options.mnemonicPassphrase))
          yield* refuseExisting
          const entropy = own(parts.random("entropy", entropyBytes(words)))
          const shown = yield* Effect.suspend(() => options.show(wordsFromEntropy(entropy)))
          yield* establish(own, passphrase, { entropy, mnemonicPassphrase })
          return shown
        })
      )
    ),

    restore: Effect.fn("Vault.restore")((options) =>
      withOwned((own) =>
        Effect.gen(function* () {
          const passphrase = own(yield* Effect.fromResult(checkNewPassphrase(options.passphrase)))
          const sentence = new TextDecoder().decode(Redacted.value(options.mnemonic))
          const entropy = own(yield* Effect.fromResult(entropyFromSentence(sentence)))
          const mnemonicPassphrase = own(yield* normalizeOptional(options.mnemonicPassphrase))
          yield* establish(own, passphrase, { entropy, mnemonicPassphrase })
        })
      )
    ),

    unlock: Effect.fn("Vault.unlock")((passphrase) =>
      turn.withPermit(
        Effect.gen(function* () {
          if (open !== undefined) return yield* new AlreadyUnlocked()
          // It starts after the assignment, so that a lock always finds it.
          const fiber = yield* Effect.forkChild(unlockFile(passphrase))
          unlocking = fiber
          const exit = yield* Fiber.await(fiber).pipe(
            Effect.onInterrupt(() => Fiber.interrupt(fiber)),
            Effect.ensuring(
              Effect.sync(() => {
                unlocking = undefined
              })
            )
          )
          // Only `lock` interrupts the inner fiber while the outer one goes on.
          if (Exit.isFailure(exit) && Cause.hasInterruptsOnly(exit.cause)) return yield* new VaultLocked()
          return yield* exit
        })
      )
    ),

    lock,

    changePassphrase: Effect.fn("Vault.changePassphrase")((options) =>
      withOwned((own) =>
        Effect.gen(function* () {
          const next = own(yield* Effect.fromResult(checkNewPassphrase(options.next)))
          yield* turn.withPermit(
            Effect.gen(function* () {
              const file = yield* readFile
              const payload = yield* unsealFile(parts, own, options.current, file)
              const text = yield* sealPayload(parts, next, payload, file.header)
              yield* storage.write(text, "replace")
              if (open !== undefined) open.weakKdf = isWeakKdf(parts.kdf)
              yield* Effect.ignore(Effect.flatMap(status, (now) => SubscriptionRef.set(published, now)))
            })
          )
        })
      )
    ),

    reveal: Effect.fn("Vault.reveal")((passphrase, show) =>
      withOwned((own) =>
        Effect.gen(function* () {
          const { entropy } = yield* turn.withPermit(
            Effect.flatMap(readFile, (file) => unsealFile(parts, own, passphrase, file))
          )
          return yield* Effect.suspend(() => show(wordsFromEntropy(entropy)))
        })
      )
    ),

    key: Effect.fn("Vault.key")(function* (role) {
      const spec = yield* Effect.fromResult(specOfRole(role))
      const path = printPath(spec.path)
      const copy = yield* Effect.acquireRelease(
        withOpen((vault, now) => Result.succeed(vault.copyKey(spec, now))),
        (secret) => Effect.sync(() => secret.fill(0))
      )
      const publicKey = publicKeyOf(spec.scheme, copy)
      return { role, path, scheme: spec.scheme, publicKey, secret: Redacted.make(copy) }
    }),

    encrypt: Effect.fn("Vault.encrypt")(function* (id, plaintext, keyVersion = parts.keyVersion ?? MIN_KEY_VERSION) {
      yield* Effect.fromResult(checkBlobName(id))
      const spec = yield* Effect.fromResult(specOfKeyVersion(keyVersion))
      const bytes = Redacted.value(plaintext)
      if (bytes.length > PLAINTEXT_MAX_BYTES) return yield* new PlaintextTooLarge({ limit: PLAINTEXT_MAX_BYTES })
      return yield* withOpen((vault, now) =>
        Result.succeed(
          vault.withKey(spec, now, (key) => sealBlob(key, parts.random("iv", IV_BYTES), keyVersion, id, bytes))
        )
      )
    }),

    decrypt: Effect.fn("Vault.decrypt")(function* (id, text) {
      yield* Effect.fromResult(checkBlobName(id))
      const blob = yield* Effect.fromResult(parseBlob(text))
      const spec = yield* Effect.fromResult(specOfKeyVersion(blob.keyVersion))
      return yield* withOpen((vault, now) =>
        Result.map(
          vault.withKey(spec, now, (key) => openBlob(key, blob, id)),
          (plaintext): Secret => Redacted.make(plaintext)
        )
      )
    }),

    rotate: Effect.fn("Vault.rotate")(function* (id, text, toKeyVersion) {
      yield* Effect.fromResult(checkBlobName(id))
      const blob = yield* Effect.fromResult(parseBlob(text))
      const from = yield* Effect.fromResult(specOfKeyVersion(blob.keyVersion))
      const to = yield* Effect.fromResult(specOfKeyVersion(toKeyVersion))
      if (toKeyVersion < blob.keyVersion) return yield* new InvalidKeyVersion({ version: toKeyVersion })
      return yield* withOpen((vault, now) =>
        Result.map(
          vault.withKey(from, now, (key) => openBlob(key, blob, id)),
          (plaintext) => {
            const iv = parts.random("iv", IV_BYTES)
            const sealed = vault.withKey(to, now, (key) => sealBlob(key, iv, toKeyVersion, id, plaintext))
            plaintext.fill(0)
            return sealed
          }
        )
      )
    })
  }
})

const normalizeOptional = (passphrase: Secret | undefined) =>
  Effect.suspend(() =>
    Effect.fromResult(normalizeMnemonicPassphrase(passphrase === undefined ? undefined : Redacted.value(passphrase)))
  )
