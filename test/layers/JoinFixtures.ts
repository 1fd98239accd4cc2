import { Effect, Layer } from "effect"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import * as JoinHandler from "../../src/layers/handlers/JoinHandler.ts"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { type IssueOptions, issueAccess, issueInvite } from "../../src/layers/Invite.ts"
import { type JoinOptions, join } from "../../src/layers/Join.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { Discovery } from "../../src/services/Discovery.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Identity } from "../../src/services/Identity.ts"
import { PeerStore, type StoreError } from "../../src/services/PeerStore.ts"
import { Router } from "../../src/services/Router.ts"

/** A node that serves joins on the memory network, with an empty peer store. */
export const makeJoinNode = (
  options: {
    readonly host: string
    readonly label?: string
    readonly transport?: MemoryTransport.Options
    readonly peers?: Layer.Layer<PeerStore, StoreError>
  } = { host: "10.0.0.1" }
) =>
  Effect.gen(function* () {
    const local = yield* makeEphemeralIdentity
    const audit: Array<string> = []
    const services = IdentityLayer.layer(local).pipe(
      Layer.provideMerge(options.peers ?? MemoryPeerStore.layer({ local: local.nodeId })),
      Layer.merge(AuditLog.layerCollect(audit)),
      Layer.merge(Layer.succeed(Discovery, { lookup: () => Effect.succeed([]), reached: () => Effect.void })),
      Layer.merge(MemoryTransport.layerWith(options.transport ?? {}))
    )
    const handler = JoinHandler.layer(options.label === undefined ? {} : { label: options.label })
    const context = yield* Layer.build(
      Layer.merge(handler, EndpointLayer.layer({ listen: [{ host: options.host, port: 0 }] })).pipe(
        Layer.provideMerge(RouterLayer.layer),
        Layer.provideMerge(services)
      )
    )
    const { endpoint, identity, router, store } = yield* Effect.provide(
      Effect.gen(function* () {
        return { endpoint: yield* Endpoint, identity: yield* Identity, router: yield* Router, store: yield* PeerStore }
      }),
      context
    )
    const inviteWith = (changes: Partial<IssueOptions> = {}) =>
      issueInvite({
        issuer: "operator",
        scopes: ["msg:send"],
        addresses: endpoint.addresses,
        label: options.label ?? "desk",
        ...changes
      }).pipe(Effect.provide(context))
    const accessWith = () =>
      issueAccess({ issuer: "operator", scopes: ["git:read:site"], addresses: [] }).pipe(Effect.provide(context))
    const joinWith = (options: Omit<JoinOptions, "ownName"> & { readonly ownName?: string }) =>
      join({ ownName: "laptop", ...options }).pipe(Effect.provide(context))
    return { local, identity, router, endpoint, store, audit, inviteWith, accessWith, joinWith }
  })

export type JoinNode = Effect.Success<ReturnType<typeof makeJoinNode>>
