/** Makes API keys: a new token, of which only the hash is kept (identity.md section 4, ID-R24 to ID-R26). */
import { randomBytes } from "node:crypto"
import { Clock, Duration, Effect, Redacted } from "effect"
import { hashToken, makeToken, tokenPrefix } from "../protocol/identity/Token.ts"
import { ApiKey, PeerStore, type StoreError } from "../services/PeerStore.ts"

/** How often another token is drawn where its prefix, which 1 of 14 million keys shares, is taken. */
const ATTEMPTS = 5

export interface ApiKeyOptions {
  /** Plain patterns. */
  readonly scopes: ReadonlyArray<string>
  /** Without one it does not end. */
  readonly life?: Duration.Input
}

export interface IssuedApiKey {
  /** Shown once, never kept. */
  readonly token: Redacted.Redacted<string>
  readonly key: ApiKey
}

/** A new API key in the store. */
export const issueApiKey = Effect.fn("ApiKeyIssue.issueApiKey")(function* (
  options: ApiKeyOptions
): Effect.fn.Return<IssuedApiKey, StoreError, PeerStore> {
  const store = yield* PeerStore
  const now = Math.floor((yield* Clock.currentTimeMillis) / 1000)
  const { scopes, life } = options
  const draw = Effect.gen(function* () {
    const token = makeToken(randomBytes)
    const key = new ApiKey({
      prefix: tokenPrefix(token),
      sha256: hashToken(token),
      scopes,
      ...(life !== undefined && { expiresAt: now + Math.floor(Duration.toSeconds(Duration.fromInputUnsafe(life))) })
    })
    yield* store.addKey(key)
    return { token: Redacted.make(token, { label: "token" }), key }
  })
  return yield* Effect.retry(draw, { times: ATTEMPTS - 1, while: (error) => error.reason === "PrefixTaken" })
})
