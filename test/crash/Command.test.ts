/**
 * `bin/alknet` killed at random moments of a first start, of an invite and of a join: the next start works with what the
 * killed one left, nothing that was there is lost, and an invite is open or used with its peer present.
 */
import { existsSync, readdirSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { DatabaseSync } from "node:sqlite"
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  alknet,
  privateFolder,
  type Ran,
  type RunningNode,
  spawnAlknet,
  startNode,
  temporaryFolder
} from "../cli/Alknet.ts"
import { Dice } from "../hostile/Attackers.ts"

const STARTS = 8
const INVITES = 4
const JOINS = 8
/** A run that fails can be run again: put its seed here. */
const SEED = Date.now() >>> 0
const PATIENT = 300_000

/** Runs a command and kills it at the moment, unless it has ended by itself; gives what it had said. */
const killedAt = (args: ReadonlyArray<string>, moment: Effect.Effect<void>) =>
  Effect.gen(function* () {
    const child = yield* Effect.acquireRelease(
      Effect.sync(() => spawnAlknet(args)),
      (running) => Effect.sync(() => running.kill("SIGKILL"))
    )
    let stdout = ""
    child.stdout?.on("data", (bytes: Buffer) => {
      stdout += bytes.toString("utf8")
    })
    const closed = new Promise<void>((resolve) => child.on("close", () => resolve()))
    const ended = Effect.promise(() => closed)
    yield* Effect.raceFirst(ended, moment)
    child.kill("SIGKILL")
    yield* ended
    return { stdout, wasKilled: child.signalCode === "SIGKILL" }
  }).pipe(Effect.scoped)

/** How long the effect takes, as the measure for random moments of it. */
const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.suspend(() => {
    const start = performance.now()
    return Effect.map(effect, (value) => ({ value, millis: performance.now() - start }))
  })

const succeeded = (ran: Ran): string => {
  assert.strictEqual(ran.code, 0, ran.stderr)
  return ran.stdout
}

/** Invites that were used, and the keys that are known, straight from the file: what survives is what is there. */
const readPeers = (home: string) => {
  const database = new DatabaseSync(join(home, "peers.db"), { readOnly: true })
  try {
    const column = (sql: string) =>
      database
        .prepare(sql)
        .all()
        .map((row) => String(Object.values(row)[0]))
    return {
      invites: column("SELECT id FROM grants").length,
      usedBy: column("SELECT redeemed_by FROM grants WHERE redeemed_by IS NOT NULL").length,
      fingerprints: column("SELECT fingerprint FROM peer_fingerprints"),
      check: column("PRAGMA integrity_check")
    }
  } finally {
    database.close()
  }
}

/** Waits until the log of the node says that somebody has come to join. */
const saysJoin = (node: RunningNode): Effect.Effect<void> =>
  Effect.suspend(() =>
    node.stderr().includes("alknet/join") ? Effect.void : Effect.flatMap(Effect.sleep("1 millis"), () => saysJoin(node))
  )

/** Names of a home that nobody but a running process may leave there. */
const strays = (home: string) => readdirSync(home).filter((name) => name.endsWith(".lock") || name.includes(".tmp"))

it.live(
  `a first start killed at ${STARTS} random moments leaves a home that starts (seed ${SEED})`,
  () =>
    Effect.gen(function* () {
      const dice = new Dice(SEED)
      const folder = yield* temporaryFolder
      const { millis } = yield* timed(Effect.scoped(startNode(join(folder, "measure"))))
      for (let round = 0; round < STARTS; round++) {
        const home = privateFolder(folder, `home-${round}`)
        const after = dice.below(millis * 1.1)
        const killed = yield* killedAt(["--home", home, "up", "--listen", "127.0.0.1:0", "--json"], Effect.sleep(after))
        assert.isTrue(killed.wasKilled)
        const before = killed.stdout === "" ? undefined : JSON.parse(killed.stdout).nodeId
        yield* Effect.gen(function* () {
          const node = yield* startNode(home)
          if (before !== undefined) assert.strictEqual(node.ready.nodeId, before)
          const status = JSON.parse(succeeded(yield* alknet(["--home", home, "status", "--json"])))
          assert.deepStrictEqual([status.pid, status.nodeId], [node.pid, node.ready.nodeId])
          yield* node.signal("SIGTERM")
          yield* node.ended
        }).pipe(
          Effect.scoped,
          Effect.catch((ran: Ran) => Effect.die(new Error(`killed after ${after} ms, then: ${ran.stderr}`)))
        )
        assert.deepStrictEqual(strays(home), [])
        assert.isFalse(existsSync(join(home, "control.sock")))
      }
    }).pipe(Effect.scoped),
  PATIENT
)

it.live("what a process leaves that is killed between making a file and writing it is taken over", () =>
  Effect.gen(function* () {
    const home = privateFolder(yield* temporaryFolder, "home")
    for (const name of ["passphrase", "control.sock.lock"]) writeFileSync(join(home, name), "", { mode: 0o600 })
    const node = yield* startNode(home)
    yield* node.signal("SIGKILL")
    yield* node.ended
    assert.isTrue(existsSync(join(home, "control.sock")))
    // A process that is gone, with its number.
    writeFileSync(join(home, "control.sock.lock"), String(node.pid), { mode: 0o600 })
    const again = yield* startNode(home)
    assert.strictEqual(again.ready.nodeId, node.ready.nodeId)
  }).pipe(Effect.scoped)
)

it.live(
  `an inviter killed at random moments of ${INVITES} invites and ${JOINS} joins, a joiner too: nothing is half (seed ${SEED})`,
  () =>
    Effect.gen(function* () {
      const dice = new Dice(SEED + 1)
      const folder = yield* temporaryFolder
      const home = join(folder, "inviter")
      const first = yield* Effect.scoped(Effect.map(startNode(home), ({ ready }) => ready))
      const listen = ["--listen", first.addresses[0]!]
      const up = startNode(home, listen)

      /** Runs the command while the node is up, and kills one of the two at the moment. */
      const whileUp = (
        args: ReadonlyArray<string>,
        victim: "node" | "command",
        momentOf: (node: RunningNode) => Effect.Effect<void>
      ) =>
        Effect.gen(function* () {
          const node = yield* up
          assert.strictEqual(node.ready.nodeId, first.nodeId)
          if (victim === "command") return yield* killedAt(args, momentOf(node))
          const kill = Effect.andThen(momentOf(node), node.signal("SIGKILL"))
          const [ran] = yield* Effect.all([alknet(args), kill], { concurrency: 2 })
          yield* node.ended
          return ran
        }).pipe(Effect.scoped)

      const invite = ["--home", home, "invite", "--role", "user", "--json"]
      const measured = yield* Effect.gen(function* () {
        yield* up
        const invited = yield* timed(alknet(invite))
        const { ticket } = JSON.parse(succeeded(invited.value))
        const joined = yield* timed(
          alknet(["--home", join(folder, "measure"), "join", ticket, "--name", "a", "--json"])
        )
        succeeded(joined.value)
        return { invite: invited.millis, join: joined.millis }
      }).pipe(Effect.scoped)

      for (let round = 0; round < INVITES; round++) {
        const before = readPeers(home)
        const moment = dice.below(measured.invite)
        const ran = yield* whileUp(invite, round % 2 === 0 ? "node" : "command", () => Effect.sleep(moment))
        const after = readPeers(home)
        assert.deepStrictEqual(after.check, ["ok"])
        assert.deepStrictEqual(after.fingerprints, before.fingerprints)
        // A ticket that somebody has seen is in the store.
        assert.isAtLeast(after.invites, before.invites + (ran.stdout === "" ? 0 : 1))
      }

      const outcomes: Array<string> = []
      for (let round = 0; round < JOINS; round++) {
        const invited = yield* Effect.scoped(Effect.andThen(up, alknet(invite)))
        const { ticket } = JSON.parse(succeeded(invited))
        const joiner = join(folder, `joiner-${round}`)
        const joining = ["--home", joiner, "join", ticket, "--name", "a", "--json"]
        const before = readPeers(home)
        // Half of them anywhere, the others in the exchange itself, which takes some milliseconds.
        const early = Effect.sleep(dice.below(measured.join))
        const late = Effect.sleep(dice.below(25))
        const inExchange = (node: RunningNode) => Effect.andThen(saysJoin(node), late)
        yield* whileUp(joining, round % 2 === 0 ? "node" : "command", round < JOINS / 2 ? () => early : inExchange)
        const after = readPeers(home)
        assert.deepStrictEqual(after.check, ["ok"])
        const used = after.usedBy - before.usedBy
        assert.strictEqual(after.fingerprints.length - before.fingerprints.length, used)
        assert.includeMembers(after.fingerprints, before.fingerprints)
        outcomes.push(used === 1 ? "used" : "open")

        // The same invite finishes it, whatever was done.
        yield* Effect.gen(function* () {
          yield* up
          succeeded(yield* alknet(joining))
          succeeded(yield* alknet(["--home", joiner, "call", "a", "node/ping", "--json"]))
        }).pipe(Effect.scoped)
        const done = readPeers(home)
        assert.strictEqual(done.usedBy, before.usedBy + 1)
        assert.strictEqual(done.fingerprints.length, before.fingerprints.length + 1)
      }
      console.log(`invites after the kill: ${outcomes.join(" ")}; seed ${SEED}`)
    }).pipe(Effect.scoped),
  PATIENT
)
