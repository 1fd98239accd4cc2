import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Layer, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as SqlitePeerStore from "../../src/layers/store/SqlitePeerStore.ts"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { CloseCode } from "../../src/protocol/CloseCode.ts"
import { PeerStore } from "../../src/services/PeerStore.ts"
import type { Access } from "../../src/services/Router.ts"
import { makeJoinNode } from "./JoinFixtures.ts"
import { newNodeId, peerOf } from "./store/PeerFixtures.ts"
import { temporaryDirectory } from "./store/TemporaryDirectory.ts"

const WAIT = Alpn.make("test/wait")

const run = <A, E>(test: Effect.Effect<A, E, Scope.Scope | MemoryTransport.MemoryNetwork>) =>
  Effect.provide(Effect.scoped(test), MemoryTransport.MemoryNetwork.layer)

/** A node whose store is a file, what another process does to that file, and a peer that is connected to it. */
const connected = Effect.gen(function* () {
  const peers = SqlitePeerStore.layer({ path: join(yield* temporaryDirectory, "peers.db") })
  const desk = yield* makeJoinNode({ host: "10.0.0.1", peers })
  const laptop = yield* makeJoinNode({ host: "10.0.0.2" })
  const command = yield* Effect.provide(
    PeerStore.use((store) => Effect.succeed(store)),
    yield* Layer.build(Layer.fresh(peers))
  )
  const started = yield* Deferred.make<void>()
  yield* desk.router.register({
    alpn: WAIT,
    access: "known-peer",
    accept: ({ closed }) => Effect.asVoid(Effect.andThen(Deferred.succeed(started, undefined), closed))
  })
  yield* command.add(peerOf("laptop", laptop.local.nodeId))
  yield* TestClock.adjust(SqlitePeerStore.POLL_MILLIS)
  const target = { nodeId: desk.local.nodeId, addresses: desk.endpoint.addresses }
  const connection = yield* laptop.endpoint.connect(target, WAIT)
  yield* Deferred.await(started)
  return { desk, laptop, command, connection, target }
})

const changes = {
  disabled: (store: PeerStore["Service"]) => store.enable("laptop", false),
  removed: (store: PeerStore["Service"]) => store.remove("laptop"),
  "without its last key": (store: PeerStore["Service"]) =>
    store.update("laptop", (peer) => ({ ...peer, fingerprints: [] }))
}
for (const [name, change] of Object.entries(changes)) {
  it.effect(`ID-021 a peer that another process leaves ${name} is closed within the time, like an unknown one`, () =>
    run(
      Effect.gen(function* () {
        const { command, connection } = yield* connected
        const end = yield* Effect.forkChild(connection.closed, { startImmediately: true })
        yield* change(command)
        assert.isUndefined(end.pollUnsafe())
        yield* TestClock.adjust("1 second")
        const { by, code, reason } = yield* Fiber.join(end)
        assert.deepStrictEqual([by, code, reason], ["peer", CloseCode.NoHandler, ""])
      })
    )
  )
}

it.effect("ID-017 the connections of other peers stay when one peer's key is replaced", () =>
  run(
    Effect.gen(function* () {
      const { command, connection, desk } = yield* connected
      yield* command.add(peerOf("other", newNodeId()))
      yield* command.update("other", (peer) => ({ ...peer, fingerprints: [] }))
      yield* TestClock.adjust("2 seconds")
      const end = yield* Effect.forkChild(connection.closed, { startImmediately: true })
      assert.isUndefined(end.pollUnsafe())
      assert.strictEqual((yield* desk.endpoint.connections).length, 1)
      yield* connection.close(CloseCode.NoError, "")
    })
  )
)

it.effect(
  "ID-041 unknown, disabled, no certificate, missing scope and an ALPN that is gone look the same, and no code runs",
  () =>
    run(
      Effect.gen(function* () {
        const desk = yield* makeJoinNode()
        let ran = 0
        const serve = (alpn: string, access: Access) =>
          desk.router.register({
            alpn: Alpn.make(alpn),
            access,
            accept: () =>
              Effect.sync(() => {
                ran++
              })
          })
        yield* serve("test/known", "known-peer")
        yield* serve("test/scope", { scope: "git:read:site" })
        const close = (
          host: string,
          alpn: string,
          options: { anonymous?: boolean; enabled?: boolean; known?: boolean }
        ) =>
          Effect.scoped(
            Effect.gen(function* () {
              const node = yield* makeJoinNode({ host, transport: { anonymous: options.anonymous ?? false } })
              if (options.known === true) {
                yield* desk.store.add(
                  peerOf(`p-${host}`, node.local.nodeId, { enabled: options.enabled ?? true, scopes: ["git:read"] })
                )
              }
              const target = { nodeId: desk.local.nodeId, addresses: desk.endpoint.addresses }
              const connection = yield* Effect.exit(node.endpoint.connect(target, Alpn.make(alpn)))
              if (Exit.isFailure(connection)) return "refused in the handshake"
              const { by, code, reason } = yield* connection.value.closed
              return `${by} ${code} ${reason}`
            })
          )
        const turnedAway = `peer ${CloseCode.NoHandler} `
        assert.strictEqual(yield* close("10.0.0.2", "test/known", {}), turnedAway)
        assert.strictEqual(yield* close("10.0.0.3", "test/known", { known: true, enabled: false }), turnedAway)
        assert.strictEqual(yield* close("10.0.0.4", "test/scope", { known: true }), turnedAway)
        assert.strictEqual(yield* close("10.0.0.5", "test/scope", {}), turnedAway)
        // The web context does not even offer it to who proves no key.
        assert.strictEqual(yield* close("10.0.0.6", "test/known", { anonymous: true }), "refused in the handshake")
        assert.strictEqual(ran, 0)
      })
    )
)
