/**
 * The vault and the stores in the home, as layers. None of them needs a secret to be built.
 */
import { Effect, Layer, Option, Schema } from "effect"
import * as SqlitePeerStore from "../layers/store/SqlitePeerStore.ts"
import * as FileVault from "../layers/vault/FileVault.ts"
import { NodeId } from "../protocol/identity/NodeId.ts"
import { Vault } from "../services/Vault.ts"
import { Home } from "./Home.ts"

/** The vault file of the home; absent or locked at first. */
export const layerVault = Layer.unwrap(Effect.map(Home, (home) => FileVault.layer(home.vault)))

/** The node id that the vault file names; undefined where there is no vault yet. */
export const localNodeId = Effect.gen(function* () {
  const { nodeId } = yield* (yield* Vault).status
  return Option.getOrUndefined(Schema.decodeUnknownOption(NodeId)(nodeId))
})

/** The peers, keys and grants of the home. */
export const layerPeers = Layer.unwrap(
  Effect.gen(function* () {
    const home = yield* Home
    yield* home.prepare
    const local = yield* localNodeId
    return SqlitePeerStore.layer({ path: home.peers, ...(local === undefined ? {} : { local }) })
  })
).pipe(Layer.provide(layerVault))
