/**
 * Sealed credentials in a SQLite file of their own: text in, the same text out (VAULT-R46). Several processes may use the
 * file at once; compare-and-set is one statement of one transaction.
 *
 * It keeps ciphertext only, and still the file is readable by its user alone.
 */
import { Effect, Layer, Option, Result } from "effect"
import {
  CREDENTIAL_MAX_BYTES,
  CREDENTIAL_PAGE,
  type CredentialId,
  CredentialStore,
  CredentialStoreError
} from "../../services/CredentialStore.ts"
import { openSqlite, type SqliteError } from "./Sqlite.ts"

/** The store in the database file at `path`, which is made where missing. */
export const layer = (path: string): Layer.Layer<CredentialStore, SqliteError> =>
  Layer.effect(
    CredentialStore,
    Effect.map(openSqlite({ path, migrations: MIGRATIONS }), (sqlite) => ({
      get: (id) =>
        sqlite
          .read((session) => session.get(GET, id.purpose, id.name)?.["text"])
          .pipe(
            Effect.map((text) => (typeof text === "string" ? Option.some(text) : Option.none())),
            Effect.mapError(() => failure(id, "Io"))
          ),
      put: (id, text, expected) => {
        if (Buffer.byteLength(text) > CREDENTIAL_MAX_BYTES) return Effect.fail(failure(id, "TooLarge"))
        return sqlite
          .transaction((session) => {
            const changed = Option.isNone(expected)
              ? session.run(INSERT, id.purpose, id.name, text)
              : session.run(REPLACE, text, id.purpose, id.name, expected.value)
            return changed === 1 ? Result.succeed(undefined) : Result.fail(failure(id, "Conflict"))
          })
          .pipe(Effect.catchTag("SqliteError", () => Effect.fail(failure(id, "Io"))))
      },
      delete: (id) =>
        sqlite
          .transaction((session) => Result.succeed(session.run(DELETE, id.purpose, id.name) === 1))
          .pipe(Effect.mapError(() => failure(id, "Io"))),
      list: ({ after, purpose } = {}) =>
        sqlite
          .read((session) =>
            session
              .all(LIST, purpose ?? null, after?.purpose ?? "", after?.name ?? "", CREDENTIAL_PAGE)
              .map((row): CredentialId => ({ purpose: String(row["purpose"]), name: String(row["name"]) }))
          )
          .pipe(Effect.mapError(() => failure({ purpose: purpose ?? "", name: "" }, "Io")))
    }))
  )

const failure = ({ name, purpose }: CredentialId, reason: CredentialStoreError["reason"]) =>
  new CredentialStoreError({ reason, purpose, name })

const MIGRATIONS = [
  `CREATE TABLE credential (
    purpose TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (purpose, name)
  ) STRICT, WITHOUT ROWID`
]
const GET = "SELECT text FROM credential WHERE purpose = ? AND name = ?"
const INSERT = "INSERT INTO credential (purpose, name, text) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
const REPLACE = "UPDATE credential SET text = ? WHERE purpose = ? AND name = ? AND text = ?"
const DELETE = "DELETE FROM credential WHERE purpose = ? AND name = ?"
const LIST = `SELECT purpose, name FROM credential
  WHERE (?1 IS NULL OR purpose = ?1) AND (purpose, name) > (?2, ?3)
  ORDER BY purpose, name LIMIT ?4`
