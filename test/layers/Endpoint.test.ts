import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Scope } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { CloseCode } from "../../src/protocol/CloseCode.ts"
import { ECHO, makeNode, type TestNode, targetOf } from "./nodeFixture.ts"

const run = <A, E>(test: Effect.Effect<A, E, Scope.Scope | MemoryTransport.MemoryNetwork>) =>
  Effect.provide(Effect.scoped(test), MemoryTransport.MemoryNetwork.layer)

const serve = (node: TestNode) =>
  node.router.register({
    alpn: ECHO,
    access: "anonymous",
    accept: ({ closed }, _, draining) => Effect.raceFirst(Effect.asVoid(closed), draining)
  })

const pair = (options: Parameters<typeof makeNode>[0] = {}) =>
  Effect.gen(function* () {
    const server = yield* makeNode({ listen: [{ host: "10.0.0.1", port: 0 }], ...options })
    const client = yield* makeNode({})
    yield* serve(server)
    return { server, client }
  })

it.effect("ID-009 the pin of another node is PeerMismatch with both ids", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const target = { ...targetOf(server), nodeId: client.nodeId }
      const { reason } = yield* Effect.flip(client.endpoint.connect(target, ECHO))
      assert.strictEqual(reason._tag, "PeerMismatch")
      if (reason._tag !== "PeerMismatch") return
      assert.deepStrictEqual([reason.expected, reason.actual], [client.nodeId, server.nodeId])
    })
  )
)

it.effect("a node without an address is NoAddress, with a hint", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const error = yield* Effect.flip(client.endpoint.connect({ nodeId: server.nodeId }, ECHO))
      assert.strictEqual(error.reason._tag, "NoAddress")
      assert.include(error.hint, "--addr")
    })
  )
)

it.effect("tries the next address where one does not answer", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const addresses = [{ host: "10.9.9.9", port: 1 }, ...server.endpoint.addresses]
      const connecting = yield* Effect.forkChild(client.endpoint.connect({ nodeId: server.nodeId, addresses }, ECHO))
      yield* TestClock.adjust("10 seconds")
      const connection = yield* Fiber.join(connecting)
      assert.strictEqual(connection.peer, server.nodeId)
    })
  )
)

it.effect("closes connection 3 of a peer that may have 2 with TooMany, and takes one again when one ends", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair({ maxConnectionsPerPeer: 2 })
      const connect = client.endpoint.connect(targetOf(server), ECHO)
      const scope = yield* Scope.make()
      yield* Scope.provide(connect, scope)
      yield* connect
      const third = yield* connect
      assert.strictEqual((yield* third.closed).code, CloseCode.TooMany)
      yield* Scope.close(scope, Exit.void)
      yield* TestClock.adjust("1 seconds")
      const fourth = yield* connect
      const closed = yield* Effect.forkChild(Effect.timeoutOption(fourth.closed, "1 seconds"))
      yield* TestClock.adjust("1 seconds")
      assert.strictEqual((yield* Fiber.join(closed))._tag, "None")
    })
  )
)

it.effect("opens streams on one pooled connection, which goes when it was unused for a while", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const open = Effect.scoped(client.endpoint.open(targetOf(server), ECHO))
      const [first, second] = [yield* open, yield* open]
      assert.notStrictEqual(first.id, second.id)
      assert.strictEqual((yield* client.endpoint.connections).length, 1)
      yield* TestClock.adjust("31 seconds")
      assert.strictEqual((yield* client.endpoint.connections).length, 0)
      yield* open
      assert.strictEqual((yield* client.endpoint.connections).length, 1)
    })
  )
)

it.effect("dials anew when the pooled connection was closed by the other side", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      const open = Effect.scoped(client.endpoint.open(targetOf(server), ECHO))
      yield* open
      yield* TestClock.adjust("1 seconds")
      const [accepted] = yield* server.endpoint.connections
      yield* accepted!.close(CloseCode.Draining, "")
      yield* TestClock.adjust("1 seconds")
      yield* open
      assert.strictEqual((yield* server.endpoint.connections).length, 1)
    })
  )
)

it.effect("ID-R31 a dialed connection is closed when its node is a peer no more", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      yield* client.setPeer(server.nodeId, [])
      const connection = yield* client.endpoint.connect(targetOf(server), ECHO)
      yield* client.setPeer(server.nodeId, undefined)
      assert.strictEqual((yield* connection.closed).by, "local")
    })
  )
)

it.effect("the audit log says who came, over what, and why it ended, and never where somebody was dialed", () =>
  run(
    Effect.gen(function* () {
      const { client, server } = yield* pair()
      yield* Effect.scoped(
        Effect.andThen(client.endpoint.connect(targetOf(server), ECHO), TestClock.adjust("1 seconds"))
      )
      yield* TestClock.adjust("1 seconds")
      assert.match(
        server.audit[0]!,
        /^\S+ alknet conn\.open conn=\S+ remote=\S+ port=\d+ transport=memory alpn=test\/echo$/
      )
      assert.match(server.audit.at(-1)!, /^\S+ alknet conn\.close conn=\S+ .* reason=peer:NoError$/)
    })
  )
)
