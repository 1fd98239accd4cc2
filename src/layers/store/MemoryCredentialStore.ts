/**
 * Sealed credentials in memory, for tests: the rules of `CredentialStore`, gone with the layer.
 */
import { Effect, Layer, Option } from "effect"
import {
  CREDENTIAL_MAX_BYTES,
  CREDENTIAL_PAGE,
  type CredentialId,
  CredentialStore,
  CredentialStoreError
} from "../../services/CredentialStore.ts"

interface Credential {
  readonly id: CredentialId
  readonly text: string
}

/** An empty store. */
export const layer: Layer.Layer<CredentialStore> = Layer.sync(CredentialStore, () => {
  const credentials = new Map<string, Credential>()
  return {
    get: (id) => Effect.sync(() => Option.fromUndefinedOr(credentials.get(keyOf(id))?.text)),
    put: (id, text, expected) =>
      Effect.suspend(() => {
        if (Buffer.byteLength(text) > CREDENTIAL_MAX_BYTES) return failed(id, "TooLarge")
        if (credentials.get(keyOf(id))?.text !== Option.getOrUndefined(expected)) return failed(id, "Conflict")
        credentials.set(keyOf(id), { id: { purpose: id.purpose, name: id.name }, text })
        return Effect.void
      }),
    delete: (id) => Effect.sync(() => credentials.delete(keyOf(id))),
    list: ({ after, purpose } = {}) =>
      Effect.sync(() =>
        [...credentials.values()]
          .map(({ id }) => id)
          .filter((id) => purpose === undefined || id.purpose === purpose)
          .sort(compareIds)
          .filter((id) => after === undefined || compareIds(id, after) > 0)
          .slice(0, CREDENTIAL_PAGE)
      )
  }
})

const keyOf = ({ name, purpose }: CredentialId): string => JSON.stringify([purpose, name])

const failed = ({ name, purpose }: CredentialId, reason: CredentialStoreError["reason"]) =>
  Effect.fail(new CredentialStoreError({ reason, purpose, name }))

/** By the bytes of UTF-8, as SQLite compares: the order of code points. */
const compareIds = (left: CredentialId, right: CredentialId): number =>
  compareTexts(left.purpose, right.purpose) || compareTexts(left.name, right.name)

const compareTexts = (left: string, right: string): number => Buffer.compare(Buffer.from(left), Buffer.from(right))
