/**
 * Buffers that are wiped when an effect ends, however it ends (VAULT-R34, VAULT-R37).
 */
import { Effect } from "effect"

/** Registers a buffer to be wiped, and gives it back. */
export type Own = (bytes: Uint8Array) => Uint8Array

export const withOwned = <A, E, R>(use: (own: Own) => Effect.Effect<A, E, R>): Effect.Effect<A, E, R> =>
  Effect.suspend(() => {
    const owned: Array<Uint8Array> = []
    const own: Own = (bytes) => {
      owned.push(bytes)
      return bytes
    }
    return Effect.ensuring(
      use(own),
      Effect.sync(() => {
        for (const bytes of owned) bytes.fill(0)
      })
    )
  })
