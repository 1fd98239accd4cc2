/**
 * Where the vault and the store of sealed credentials meet: part of the assembly, because nothing else may know both.
 *
 * `capabilities` opens what operations of this node may use; `rotateCredentials` moves everything to a newer key version. A
 * credential that does not open is reported by its name and left as it is; it never stops the others.
 */
import { Effect, Layer, Option, Redacted, Result } from "effect"
import { parseBlob } from "../protocol/vault/CredentialBlob.ts"
import type { VaultError } from "../protocol/vault/VaultError.ts"
import { Capabilities } from "../services/Capabilities.ts"
import {
  CREDENTIAL_PAGE,
  type CredentialId,
  CredentialStore,
  type CredentialStoreError
} from "../services/CredentialStore.ts"
import { type Secret, Vault } from "../services/Vault.ts"

/** The purpose of credentials that operations may use (VAULT-R47). */
export const CAPABILITY_PURPOSE = "credential"

export interface RotateReport {
  /** Sealed anew under the target version. */
  readonly rotated: ReadonlyArray<CredentialId>
  /** Already of format 3 at the target version. */
  readonly skipped: ReadonlyArray<CredentialId>
  readonly failed: ReadonlyArray<{ readonly id: CredentialId; readonly error: VaultError | CredentialStoreError }>
}

/**
 * Seals every stored credential anew under `toKeyVersion` (VAULT-R45). Each is replaced by compare-and-set on its own, so
 * that it can be stopped at any moment and repeated; one that somebody changes meanwhile is tried once more.
 */
export const rotateCredentials = Effect.fn("NodeCredentials.rotate")(function* (
  toKeyVersion: number
): Effect.fn.Return<RotateReport, CredentialStoreError, Vault | CredentialStore> {
  const report = {
    rotated: [] as CredentialId[],
    skipped: [] as CredentialId[],
    failed: [] as RotateReport["failed"][number][]
  }
  for (const id of yield* allIds()) {
    const outcome = yield* Effect.result(
      Effect.retry(rotateOne(id, toKeyVersion), {
        times: 1,
        while: (error) => error._tag === "CredentialStoreError" && error.reason === "Conflict"
      })
    )
    if (Result.isFailure(outcome)) report.failed.push({ id, error: outcome.failure })
    else if (outcome.success !== "gone") report[outcome.success].push(id)
  }
  return report
})

/**
 * The capabilities of this node: every credential of purpose `credential` that opens. What does not is logged by name and is
 * missing from the bag.
 */
export const capabilities: Layer.Layer<Capabilities, CredentialStoreError, Vault | CredentialStore> = Layer.effect(
  Capabilities,
  Effect.suspend(() => {
    const secrets = new Map<string, Secret>()
    return Effect.gen(function* () {
      for (const id of yield* allIds(CAPABILITY_PURPOSE)) {
        const opened = yield* Effect.result(openOne(id))
        if (Result.isFailure(opened)) {
          yield* Effect.logWarning(`the credential ${id.name} is left out: ${opened.failure.message}`)
        } else if (Option.isSome(opened.success)) {
          secrets.set(id.name, opened.success.value)
        }
      }
      return yield* Capabilities.fromSecrets(secrets)
    }).pipe(
      Effect.ensuring(
        Effect.sync(() => {
          for (const secret of secrets.values()) Redacted.value(secret).fill(0)
        })
      )
    )
  })
)

const allIds = Effect.fnUntraced(function* (
  purpose?: string
): Effect.fn.Return<ReadonlyArray<CredentialId>, CredentialStoreError, CredentialStore> {
  const store = yield* CredentialStore
  const ids: Array<CredentialId> = []
  for (;;) {
    const after = ids.at(-1)
    const page = yield* store.list({
      ...(purpose === undefined ? {} : { purpose }),
      ...(after === undefined ? {} : { after })
    })
    ids.push(...page)
    if (page.length < CREDENTIAL_PAGE) return ids
  }
})

const rotateOne = Effect.fnUntraced(function* (id: CredentialId, toKeyVersion: number) {
  const store = yield* CredentialStore
  const vault = yield* Vault
  const kept = yield* store.get(id)
  if (Option.isNone(kept)) return "gone" as const
  const blob = yield* Effect.fromResult(parseBlob(kept.value))
  if (blob.format === 3 && blob.keyVersion === toKeyVersion) return "skipped" as const
  yield* store.put(id, yield* vault.rotate(id, kept.value, toKeyVersion), kept)
  return "rotated" as const
})

const openOne = Effect.fnUntraced(function* (id: CredentialId) {
  const kept = yield* (yield* CredentialStore).get(id)
  if (Option.isNone(kept)) return Option.none<Secret>()
  return Option.some(yield* (yield* Vault).decrypt(id, kept.value))
})
