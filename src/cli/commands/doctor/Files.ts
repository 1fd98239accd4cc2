/**
 * Checks of the home: its rights, the vault, the peers, the config.
 */
import { existsSync, statSync } from "node:fs"
import { Effect } from "effect"
import { readConfig } from "../../../layers/ConfigFile.ts"
import * as SqlitePeerStore from "../../../layers/store/SqlitePeerStore.ts"
import { PeerStore } from "../../../services/PeerStore.ts"
import { Vault } from "../../../services/Vault.ts"
import { Home } from "../../Home.ts"
import { layerVault } from "../../Stores.ts"
import { type Finding, fail, ok, warn } from "./Finding.ts"

interface Described {
  readonly message: string
  readonly hint?: string
}

const failedBy = (check: string) => (error: Described) => Effect.succeed(fail(check, error.message, error.hint ?? ""))

const home = Effect.map(Home, ({ directory }): Finding => {
  const found = statSync(directory, { throwIfNoEntry: false })
  if (found === undefined) return warn("home", `${directory} is not there yet`, "alknet up makes it")
  if (!found.isDirectory()) return fail("home", `${directory} is not a folder`, "give another one with --home")
  if (process.platform !== "win32" && (found.mode & 0o022) !== 0) {
    return fail("home", `${directory} can be written by others`, `run: chmod 700 ${directory}`)
  }
  return ok("home", directory)
})

const vault = Effect.gen(function* () {
  const { nodeId, state, weakKdf } = yield* (yield* Vault).status
  if (state === "Absent") return warn("vault", "there is none yet", "alknet up makes one")
  if (weakKdf) return warn("vault", "sealed at a low cost", "run: alknet vault passphrase")
  return ok("vault", `node ${nodeId}`)
}).pipe(Effect.catch(failedBy("vault")), Effect.provide(layerVault))

const peers = Effect.gen(function* () {
  const { peers: path } = yield* Home
  if (!existsSync(path)) return ok("peers", "none yet")
  return yield* Effect.gen(function* () {
    const { apiKeys, peers: all } = yield* (yield* PeerStore).list
    return ok("peers", `${all.length} peers, ${apiKeys.length} keys`)
  }).pipe(Effect.provide(SqlitePeerStore.layer({ path })), Effect.catch(failedBy("peers")))
})

const config = Effect.gen(function* () {
  const { config: path } = yield* Home
  if (!existsSync(path)) return ok("config", "defaults")
  yield* readConfig(path)
  return ok("config", path)
}).pipe(Effect.catch(failedBy("config")))

export const files = [home, vault, peers, config] as const
