import { Effect, Layer, Redacted, type Scope } from "effect"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import { Identity, type LocalIdentity } from "../../src/services/Identity.ts"
import { PeerStore } from "../../src/services/PeerStore.ts"

export interface TestIdentity {
  readonly local: LocalIdentity
  readonly identity: Identity["Service"]
  readonly store: PeerStore["Service"]
}

/** A node with a key, and a peer store in memory that holds something that its rules would refuse. */
export const makeTestIdentityWith = (
  initial: (local: LocalIdentity) => MemoryPeerStore.MemoryPeerStoreOptions
): Effect.Effect<TestIdentity, never, Scope.Scope> =>
  Effect.gen(function* () {
    const local = yield* makeEphemeralIdentity
    const context = yield* Layer.build(
      IdentityLayer.layer(local).pipe(Layer.provideMerge(MemoryPeerStore.layer(initial(local))))
    )
    return yield* Effect.provide(
      Effect.gen(function* () {
        return { local, identity: yield* Identity, store: yield* PeerStore }
      }),
      context
    )
  }).pipe(Effect.orDie)

/** A node with a key and an empty peer store in memory. */
export const makeTestIdentity = makeTestIdentityWith(({ nodeId }) => ({ local: nodeId }))

/** The services of a test identity, for what asks for them. */
export const provideIdentity =
  ({ identity, store }: TestIdentity) =>
  <A, E, R>(effect: Effect.Effect<A, E, R>) =>
    effect.pipe(Effect.provideService(Identity, identity), Effect.provideService(PeerStore, store))

export const secret = (text: string): Redacted.Redacted<string> => Redacted.make(text)
