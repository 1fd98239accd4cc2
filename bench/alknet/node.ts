/** A whole node as its users have it, over one transport: router, endpoint, dispatcher, audit log. */
import { Context, Effect, Exit, Layer, ManagedRuntime, Scope, Stream } from "effect"
import * as CallClientLayer from "../../src/layers/CallClient.ts"
import * as DispatcherLayer from "../../src/layers/call/Dispatcher.ts"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import * as CallHandlerLayer from "../../src/layers/handlers/CallHandler.ts"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { importFrom } from "../../src/layers/ImportFrom.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as OperationRegistryLayer from "../../src/layers/OperationRegistry.ts"
import * as PeerGraphLayer from "../../src/layers/PeerGraph.ts"
import * as PeerStoreDiscovery from "../../src/layers/PeerStoreDiscovery.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { PeerEntry } from "../../src/services/PeerStore.ts"
import { RemoteFilter } from "../../src/services/RemoteFilter.ts"
import { Router } from "../../src/services/Router.ts"
import type { Transport } from "../../src/services/Transport.ts"
import { type Adapter, HOST, type ServeOptions } from "../Adapter.ts"
import { accept, clientOf } from "../streams.ts"
import { answering, Chain, EXTRA, extra, Hold, Items, local, passingOn, Say, Secret, WORKER } from "./operations.ts"

const BENCH = Alpn.make("bench/1")

interface Info {
  readonly nodeId: NodeId
  readonly addresses: ReadonlyArray<SocketAddress>
}

/** A hub knows its worker: only a peer's operations can be composed. */
const peersOf = (worker: Info | undefined) =>
  worker === undefined
    ? []
    : [
        PeerEntry.make({
          peerId: WORKER,
          fingerprints: [fingerprintOfNode(worker.nodeId)],
          scopes: [],
          resources: {},
          enabled: true,
          addresses: []
        })
      ]

const node = (
  transport: Layer.Layer<Transport>,
  listen: ReadonlyArray<SocketAddress>,
  { operations = 0, worker }: ServeOptions = {}
) =>
  Layer.mergeAll(
    Layer.provide(CallHandlerLayer.layerWith({ access: "anonymous" }), RemoteFilter.layerTrusted),
    CallClientLayer.layer
  ).pipe(
    Layer.provide(DispatcherLayer.layer),
    Layer.provide(PeerGraphLayer.layer),
    Layer.provide(OperationRegistryLayer.layer(local, worker === undefined ? answering : passingOn, extra(operations))),
    Layer.provideMerge(EndpointLayer.layer({ listen, maxConnectionsPerPeer: 10_000 })),
    Layer.provideMerge(RouterLayer.layer),
    Layer.provide(PeerStoreDiscovery.layer),
    Layer.provide(Layer.unwrap(Effect.map(makeEphemeralIdentity, IdentityLayer.layer))),
    Layer.provide([
      MemoryPeerStore.layer({ initial: { peers: peersOf(worker), apiKeys: [], grants: [] } }),
      AuditLog.layerSilent,
      transport
    ])
  )

const startServer = (worker: Info | undefined) =>
  Effect.gen(function* () {
    const router = yield* Router
    yield* router.register({ alpn: BENCH, access: "anonymous", accept })
    if (worker !== undefined) {
      const client = yield* CallClient
      yield* importFrom(yield* client.connect(worker), { prefix: WORKER })
    }
    const { addresses, nodeId } = yield* Endpoint
    return { info: { nodeId, addresses } satisfies Info }
  })

export const adapterOver = (transport: Layer.Layer<Transport>): Adapter => {
  let client: ManagedRuntime.ManagedRuntime<Endpoint | CallClient, unknown> | undefined
  const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
  return {
    serve: (options) => {
      const scope = Scope.makeUnsafe()
      const runtime = ManagedRuntime.make(node(transport, [{ host: HOST, port: 0 }], options))
      return runtime.runPromise(Scope.provide(startServer(options.worker), scope))
    },
    connect: async (info: Info) => {
      client ??= ManagedRuntime.make(node(transport, []))
      const context = await client.context()
      const scope = Scope.makeUnsafe()
      const scoped = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>) => run(Scope.provide(effect, scope))
      const streams = () => scoped(Context.get(context, Endpoint).connect(info, BENCH))
      const calls = () => scoped(Context.get(context, CallClient).connect(info))
      const connection = await streams()
      // Dialed with the first call: the workloads on streams measure one connection.
      let calling: ReturnType<typeof calls> | undefined
      const caller = () => {
        calling ??= calls()
        return calling
      }
      return {
        ...clientOf(connection),
        call: async (text) => run((await caller()).call(Say, { text })),
        denied: async () => run(Effect.flip((await caller()).call(Secret, { text: "x" }))),
        hold: async (text) => run((await caller()).call(Hold, { text })),
        composed: async (text) => run((await caller()).call(Chain, { text })),
        items: async (count, text) =>
          run(
            Stream.runFold(
              (await caller()).subscribe(Items, { count, text }),
              () => 0,
              (length, item) => length + item.text.length
            )
          ),
        importAll: async () => {
          const names = await run(importFrom(await caller(), { filter: (name) => name.startsWith(EXTRA) }))
          return names.length
        },
        close: () => run(Scope.close(scope, Exit.void))
      }
    }
  }
}
