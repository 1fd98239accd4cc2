/** The list of live SSH sessions, in memory. */
import { Clock, Deferred, Effect, Layer } from "effect"
import { type LiveSession, type SshSessionStart, SshSessions } from "../services/SshSessions.ts"

interface Entry {
  readonly facts: SshSessionStart & { readonly since: number }
  readonly live: LiveSession
  readonly wanted: Deferred.Deferred<void>
}

export const layer: Layer.Layer<SshSessions> = Layer.sync(SshSessions, () => {
  const entries = new Map<string, Entry>()
  let count = 0

  return SshSessions.of({
    start: (start) =>
      Effect.acquireRelease(
        Effect.gen(function* () {
          const since = yield* Clock.currentTimeMillis
          const wanted = yield* Deferred.make<void>()
          const id = `s${++count}`
          const live: LiveSession = { id, bytesReceived: 0, bytesSent: 0, ending: Deferred.await(wanted) }
          entries.set(id, { facts: { ...start, since }, live, wanted })
          return live
        }),
        ({ id }) => Effect.sync(() => entries.delete(id))
      ),
    list: Effect.sync(() =>
      [...entries.values()].map(({ facts, live: { bytesReceived, bytesSent, id } }) => ({
        ...facts,
        id,
        bytesReceived,
        bytesSent
      }))
    ),
    end: (id) =>
      Effect.suspend(() => {
        const entry = entries.get(id)
        return entry === undefined ? Effect.succeed(false) : Effect.as(Deferred.succeed(entry.wanted, undefined), true)
      })
  })
})
