/**
 * A process that dies in the middle of redeeming the invite 0101…: `node PeerStoreCrash.ts PATH NODEID`. It has marked the
 * invite as used, and has not added the peer, when it kills itself.
 */
import { argv } from "node:process"
import { Effect, Result, Schema } from "effect"
import { PEER_MIGRATIONS } from "../../../src/layers/store/PeerRows.ts"
import { openSqlite } from "../../../src/layers/store/Sqlite.ts"
import { sqlitePeerTables } from "../../../src/layers/store/SqlitePeerTables.ts"
import { NodeId } from "../../../src/protocol/identity/NodeId.ts"

const [path = "", nodeId = ""] = argv.slice(2)

const program = Effect.gen(function* () {
  const joiner = yield* Schema.decodeUnknownEffect(NodeId)(nodeId)
  const database = yield* openSqlite({ path, migrations: PEER_MIGRATIONS })
  yield* database.transaction((session) => {
    const tables = sqlitePeerTables(session)
    tables.markRedeemed("01".repeat(16), joiner, 1)
    if (tables.grant("01".repeat(16))?.redeemedBy === joiner) process.kill(process.pid, "SIGKILL")
    return Result.succeed(undefined)
  })
})

await Effect.runPromise(Effect.scoped(program))
