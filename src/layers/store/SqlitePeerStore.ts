/**
 * The peer store in a SQLite file: the default, which the running node and commands beside it share (ID-R32 to ID-R36).
 *
 * What this process writes is in the snapshot before the write returns. What another process writes is noticed by polling
 * `PRAGMA data_version` four times a second. Where reading fails, the last good snapshot stays and polling goes on.
 */
import { Effect, Layer, type Result, Schedule, Semaphore, SubscriptionRef } from "effect"
import type { NodeId } from "../../protocol/identity/NodeId.ts"
import { PeerStore, StoreError } from "../../services/PeerStore.ts"
import { PeerReader, type Reading } from "./PeerReader.ts"
import { PEER_MIGRATIONS } from "./PeerRows.ts"
import { makePeerStore, type PeerTables } from "./PeerTables.ts"
import { openSqlite, SqliteError } from "./Sqlite.ts"
import { sqlitePeerTables } from "./SqlitePeerTables.ts"

/** How often the writes of other processes are looked for, in milliseconds. */
export const POLL_MILLIS = 250

export interface SqlitePeerStoreOptions {
  /** The database file, mode 0600; made where missing. */
  readonly path: string
  /** This node, which cannot be added as a peer. */
  readonly local?: NodeId
}

export const layer = (options: SqlitePeerStoreOptions): Layer.Layer<PeerStore, StoreError> =>
  Layer.effect(
    PeerStore,
    Effect.gen(function* () {
      const { path } = options
      const database = yield* openSqlite({ path, migrations: PEER_MIGRATIONS }).pipe(Effect.mapError(toStoreError))
      const reader = new PeerReader()
      // Writing and polling publish in the order in which they read.
      const turn = yield* Semaphore.make(1)
      let version = yield* database.dataVersion.pipe(Effect.mapError(toStoreError))
      // Our own writes do not change the version: what could not be read back is read by the next poll.
      let isStale = false

      const read = database
        .read((session) => reader.read(session))
        .pipe(Effect.mapError(toStoreError), Effect.tap(report))
      const snapshot = yield* SubscriptionRef.make((yield* read).snapshot)
      const refresh = Effect.gen(function* () {
        isStale = true
        const { isNew, snapshot: next } = yield* read
        if (isNew) yield* SubscriptionRef.set(snapshot, next)
        isStale = false
      })

      const poll = Effect.gen(function* () {
        const latest = yield* database.dataVersion.pipe(Effect.mapError(toStoreError))
        if (latest === version && !isStale) return
        yield* refresh
        version = latest
      }).pipe(turn.withPermit)
      let wasReadable = true
      yield* poll.pipe(
        Effect.matchEffect({
          onSuccess: () =>
            Effect.sync(() => {
              wasReadable = true
            }),
          onFailure: (error) =>
            Effect.suspend(() => {
              const isFirst = wasReadable
              wasReadable = false
              return isFirst ? Effect.logError(`${error.message}; what was read before stays in force`) : Effect.void
            })
        }),
        Effect.repeat(Schedule.spaced(POLL_MILLIS)),
        Effect.forkScoped({ startImmediately: true })
      )

      const write = <A, E>(body: (tables: PeerTables) => Result.Result<A, E>): Effect.Effect<A, E | StoreError> =>
        Effect.uninterruptible(
          turn.withPermit(
            database
              .transaction((session) => body(sqlitePeerTables(session)))
              .pipe(
                Effect.mapError((error) => (error instanceof SqliteError ? toStoreError(error) : error)),
                Effect.tap(() => refresh)
              )
          )
        )
      const list = turn.withPermit(Effect.andThen(refresh, SubscriptionRef.get(snapshot)))

      return makePeerStore({ write, list, snapshot }, options.local)
    })
  )

const toStoreError = ({ path, reason, hint }: SqliteError): StoreError =>
  new StoreError({ field: path, reason: reason === "Insecure" || reason === "Version" ? reason : "Io", hint })

/** One line for each row that does not parse; the row itself may hold anything and is not shown. */
const report = ({ skipped }: Reading): Effect.Effect<void> =>
  Effect.forEach(skipped, (row) => Effect.logError(`peer store: a row cannot be read and counts for nothing: ${row}`), {
    discard: true
  })
