import { assert, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { CloseCode } from "../../src/protocol/CloseCode.ts"
import type { Access } from "../../src/services/Router.ts"
import type { CloseReason, Connection } from "../../src/services/Transport.ts"
import { ECHO, makeNode, type TestNode, targetOf } from "./nodeFixture.ts"

const run = <A, E>(test: Effect.Effect<A, E, Scope.Scope | MemoryTransport.MemoryNetwork>) =>
  Effect.provide(Effect.scoped(test), MemoryTransport.MemoryNetwork.layer)

/** Sends every chunk of every stream back. */
const echo = (connection: Connection) =>
  Effect.forever(
    Effect.flatMap(connection.accept, (stream) =>
      Effect.forkScoped(Effect.forever(Effect.flatMap(stream.read, (bytes) => stream.write(bytes))))
    )
  )

const registerEcho = (node: TestNode, access: Access = "known-peer", calls?: { count: number }) =>
  node.router.register({
    alpn: ECHO,
    access,
    accept: (connection) => {
      if (calls !== undefined) calls.count++
      return echo(connection)
    }
  })

const roundTrip = (connection: Connection, text = "hello") =>
  Effect.gen(function* () {
    const stream = yield* connection.open
    yield* stream.write(new TextEncoder().encode(text))
    return new TextDecoder().decode(yield* stream.read)
  })

const pair = (access: Access, scopes: ReadonlyArray<string> | undefined) =>
  Effect.gen(function* () {
    const server = yield* makeNode()
    const client = yield* makeNode({})
    const calls = { count: 0 }
    yield* registerEcho(server, access, calls)
    yield* server.setPeer(client.nodeId, scopes)
    return { server, client, calls }
  })

const closeOf = (client: TestNode, server: TestNode, alpn = ECHO) =>
  Effect.scoped(
    Effect.flatMap(client.endpoint.connect(targetOf(server), alpn), (connection) => connection.closed)
  ).pipe(Effect.map(({ by, code, kind, reason }) => ({ by, code, kind, reason })))

const TURNED_AWAY = { by: "peer", kind: "app", code: CloseCode.NoHandler, reason: "" } satisfies CloseReason

it.effect("serves a known peer, and lists the connection while it lives", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair("known-peer", [])
      yield* Effect.scoped(
        Effect.gen(function* () {
          const connection = yield* client.endpoint.connect(targetOf(server), ECHO)
          assert.strictEqual(yield* roundTrip(connection), "hello")
          const [accepted] = yield* server.endpoint.connections
          assert.strictEqual(accepted?.peer, client.nodeId)
          assert.strictEqual((yield* client.endpoint.connections).length, 1)
        })
      )
      assert.strictEqual((yield* client.endpoint.connections).length, 0)
      assert.isTrue(client.audit.some((line) => line.includes("conn.close")))
    })
  )
)

it.effect("ID-041 unknown, missing scope and missing certificate get the same bytes, and no handler code runs", () =>
  run(
    Effect.gen(function* () {
      const stranger = yield* pair("known-peer", undefined)
      assert.deepStrictEqual(yield* closeOf(stranger.client, stranger.server), TURNED_AWAY)
      const near = yield* pair({ scope: "ssh:shell" }, ["ssh:exec:*", "fs:read"])
      assert.deepStrictEqual(yield* closeOf(near.client, near.server), TURNED_AWAY)
      assert.strictEqual(stranger.calls.count + near.calls.count, 0)
      assert.isTrue(stranger.server.audit.some((line) => /auth\.reject .*reason=unknown/.test(line)))
    })
  )
)

it.effect("admits a scope that covers the requirement, and anybody where access is anonymous", () =>
  run(
    Effect.gen(function* () {
      for (const [access, scopes] of [
        [{ scope: "ssh:shell" }, ["ssh:*"]],
        ["anonymous", undefined]
      ] as const) {
        const { calls, client, server } = yield* pair(access, scopes)
        yield* Effect.scoped(Effect.flatMap(client.endpoint.connect(targetOf(server), ECHO), (c) => roundTrip(c)))
        assert.strictEqual(calls.count, 1)
      }
    })
  )
)

it.effect("TR-012 an ALPN is offered while it is registered, and connections of others are untouched", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair("known-peer", [])
      const other = Alpn.make("test/other")
      const kept = yield* client.endpoint.connect(targetOf(server), ECHO)
      assert.strictEqual((yield* Effect.flip(client.endpoint.connect(targetOf(server), other))).reason._tag, "Refused")

      const scope = yield* Scope.make()
      yield* Scope.provide(server.router.register({ alpn: other, access: "known-peer", accept: echo }), scope)
      const added = yield* client.endpoint.connect(targetOf(server), other)
      assert.strictEqual(yield* roundTrip(added), "hello")

      const closing = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
      assert.strictEqual((yield* Effect.flip(client.endpoint.connect(targetOf(server), other))).reason._tag, "Refused")
      assert.strictEqual(yield* roundTrip(added, "still served while draining").pipe(Effect.map((t) => t.length)), 27)
      yield* TestClock.adjust("2 seconds")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* added.closed).code, CloseCode.Draining)
      assert.strictEqual(yield* roundTrip(kept), "hello")
    })
  )
)

it.effect("TR-013 a failure and a defect end their connection only, with an incident id and nothing else", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair("known-peer", [])
      const bad = { failing: Alpn.make("test/failing"), dying: Alpn.make("test/dying") }
      yield* server.router.register({
        alpn: bad.failing,
        access: "known-peer",
        accept: () => Effect.fail("secret text")
      })
      yield* server.router.register({ alpn: bad.dying, access: "known-peer", accept: () => Effect.die("secret text") })
      const kept = yield* client.endpoint.connect(targetOf(server), ECHO)
      for (const alpn of Object.values(bad)) {
        const closed = yield* closeOf(client, server, alpn)
        assert.strictEqual(closed.code, CloseCode.HandlerFailed)
        assert.match(closed.reason, /^[0-9a-f]{8}$/)
      }
      assert.strictEqual(yield* roundTrip(kept), "hello")
    })
  )
)

it.effect("TR-014 the same ALPN twice is AlpnTaken, and the first stays", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair("known-peer", [])
      assert.strictEqual((yield* Effect.flip(registerEcho(server)))._tag, "AlpnTaken")
      const connection = yield* client.endpoint.connect(targetOf(server), ECHO)
      assert.strictEqual(yield* roundTrip(connection), "hello")
    })
  )
)

it.effect("ID-021 removing a peer or its scope closes its connections at once", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair({ scope: "ssh:shell" }, ["ssh:shell"])
      for (const after of [undefined, ["fs:read"]]) {
        yield* server.setPeer(client.nodeId, ["ssh:shell"])
        const connection = yield* client.endpoint.connect(targetOf(server), ECHO)
        yield* roundTrip(connection)
        yield* server.setPeer(client.nodeId, after)
        assert.deepStrictEqual(yield* connection.closed, TURNED_AWAY)
      }
    })
  )
)

it.effect("TR-021 a handler that finishes while draining answers what is in flight; an idle one ends at once", () =>
  run(
    Effect.gen(function* () {
      const serverScope = yield* Scope.make()
      const server = yield* Scope.provide(makeNode(), serverScope)
      const client = yield* makeNode({})
      yield* server.setPeer(client.nodeId, [])
      const asked = yield* Deferred.make<void>()
      const answer = yield* Deferred.make<void>()
      const bothServed = yield* Deferred.make<void>()
      let served = 0
      const oneRequest = (connection: Connection, _: unknown, draining: Effect.Effect<void>) => {
        if (++served === 2) Deferred.doneUnsafe(bothServed, Exit.void)
        return Effect.raceFirst(
          draining,
          Effect.gen(function* () {
            const stream = yield* connection.accept
            const request = yield* stream.read
            yield* Deferred.succeed(asked, undefined)
            yield* Effect.uninterruptible(Effect.andThen(Deferred.await(answer), stream.writeLast(request)))
          })
        )
      }
      yield* Scope.provide(
        server.router.register({ alpn: ECHO, access: "known-peer", accept: oneRequest }),
        serverScope
      )
      const busy = yield* client.endpoint.connect(targetOf(server), ECHO)
      const idle = yield* client.endpoint.connect(targetOf(server), ECHO)
      const asking = yield* Effect.forkChild(roundTrip(busy), { startImmediately: true })
      yield* Deferred.await(asked)
      yield* Deferred.await(bothServed)
      const closing = yield* Effect.forkChild(Scope.close(serverScope, Exit.void), { startImmediately: true })
      assert.strictEqual((yield* idle.closed).code, CloseCode.Draining)
      yield* Deferred.succeed(answer, undefined)
      assert.strictEqual(yield* Fiber.join(asking), "hello")
      yield* Fiber.join(closing)
      assert.strictEqual((yield* busy.closed).code, CloseCode.Draining)
    })
  )
)
