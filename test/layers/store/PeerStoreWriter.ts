/**
 * A second process that writes to a peer store: `node PeerStoreWriter.ts PATH PREFIX COUNT`. It adds COUNT API keys, each in
 * one transaction together with a peer of the same number, and ends.
 */
import { argv } from "node:process"
import { Effect, Result } from "effect"
import { PEER_MIGRATIONS } from "../../../src/layers/store/PeerRows.ts"
import { openSqlite } from "../../../src/layers/store/Sqlite.ts"
import { sqlitePeerTables } from "../../../src/layers/store/SqlitePeerTables.ts"
import { ApiKey, PeerEntry } from "../../../src/services/PeerStore.ts"
import { hashOf } from "./PeerFixtures.ts"

const [path = "", prefix = "", count = "0"] = argv.slice(2)

const pair = (number: number) => {
  const name = `${prefix}${String(number).padStart(3, "0")}`
  return {
    peer: new PeerEntry({
      peerId: name,
      fingerprints: [],
      authTokenHash: hashOf(`token ${name}`),
      scopes: ["msg:send"],
      resources: {},
      enabled: true,
      addresses: []
    }),
    key: new ApiKey({ prefix: `alk_${name}`, sha256: hashOf(name), scopes: [] })
  }
}

const program = Effect.gen(function* () {
  const database = yield* openSqlite({ path, migrations: PEER_MIGRATIONS })
  for (let number = 0; number < Number(count); number++) {
    const { peer, key } = pair(number)
    yield* database.transaction((session) => {
      const tables = sqlitePeerTables(session)
      tables.putPeer(peer)
      tables.putApiKey(key)
      return Result.succeed(undefined)
    })
  }
})

await Effect.runPromise(Effect.scoped(program))
