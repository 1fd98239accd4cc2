/**
 * A thin service over `node:sqlite`: one open database file, short synchronous transactions, typed errors.
 *
 * For the stores of a node that live in a file (peers, credentials). Several processes may open the same file: it is in
 * WAL mode, a writer waits at most 5 s for another, and every write is one `BEGIN IMMEDIATE` transaction (ID-R33). What
 * was committed is on disk (`synchronous=FULL`). It does not know what the tables mean, and it does not watch for changes:
 * a store polls `dataVersion`.
 *
 * Bodies are plain functions that return a `Result`: a failure rolls back, so does an error of SQLite. Values are always
 * bound, never put into the text of a statement. A transaction holds up this thread, also while it waits for another
 * process: keep bodies short. `node:sqlite` is loaded when the first database is opened.
 */
import { closeSync, mkdirSync, openSync, statSync } from "node:fs"
import { dirname } from "node:path"
import type { DatabaseSync, SQLInputValue, SQLOutputValue, StatementSync } from "node:sqlite"
import { Context, Effect, Layer, Result, Schema, type Scope } from "effect"

/** How long a transaction waits for the write of another process, in milliseconds. */
export const BUSY_TIMEOUT_MILLIS = 5000

/** How often the switch to WAL mode is tried while another process makes the same file. */
const WAL_ATTEMPTS = 50

export class SqliteError extends Schema.TaggedError<SqliteError>()("SqliteError", {
  /** The database file. */
  path: Schema.String,
  /**
   * `Insecure`: others may read the file, or it belongs to somebody else. `Version`: a newer Alknet wrote it. `Busy`:
   * another process held it for longer than the timeout. `Damaged`: not a database, or a broken one. `Unavailable`: this
   * Node has no `node:sqlite`. `Io`: everything else.
   */
  reason: Schema.Literals(["Insecure", "Version", "Busy", "Damaged", "Unavailable", "Io"]),
  hint: Schema.String
}) {
  override get message() {
    return `database ${this.path}: ${this.hint}`
  }
}

/** A value that a column can hold. */
export type SqlValue = SQLInputValue

/** A row by column name. */
export type SqlRow = Readonly<Record<string, SQLOutputValue>>

/** What a transaction may do. Statements are prepared once and kept. */
export interface SqlSession {
  readonly all: (sql: string, ...values: ReadonlyArray<SqlValue>) => ReadonlyArray<SqlRow>
  readonly get: (sql: string, ...values: ReadonlyArray<SqlValue>) => SqlRow | undefined
  /** The number of rows that were changed. */
  readonly run: (sql: string, ...values: ReadonlyArray<SqlValue>) => number
}

export interface SqliteOptions {
  /** The file; it and its directory are made where missing, readable by the user alone. */
  readonly path: string
  /** Scripts that lead from one `user_version` to the next; their number is the version that this program knows. */
  readonly migrations: ReadonlyArray<string>
}

export class Sqlite extends Context.Service<
  Sqlite,
  {
    readonly path: string
    /** Reads one state of the database, whatever others write meanwhile. */
    readonly read: <A>(body: (session: SqlSession) => A) => Effect.Effect<A, SqliteError>
    /** Writes all or nothing. */
    readonly transaction: <A, E>(
      body: (session: SqlSession) => Result.Result<A, E>
    ) => Effect.Effect<A, E | SqliteError>
    /** A number that differs from the last answer when another connection has committed since. */
    readonly dataVersion: Effect.Effect<number, SqliteError>
  }
>()("alknet/Sqlite") {}

/** Opens the database and brings it to the newest version; the scope closes it. */
export const openSqlite = Effect.fn("Sqlite.open")(function* (
  options: SqliteOptions
): Effect.fn.Return<Sqlite["Service"], SqliteError, Scope.Scope> {
  const { path } = options
  const attempt = <A>(body: () => A): Effect.Effect<A, SqliteError> =>
    Effect.try({ try: body, catch: (cause) => toSqliteError(path, cause) })

  yield* attempt(() => secureFile(path))
  const { DatabaseSync } = yield* loadSqlite(path)
  const database = yield* Effect.acquireRelease(
    attempt(() => new DatabaseSync(path, { enableForeignKeyConstraints: true })),
    (open) => Effect.sync(() => open.close())
  )
  const session = sessionOf(database)

  const inTransaction = <A, E>(begin: string, body: () => Result.Result<A, E>): Result.Result<A, E | SqliteError> => {
    try {
      database.exec(begin)
      const result = body()
      database.exec(Result.isSuccess(result) ? "COMMIT" : "ROLLBACK")
      return result
    } catch (cause) {
      rollback(database)
      // What neither SQLite nor the operating system threw is a bug in the body.
      if (!(cause instanceof SqliteError) && !(cause instanceof Error && "code" in cause)) throw cause
      return Result.fail(toSqliteError(path, cause))
    }
  }
  const transaction = <A, E>(body: (session: SqlSession) => Result.Result<A, E>) =>
    Effect.suspend(() => Effect.fromResult(inTransaction("BEGIN IMMEDIATE", () => body(session))))

  yield* attempt(() => {
    database.exec(`PRAGMA busy_timeout=${BUSY_TIMEOUT_MILLIS}`)
    switchToWal(database)
    database.exec("PRAGMA synchronous=FULL")
  })
  yield* transaction(() => migrate(database, options))

  return {
    path,
    read: (body) =>
      Effect.suspend(() => Effect.fromResult(inTransaction("BEGIN DEFERRED", () => Result.succeed(body(session))))),
    transaction,
    dataVersion: attempt(() => Number(session.get("PRAGMA data_version")?.["data_version"] ?? 0))
  }
})

/** The database as a service; it is closed with the layer. */
export const layer = (options: SqliteOptions): Layer.Layer<Sqlite, SqliteError> =>
  Layer.effect(Sqlite, openSqlite(options))

const loadSqlite = (path: string): Effect.Effect<typeof import("node:sqlite"), SqliteError> =>
  Effect.suspend(() => {
    const module = process.getBuiltinModule("node:sqlite")
    return module === undefined
      ? new SqliteError({ path, reason: "Unavailable", hint: "this Node has no node:sqlite; use 22.19 or newer" })
      : Effect.succeed(module)
  })

const sessionOf = (database: DatabaseSync): SqlSession => {
  const prepared = new Map<string, StatementSync>()
  const prepare = (sql: string): StatementSync => {
    const known = prepared.get(sql)
    if (known !== undefined) return known
    const statement = database.prepare(sql)
    prepared.set(sql, statement)
    return statement
  }
  return {
    all: (sql, ...values) => prepare(sql).all(...values),
    get: (sql, ...values) => prepare(sql).get(...values),
    run: (sql, ...values) => Number(prepare(sql).run(...values).changes)
  }
}

/** Makes the file with mode 0600 where it is missing, and refuses one that others can read or write. */
const secureFile = (path: string): void => {
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
  closeSync(openSync(path, "a", 0o600))
  const { mode, uid } = statSync(path)
  // Windows keeps rights in access control lists, which the mode does not show.
  if (process.platform === "win32") return
  if ((mode & 0o077) !== 0) {
    throw new SqliteError({
      path,
      reason: "Insecure",
      hint: "other users have rights on it; run: chmod 600 on the file"
    })
  }
  if (uid !== process.getuid?.()) {
    throw new SqliteError({ path, reason: "Insecure", hint: "it belongs to another user" })
  }
}

/**
 * SQLite does not wait for the busy timeout here: while another process makes the same switch it answers "locked" at once.
 */
const switchToWal = (database: DatabaseSync): void => {
  for (let attempt = 1; ; attempt++) {
    try {
      database.exec("PRAGMA journal_mode=WAL")
      return
    } catch (cause) {
      if (attempt === WAL_ATTEMPTS || primaryCode(cause) !== SQLITE_BUSY) throw cause
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 10)
    }
  }
}

const migrate = (database: DatabaseSync, { path, migrations }: SqliteOptions): Result.Result<void, SqliteError> => {
  const version = Number(database.prepare("PRAGMA user_version").get()?.["user_version"] ?? 0)
  if (version > migrations.length) {
    const hint = `its version is ${version} and this Alknet knows ${migrations.length}; use the newer Alknet`
    return Result.fail(new SqliteError({ path, reason: "Version", hint }))
  }
  for (const script of migrations.slice(version)) database.exec(script)
  if (version < migrations.length) database.exec(`PRAGMA user_version=${migrations.length}`)
  return Result.succeed(undefined)
}

const rollback = (database: DatabaseSync): void => {
  try {
    if (database.isTransaction) database.exec("ROLLBACK")
  } catch {
    // SQLite has ended the transaction by itself, which is what was wanted.
  }
}

/** Result codes of SQLite (sqlite.org/rescode.html), without the extension in the upper bits. */
const SQLITE_BUSY = 5
const SQLITE_CORRUPT = 11
const SQLITE_NOTADB = 26

const primaryCode = (cause: unknown): number | undefined =>
  cause instanceof Error && "errcode" in cause && typeof cause.errcode === "number" ? cause.errcode & 0xff : undefined

const toSqliteError = (path: string, cause: unknown): SqliteError => {
  if (cause instanceof SqliteError) return cause
  switch (primaryCode(cause)) {
    case SQLITE_BUSY:
      return new SqliteError({ path, reason: "Busy", hint: "another process holds it; try again" })
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return new SqliteError({ path, reason: "Damaged", hint: "it is damaged or not a database; restore a backup" })
    default:
      return new SqliteError({ path, reason: "Io", hint: causeText(cause) })
  }
}

/** The text of SQLite or the operating system: it names tables, columns and files, never values. */
const causeText = (cause: unknown): string => {
  if (!(cause instanceof Error)) return "unknown failure"
  if ("errstr" in cause && typeof cause.errstr === "string") return cause.errstr
  return "code" in cause && typeof cause.code === "string" ? cause.code : cause.name
}
