/** Whole nodes in memory: router, endpoint, handler and client of the call protocol together. */
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Logger, Option, Schema, Scope, SubscriptionRef } from "effect"
import * as CallClientLayer from "../../../src/layers/CallClient.ts"
import * as DispatcherLayer from "../../../src/layers/call/Dispatcher.ts"
import * as EndpointLayer from "../../../src/layers/Endpoint.ts"
import * as CallHandlerLayer from "../../../src/layers/handlers/CallHandler.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import * as NodeOperations from "../../../src/layers/NodeOperations.ts"
import * as RegistryLayer from "../../../src/layers/OperationRegistry.ts"
import * as RouterLayer from "../../../src/layers/Router.ts"
import * as MemoryTransport from "../../../src/layers/transport/MemoryTransport.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../../src/protocol/identity/NodeId.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { CallClient } from "../../../src/services/CallClient.ts"
import { CallHandler } from "../../../src/services/CallHandler.ts"
import { Discovery } from "../../../src/services/Discovery.ts"
import type { Dispatcher } from "../../../src/services/Dispatcher.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import { Identity, type Principal } from "../../../src/services/Identity.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { Snapshot } from "../../../src/services/PeerStore.ts"
import { RemoteFilter } from "../../../src/services/RemoteFilter.ts"
import { Router } from "../../../src/services/Router.ts"

const Hidden = Operation.query("t/hidden", {
  output: Schema.String,
  visibility: "external",
  access: AccessControl.open
})
const Shown = Operation.query("t/shown", {
  output: Schema.String,
  visibility: "external",
  access: AccessControl.open,
  remoteSafe: true
})
const group = OperationGroup.make(
  Operation.implement(Hidden, Effect.succeed("hidden")),
  Operation.implement(Shown, Effect.succeed("shown"))
)

/** A node that listens, serves calls and can call. */
const makeNode = Effect.fnUntraced(function* (host: string) {
  const local = yield* makeEphemeralIdentity
  const peers = new Map<string, Principal>()
  const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
  const identity = Layer.mock(Identity, {
    local,
    snapshot: yield* SubscriptionRef.make(empty),
    resolveFromFingerprint: (fingerprint) => Effect.sync(() => Option.fromUndefinedOr(peers.get(fingerprint))),
    resolveRequest: ({ peerKey }) =>
      Effect.sync(() => Option.fromUndefinedOr(peerKey && peers.get(fingerprintOfNode(peerKey))))
  })
  const discovery = Layer.succeed(Discovery, { lookup: () => Effect.succeed([]), reached: () => Effect.void })
  const services = Layer.mergeAll(identity, discovery, AuditLog.layerSilent, MemoryTransport.layer)
  const endpoint = EndpointLayer.layer({ listen: [{ host, port: 0 }] }).pipe(Layer.provideMerge(RouterLayer.layer))
  const node = DispatcherLayer.layer.pipe(
    Layer.provide(RegistryLayer.layer(group, NodeOperations.group({ version: "1.2.3", startedAt: 0 }))),
    Layer.provideMerge(endpoint),
    Layer.provideMerge(services)
  )
  const context = yield* Layer.build(node)
  const build = <S>(layer: Layer.Layer<S, unknown, Endpoint | Router | Dispatcher>) =>
    Effect.orDie(Effect.provideContext(Layer.build(layer), context))
  const { addresses } = Context.get(context, Endpoint)
  return {
    build,
    peers,
    router: Context.get(context, Router),
    target: { nodeId: local.nodeId, addresses },
    know: (nodeId: NodeId, ...scopes: ReadonlyArray<string>) =>
      peers.set(fingerprintOfNode(nodeId), { id: "peer", scopes, resources: {} })
  }
})

const pair = Effect.fnUntraced(function* () {
  const server = yield* makeNode("10.0.0.1")
  const client = yield* makeNode("10.0.0.2")
  server.know(client.target.nodeId)
  client.know(server.target.nodeId)
  return { server, client }
})

const network = Effect.provide([MemoryTransport.MemoryNetwork.layer, Logger.layer([])])

describe("nodes that call", () => {
  it.live(
    "CALL-045 CALL-131 a dialed node sees what is remoteSafe only, one that trusts shows all, the accept side too",
    () =>
      Effect.gen(function* () {
        const { client, server } = yield* pair()
        const handler = Context.get(yield* server.build(CallHandlerLayer.layer), CallHandler)
        const careful = Context.get(yield* client.build(CallClientLayer.layer), CallClient)
        const trusting = Context.get(yield* client.build(CallClientLayer.layerTrustedPeer), CallClient)
        assert.deepStrictEqual([careful.filterMode, trusting.filterMode], ["default-deny", "trusted"])
        const first = yield* careful.connect(server.target)
        assert.strictEqual(yield* first.call(Hidden, undefined), "hidden")
        const [back] = yield* handler.connections
        assert.strictEqual(yield* back!.call(Shown, undefined), "shown")
        assert.deepInclude(yield* Effect.flip(back!.call(Hidden, undefined)), { code: "NOT_FOUND" })
        yield* first.close
        yield* back!.closed
        const second = yield* trusting.connect(server.target)
        assert.strictEqual(yield* second.call(Hidden, undefined), "hidden")
        const again = (yield* handler.connections).at(-1)!
        assert.strictEqual(yield* again.call(Hidden, undefined), "hidden")
      }).pipe(Effect.scoped, network)
  )

  it.live(
    "CALL-132 building the handler offers alknet/call, closing its scope removes it, a second one is AlpnTaken",
    () =>
      Effect.gen(function* () {
        const { client, server } = yield* pair()
        const scope = yield* Scope.make()
        const layer = CallHandlerLayer.layer
        assert.deepStrictEqual([...server.router.offered.node()], [])
        yield* Scope.provide(server.build(layer), scope)
        assert.deepStrictEqual([...server.router.offered.node()], ["alknet/call"])
        const taken = yield* Effect.exit(Scope.provide(server.build(layer), scope))
        assert.isTrue(Exit.isFailure(taken))
        const caller = Context.get(yield* client.build(CallClientLayer.layer), CallClient)
        const connection = yield* caller.connect(server.target)
        assert.strictEqual(yield* connection.call(Shown, undefined), "shown")
        yield* Scope.close(scope, Exit.void)
        assert.deepStrictEqual([...server.router.offered.node()], [])
        assert.strictEqual((yield* connection.closed).code, 4)
      }).pipe(Effect.scoped, network)
  )

  it.live("CALL-132 a stranger is turned away before anything runs", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      yield* server.build(CallHandlerLayer.layer)
      server.peers.clear()
      const caller = Context.get(yield* client.build(CallClientLayer.layer), CallClient)
      const connection = yield* caller.connect(server.target)
      const error = yield* Effect.flip(connection.call(Shown, undefined))
      assert.deepInclude(error, { code: "INTERNAL", message: "connection closed" })
      assert.strictEqual((yield* connection.closed).code, 1)
    }).pipe(Effect.scoped, network)
  )

  it.live("a filter of the program's own decides where layerWithFilter is used", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const policy = RemoteFilter.layerPolicy(({ operation }) => Effect.succeed(operation.name === "t/hidden"))
      yield* server.build(Layer.provide(CallHandlerLayer.layerWithFilter, policy))
      const caller = Context.get(yield* client.build(CallClientLayer.layer), CallClient)
      const connection = yield* caller.connect(server.target)
      assert.strictEqual(yield* connection.call(Hidden, undefined), "hidden")
      assert.deepInclude(yield* Effect.flip(connection.call(Shown, undefined)), { code: "NOT_FOUND" })
    }).pipe(Effect.scoped, network)
  )

  it.live("node/ping and node/info answer every known peer, node/status asks for node:admin", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      yield* server.build(CallHandlerLayer.layer)
      const caller = Context.get(yield* client.build(CallClientLayer.layer), CallClient)
      const connection = yield* caller.connect(server.target)
      assert.deepStrictEqual(yield* connection.call(NodeOperations.Ping, undefined), {})
      assert.deepStrictEqual(yield* connection.call(NodeOperations.Info, undefined), {
        nodeId: server.target.nodeId,
        version: "1.2.3",
        alpns: ["alknet/call"]
      })
      assert.deepInclude(yield* Effect.flip(connection.call(NodeOperations.Status, undefined)), { code: "FORBIDDEN" })
      server.know(client.target.nodeId, "node:admin")
      const status = yield* connection.call(NodeOperations.Status, undefined)
      assert.strictEqual(status.connectionCount, 1)
      assert.deepInclude(status.connections[0], { alpn: "alknet/call", side: "accepted", peer: client.target.nodeId })
    }).pipe(Effect.scoped, network)
  )

  it.live("closing the caller's scope closes the connection", () =>
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const handler = Context.get(yield* server.build(CallHandlerLayer.layer), CallHandler)
      const caller = Context.get(yield* client.build(CallClientLayer.layer), CallClient)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* caller.connect(server.target)
          yield* connection.call(Shown, undefined)
          assert.strictEqual((yield* handler.connections).length, 1)
        })
      )
      for (let turn = 0; turn < 1000 && (yield* handler.connections).length > 0; turn++) yield* Effect.yieldNow
      assert.strictEqual((yield* handler.connections).length, 0)
    }).pipe(Effect.scoped, network)
  )
})
