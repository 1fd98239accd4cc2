/** Who is known in the call cases: an identity service whose answers a case sets. */
import { Effect, Layer, Option, Redacted, SubscriptionRef } from "effect"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import type { NodeId } from "../../../src/protocol/identity/NodeId.ts"
import { Identity, type Principal } from "../../../src/services/Identity.ts"
import type { Snapshot } from "../../../src/services/PeerStore.ts"

export interface People {
  readonly byKey: Map<NodeId, Principal>
  readonly byToken: Map<string, Principal>
  /** What was asked, in order. */
  readonly asked: Array<"key" | "token">
  isBroken: boolean
}

export const principal = (id: string, ...scopes: ReadonlyArray<string>): Principal => ({ id, scopes, resources: {} })

export const people = (): People => ({ byKey: new Map(), byToken: new Map(), asked: [], isBroken: false })

/** Who has the key now, by those people. */
export const byKey = (known: People, key: NodeId | undefined) =>
  answer(known, "key", () => (key === undefined ? undefined : known.byKey.get(key)))

const answer = (known: People, kind: "key" | "token", find: () => Principal | undefined) =>
  Effect.suspend(() => {
    known.asked.push(kind)
    return known.isBroken ? Effect.die("the look-up broke") : Effect.succeed(Option.fromNullishOr(find()))
  })

export const identityLayer = Effect.fnUntraced(function* (known: People) {
  const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
  return Layer.mock(Identity, {
    local: yield* makeEphemeralIdentity,
    snapshot: yield* SubscriptionRef.make(empty),
    resolveFromToken: (token) => answer(known, "token", () => known.byToken.get(Redacted.value(token))),
    resolveRequest: ({ peerKey }) => byKey(known, peerKey)
  })
})
