import { chmodSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect, Exit, Result, Scope } from "effect"
import { layer, openSqlite, Sqlite } from "../../../src/layers/store/Sqlite.ts"
import { temporaryDirectory } from "./TemporaryDirectory.ts"

const migrations = ["CREATE TABLE notes(id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE) STRICT"]

const setup = Effect.gen(function* () {
  const path = join(yield* temporaryDirectory, "home", "notes.db")
  return { path, database: yield* openSqlite({ path, migrations }) }
})

const insert = (text: string) => (session: { run: (sql: string, ...values: Array<string>) => number }) =>
  Result.succeed(session.run("INSERT INTO notes(text) VALUES (?)", text))

it.live("ID-R32 the file, its log and its index are for the user alone", () =>
  Effect.gen(function* () {
    const { path, database } = yield* setup
    yield* database.transaction(insert("a"))
    for (const file of [path, `${path}-wal`, `${path}-shm`]) {
      assert.strictEqual(statSync(file).mode & 0o777, 0o600, file)
    }
    assert.strictEqual(statSync(join(path, "..")).mode & 0o777, 0o700)
  })
)

it.live("ID-R33 it runs in WAL mode with a busy timeout of 5 s and syncs every commit", () =>
  Effect.gen(function* () {
    const { database } = yield* setup
    const settings = yield* database.read((session) =>
      ["journal_mode", "busy_timeout", "synchronous", "foreign_keys"].map((name) =>
        Object.values(session.get(`PRAGMA ${name}`) ?? {}).at(0)
      )
    )
    assert.deepStrictEqual(settings, ["wal", 5000, 2, 1])
  })
)

it.live("a failed body and a broken constraint leave nothing behind", () =>
  Effect.gen(function* () {
    const { database } = yield* setup
    const refused = yield* Effect.flip(
      database.transaction((session) => {
        insert("a")(session)
        return Result.fail("no" as const)
      })
    )
    assert.strictEqual(refused, "no")
    yield* database.transaction(insert("b"))
    const broken = yield* Effect.flip(
      database.transaction((session) => {
        insert("c")(session)
        return insert("b")(session)
      })
    )
    assert.strictEqual(broken.reason, "Io")
    assert.strictEqual(broken.hint, "constraint failed")
    assert.deepStrictEqual(
      yield* database.read((session) => session.all("SELECT text FROM notes").map((row) => row["text"])),
      ["b"]
    )
  })
)

it.live("a bug in a body is a defect, and the next transaction works", () =>
  Effect.gen(function* () {
    const { database } = yield* setup
    const exit = yield* Effect.exit(
      database.transaction((session) => {
        insert("a")(session)
        throw new TypeError("bug")
      })
    )
    assert.isTrue(Exit.hasDies(exit))
    yield* database.transaction(insert("a"))
  })
)

it.live("dataVersion changes with the commits of others only", () =>
  Effect.gen(function* () {
    const { path, database } = yield* setup
    const other = yield* openSqlite({ path, migrations })
    const before = yield* database.dataVersion
    yield* database.transaction(insert("a"))
    assert.strictEqual(yield* database.dataVersion, before)
    yield* other.transaction(insert("b"))
    assert.notStrictEqual(yield* database.dataVersion, before)
  })
)

it.live("migrations run once and in order; a newer file is refused as Version", () =>
  Effect.gen(function* () {
    const path = join(yield* temporaryDirectory, "notes.db")
    const open = (scripts: ReadonlyArray<string>) => Effect.scoped(openSqlite({ path, migrations: scripts }))
    yield* open(migrations)
    const grown = [...migrations, "ALTER TABLE notes ADD COLUMN author TEXT"]
    yield* open(grown)
    yield* open(grown)
    assert.strictEqual((yield* Effect.flip(open(migrations))).reason, "Version")
  })
)

it.live("ID-025 a file that others may read is Insecure, a file that is no database is Damaged", () =>
  Effect.gen(function* () {
    const directory = yield* temporaryDirectory
    const readable = join(directory, "readable.db")
    writeFileSync(readable, "")
    chmodSync(readable, 0o644)
    assert.strictEqual((yield* Effect.flip(openSqlite({ path: readable, migrations }))).reason, "Insecure")

    const garbage = join(directory, "garbage.db")
    writeFileSync(garbage, "x".repeat(4096), { mode: 0o600 })
    assert.strictEqual((yield* Effect.flip(openSqlite({ path: garbage, migrations }))).reason, "Damaged")

    assert.strictEqual((yield* Effect.flip(openSqlite({ path: directory, migrations }))).reason, "Io")
  })
)

it.live("the scope closes the file, and what was committed is there again", () =>
  Effect.gen(function* () {
    const path = join(yield* temporaryDirectory, "notes.db")
    const scope = yield* Scope.make()
    const first = yield* Scope.provide(openSqlite({ path, migrations }), scope)
    yield* first.transaction(insert("kept"))
    yield* Scope.close(scope, Exit.void)
    assert.isTrue(Exit.isFailure(yield* Effect.exit(first.read((session) => session.all("SELECT 1")))))
    const second = yield* openSqlite({ path, migrations })
    assert.deepStrictEqual(yield* second.read((session) => session.all("SELECT text FROM notes").length), 1)
  })
)

it.live("the layer gives the database as a service", () =>
  Effect.gen(function* () {
    const path = join(yield* temporaryDirectory, "notes.db")
    const written = Sqlite.use((database) => database.transaction(insert("a")))
    assert.strictEqual(yield* Effect.provide(written, layer({ path, migrations })), 1)
  })
)
