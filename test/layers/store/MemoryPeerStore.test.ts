import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import * as MemoryPeerStore from "../../../src/layers/store/MemoryPeerStore.ts"
import { PeerStore } from "../../../src/services/PeerStore.ts"
import { apiKeyOf, grantOf, newNodeId, peerOf } from "./PeerFixtures.ts"
import { peerStoreContract } from "./PeerStoreContract.ts"

peerStoreContract("memory", (local) => Effect.succeed(MemoryPeerStore.layer({ local })))

const initial = { peers: [peerOf("alice", newNodeId())], apiKeys: [apiKeyOf("alk_aaaa")], grants: [grantOf(1)] }

it.effect("it starts with what it is given", () =>
  Effect.gen(function* () {
    const { peers, apiKeys, grants } = yield* PeerStore.use((store) => store.list)
    assert.deepStrictEqual({ peers, apiKeys, grants }, initial)
  }).pipe(Effect.provide(MemoryPeerStore.layer({ initial })))
)
