import { spawn } from "node:child_process"
import { chmodSync, closeSync, openSync, statSync, writeSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Fiber, Layer, Logger, Result, type Scope, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { PEER_MIGRATIONS } from "../../../src/layers/store/PeerRows.ts"
import { openSqlite } from "../../../src/layers/store/Sqlite.ts"
import * as SqlitePeerStore from "../../../src/layers/store/SqlitePeerStore.ts"
import { PeerStore, type StoreError } from "../../../src/services/PeerStore.ts"
import { apiKeyOf, grantOf, hashOf, newNodeId, peerOf } from "./PeerFixtures.ts"
import { peerStoreContract } from "./PeerStoreContract.ts"
import { temporaryDirectory } from "./TemporaryDirectory.ts"

peerStoreContract("sqlite", (local) =>
  Effect.map(temporaryDirectory, (directory) => SqlitePeerStore.layer({ path: join(directory, "peers.db"), local }))
)

const newPath = Effect.map(temporaryDirectory, (directory) => join(directory, "peers.db"))

const open = (path: string): Effect.Effect<PeerStore["Service"], StoreError, Scope.Scope> =>
  Effect.flatMap(Layer.build(SqlitePeerStore.layer({ path })), (context) =>
    Effect.provide(
      PeerStore.use((store) => Effect.succeed(store)),
      context
    )
  )

/** Runs SQL as somebody who edits the file by hand. */
const edit = (path: string, ...statements: ReadonlyArray<string>) =>
  Effect.scoped(
    Effect.flatMap(openSqlite({ path, migrations: PEER_MIGRATIONS }), (database) =>
      database.transaction((session) => {
        for (const statement of statements) session.run(statement)
        return Result.succeed(undefined)
      })
    )
  )

const namesOf = (store: PeerStore["Service"]) =>
  Effect.map(SubscriptionRef.get(store.snapshot), ({ peers }) => peers.map((peer) => peer.peerId).join())

/** Lines that the program logs while it runs. */
const collectLogs = () => {
  const lines: Array<string> = []
  return { lines, layer: Logger.layer([Logger.make(({ message }) => lines.push(String(message)))]) }
}

it.effect("ID-R34 what another process writes is in the snapshot after the next poll, hints too", () =>
  Effect.gen(function* () {
    const path = yield* newPath
    const node = yield* open(path)
    const command = yield* open(path)
    yield* command.add(peerOf("alice", newNodeId()))
    assert.strictEqual(yield* namesOf(node), "")
    yield* TestClock.adjust(SqlitePeerStore.POLL_MILLIS)
    assert.strictEqual(yield* namesOf(node), "alice")
    const { revision } = yield* SubscriptionRef.get(node.snapshot)
    yield* command.seen("alice", 7, "10.0.0.1:1")
    yield* TestClock.adjust(SqlitePeerStore.POLL_MILLIS)
    const after = yield* SubscriptionRef.get(node.snapshot)
    assert.strictEqual(after.peers[0]?.lastSeen, 7)
    assert.strictEqual(after.revision, revision)
  })
)

it.effect("list reads what another process has just written", () =>
  Effect.gen(function* () {
    const path = yield* newPath
    const node = yield* open(path)
    yield* (yield* open(path)).add(peerOf("alice", newNodeId()))
    assert.strictEqual((yield* node.list).peers.length, 1)
    assert.strictEqual(yield* namesOf(node), "alice")
  })
)

it.effect("what was written is there when the file is opened again", () =>
  Effect.gen(function* () {
    const path = yield* newPath
    const peer = peerOf("alice", newNodeId(), { resources: { a: ["b"] }, lastSeen: 5, addresses: ["10.0.0.1:1"] })
    yield* Effect.scoped(
      Effect.gen(function* () {
        const store = yield* open(path)
        yield* store.add(peer)
        yield* store.addKey(apiKeyOf("alk_aaaa"))
        yield* store.issueGrant(grantOf(1))
        yield* store.redeem(grantOf(1).id, newNodeId(), "bob")
      })
    )
    const { peers, apiKeys, grants } = yield* (yield* open(path)).list
    assert.deepStrictEqual({ ...peers[0] }, { ...peer })
    assert.strictEqual(peers[1]?.peerId, "bob")
    assert.strictEqual(apiKeys.length, 1)
    assert.isDefined(grants[0]?.redeemedBy)
    assert.strictEqual(statSync(path).mode & 0o777, 0o600)
  })
)

it.effect("ID-025 ID-003 a row that does not parse is skipped, logged once, and stops no other row", () => {
  const logs = collectLogs()
  return Effect.gen(function* () {
    const path = yield* newPath
    const node = yield* open(path)
    const alice = newNodeId()
    yield* node.add(peerOf("alice", alice))
    yield* edit(
      path,
      "INSERT INTO peers VALUES ('json', NULL, '[', '{}', NULL, 1)",
      "INSERT INTO peers VALUES ('types', NULL, '{}', '{}', NULL, 1)",
      "INSERT INTO peers VALUES ('scope', NULL, '[\"a b\"]', '{}', NULL, 1)",
      "INSERT INTO peers VALUES ('grant-x', NULL, '[]', '{}', NULL, 1)",
      "INSERT INTO peers VALUES ('hash', 'sha256:x', '[]', '{}', NULL, 1)",
      "INSERT INTO peers VALUES ('keys', NULL, '[\"*\"]', '{}', NULL, 1)",
      `INSERT INTO peer_fingerprints VALUES ('ed25519:${"00".repeat(32)}', 'keys')`,
      "INSERT INTO peer_fingerprints VALUES ('ed25519:xyz', 'keys')",
      "INSERT INTO peer_hints VALUES ('keys', 'broken', NULL)",
      `INSERT INTO api_keys VALUES ('alk_bad', '${hashOf("x")}', '[]', NULL)`,
      "INSERT INTO grants VALUES ('00', 'invite', '[\"*\"]', NULL, 1, 2, NULL, NULL, 0)",
      `INSERT INTO grants VALUES ('${"00".repeat(16)}', 'invite', '["*"]', 'nobody', 1, 2, NULL, NULL, 0)`,
      `INSERT INTO grants VALUES ('${"01".repeat(16)}', 'other', '["*"]', NULL, 1, 2, NULL, NULL, 0)`
    )
    yield* TestClock.adjust(SqlitePeerStore.POLL_MILLIS)
    const { peers, apiKeys, grants } = yield* SubscriptionRef.get(node.snapshot)
    assert.deepStrictEqual(
      peers.map((peer) => [peer.peerId, peer.fingerprints.length]),
      [
        ["alice", 1],
        ["keys", 0]
      ]
    )
    assert.deepStrictEqual([apiKeys.length, grants.length], [0, 0])
    assert.strictEqual(logs.lines.length, 11)
    yield* node.add(peerOf("bob", newNodeId()))
    yield* TestClock.adjust(10 * SqlitePeerStore.POLL_MILLIS)
    assert.strictEqual(logs.lines.length, 11)
    assert.strictEqual((yield* Effect.flip(node.update("json", (peer) => peer))).reason, "Invalid")
    yield* node.remove("json")
  }).pipe(Effect.provide(logs.layer))
})

it.effect("ID-025 a newer user_version is Version, a file that others may read is Insecure", () =>
  Effect.gen(function* () {
    const path = yield* newPath
    yield* edit(path, "PRAGMA user_version=2")
    assert.strictEqual((yield* Effect.flip(open(path))).reason, "Version")
    chmodSync(path, 0o644)
    assert.strictEqual((yield* Effect.flip(open(path))).reason, "Insecure")
  })
)

it.effect(
  "ID-025 where the file is damaged while it runs the last snapshot stays, with one error, and polling goes on",
  () => {
    const logs = collectLogs()
    return Effect.gen(function* () {
      const path = yield* newPath
      const node = yield* open(path)
      yield* node.add(peerOf("alice", newNodeId()))
      // A second writer makes the node read again, and an empty log makes it read the file.
      yield* edit(path, "UPDATE peers SET display_name = 'x'", "UPDATE peers SET display_name = NULL")
      const damage = openSync(path, "r+")
      writeSync(damage, Buffer.alloc(statSync(path).size - 100, 0xaa), 0, undefined, 100)
      closeSync(damage)
      const wal = openSync(`${path}-wal`, "r+")
      writeSync(wal, Buffer.alloc(statSync(`${path}-wal`).size, 0xaa), 0, undefined, 0)
      closeSync(wal)
      yield* TestClock.adjust(8 * SqlitePeerStore.POLL_MILLIS)
      assert.strictEqual(yield* namesOf(node), "alice")
      assert.strictEqual(logs.lines.length, 1)
      assert.strictEqual((yield* Effect.flip(node.list)).reason, "Io")
    }).pipe(Effect.provide(logs.layer))
  }
)

/** Runs a script of this directory; fails where it did not end with code 0. It is killed with the scope. */
const runScript = (script: string, ...values: ReadonlyArray<string>) =>
  Effect.callback<void, string>((resume) => {
    const child = spawn(
      process.execPath,
      ["--disable-warning=ExperimentalWarning", join(import.meta.dirname, script), ...values],
      { stdio: ["ignore", "ignore", "pipe"] }
    )
    let errors = ""
    child.stderr.on("data", (data) => {
      errors += data
    })
    child.on("error", (error) => resume(Effect.fail(error.message)))
    child.on("close", (code, signal) =>
      resume(code === 0 ? Effect.void : Effect.fail(signal ?? `exit ${code}: ${errors}`))
    )
    return Effect.sync(() => child.kill("SIGKILL"))
  })

const runWriter = (path: string, prefix: string, count: number) =>
  runScript("PeerStoreWriter.ts", path, prefix, `${count}`)

it.live(
  "ID-037 a process that is killed between the two writes of a redemption leaves the invite open and no peer",
  () =>
    Effect.gen(function* () {
      const path = yield* newPath
      const node = yield* open(path)
      const joiner = newNodeId()
      const now = Math.floor(Date.now() / 1000)
      const grant = grantOf(1, { issuedAt: now, expiresAt: now + 3600 })
      yield* node.issueGrant(grant)
      assert.strictEqual(yield* Effect.flip(runScript("PeerStoreCrash.ts", path, joiner)), "SIGKILL")
      const { grants, peers } = yield* node.list
      assert.isUndefined(grants[0]?.redeemedBy)
      assert.deepStrictEqual(peers, [])
      assert.strictEqual((yield* node.redeem(grant.id, joiner, "laptop")).peerId, "laptop")
    })
)

it.live("ID-024 two processes write 1000 transactions each: nothing is lost, nobody sees half of one", () =>
  Effect.gen(function* () {
    const path = yield* newPath
    const node = yield* open(path)
    let seen = 0
    const torn: Array<number> = []
    const reader = yield* node.changes.pipe(
      Stream.runForEach(({ revision, peers, apiKeys }) =>
        Effect.sync(() => {
          seen++
          // Every transaction of the writers adds one of each.
          if (peers.length !== apiKeys.length) torn.push(revision)
        })
      ),
      Effect.forkChild({ startImmediately: true })
    )
    yield* Effect.all([runWriter(path, "a", 1000), runWriter(path, "b", 1000)], { concurrency: 2 })
    const { peers, apiKeys } = yield* node.list
    yield* Fiber.interrupt(reader)
    assert.deepStrictEqual([peers.length, apiKeys.length], [2000, 2000])
    assert.strictEqual(new Set(peers.map((peer) => peer.peerId)).size, 2000)
    assert.deepStrictEqual(torn, [])
    assert.isAbove(seen, 1)
  })
)

it.live("ID-021 a change by another process reaches the running node within 1 s", () =>
  Effect.gen(function* () {
    const path = yield* newPath
    const node = yield* open(path)
    const arrived = yield* Deferred.make<void>()
    yield* node.changes.pipe(
      Stream.filter(({ peers }) => peers.length === 1),
      Stream.runForEach(() => Deferred.succeed(arrived, undefined)),
      Effect.forkScoped
    )
    yield* runWriter(path, "a", 1)
    yield* Deferred.await(arrived).pipe(Effect.timeout("1 second"))
    yield* node.enable("a000", false)
    assert.isFalse((yield* SubscriptionRef.get(node.snapshot)).peers[0]?.enabled)
  })
)
