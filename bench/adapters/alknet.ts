/** A whole node as its users have it: router, endpoint, dispatcher, audit log and the QUIC transport. */
import { Context, Effect, Exit, Layer, ManagedRuntime, Schema, Scope } from "effect"
import * as CallClientLayer from "../../src/layers/CallClient.ts"
import * as DispatcherLayer from "../../src/layers/call/Dispatcher.ts"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import * as CallHandlerLayer from "../../src/layers/handlers/CallHandler.ts"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as OperationRegistryLayer from "../../src/layers/OperationRegistry.ts"
import * as PeerStoreDiscovery from "../../src/layers/PeerStoreDiscovery.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { RemoteFilter } from "../../src/services/RemoteFilter.ts"
import { Router } from "../../src/services/Router.ts"
import { type Adapter, HOST } from "../Adapter.ts"
import { UNBOUNDED } from "../limits.ts"
import { accept, clientOf } from "../streams.ts"

const BENCH = Alpn.make("bench/1")

const Say = Operation.query("bench/say", {
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.open,
  visibility: "external"
})
const Secret = Operation.query("bench/secret", {
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.scopes("call:bench/secret"),
  visibility: "external"
})
const Hold = Operation.query("bench/hold", {
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.open,
  visibility: "external"
})
const operations = OperationGroup.make(
  Operation.implement(Say, ({ text }) => Effect.succeed({ text })),
  Operation.implement(Secret, ({ text }) => Effect.succeed({ text })),
  Operation.implement(Hold, () => Effect.never)
)

const node = (listen: ReadonlyArray<SocketAddress>) =>
  Layer.mergeAll(
    Layer.provide(CallHandlerLayer.layerWith({ access: "anonymous" }), RemoteFilter.layerTrusted),
    CallClientLayer.layer
  ).pipe(
    Layer.provide(DispatcherLayer.layer),
    Layer.provide(OperationRegistryLayer.layer(operations)),
    Layer.provideMerge(EndpointLayer.layer({ listen, maxConnectionsPerPeer: 10_000 })),
    Layer.provideMerge(RouterLayer.layer),
    Layer.provide(PeerStoreDiscovery.layer),
    Layer.provide(Layer.unwrap(Effect.map(makeEphemeralIdentity, IdentityLayer.layer))),
    Layer.provide([MemoryPeerStore.layer(), AuditLog.layerSilent, QuicTransport.layer({ limits: UNBOUNDED })])
  )

interface Info {
  readonly nodeId: NodeId
  readonly addresses: ReadonlyArray<SocketAddress>
}

const startServer = Effect.gen(function* () {
  const router = yield* Router
  yield* router.register({ alpn: BENCH, access: "anonymous", accept })
  const { addresses, nodeId } = yield* Endpoint
  return { info: { nodeId, addresses } satisfies Info }
})

let client: ManagedRuntime.ManagedRuntime<Endpoint | CallClient, unknown> | undefined

export const adapter: Adapter = {
  serve: () => {
    const scope = Scope.makeUnsafe()
    const runtime = ManagedRuntime.make(node([{ host: HOST, port: 0 }]))
    return runtime.runPromise(Scope.provide(startServer, scope))
  },
  connect: async (info: Info) => {
    client ??= ManagedRuntime.make(node([]))
    const context = await client.context()
    const scope = Scope.makeUnsafe()
    const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
    const connection = await run(Scope.provide(Context.get(context, Endpoint).connect(info, BENCH), scope))
    const calls = async () => run(Scope.provide(Context.get(context, CallClient).connect(info), scope))
    let calling: ReturnType<typeof calls> | undefined
    const caller = () => {
      calling ??= calls()
      return calling
    }
    return {
      ...clientOf(connection),
      call: async (text) => {
        const connection = await caller()
        return run(connection.call(Say, { text }))
      },
      denied: async () => {
        const connection = await caller()
        return run(Effect.flip(connection.call(Secret, { text: "x" })))
      },
      hold: async (text) => {
        const connection = await caller()
        return run(connection.call(Hold, { text }))
      },
      close: () => run(Scope.close(scope, Exit.void))
    }
  }
}
