import { assert, it } from "@effect/vitest"
import { Context, Deferred, Effect, Exit, Fiber, Redacted, Scope } from "effect"
import { issueInvite } from "../../../src/layers/Invite.ts"
import { join } from "../../../src/layers/Join.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import { CallClient } from "../../../src/services/CallClient.ts"
import { PeerStore } from "../../../src/services/PeerStore.ts"

import { ALICE, BOB, CALL, makeNode, providers, Shout, Wait } from "./nodes.ts"

type Node = Effect.Success<ReturnType<typeof makeNode>>

/** Bob becomes a peer of Alice who may call everything. */
const befriend = (alice: Node, bob: Node) =>
  Effect.gen(function* () {
    const { ticket } = yield* issueInvite({
      issuer: "operator",
      scopes: ["call:*"],
      addresses: alice.endpoint.addresses
    }).pipe(Effect.provide(alice.context))
    yield* join({ ticket, name: "alice", ownName: "bob" }).pipe(Effect.provide(bob.context))
  })

for (const [name, network] of providers) {
  const pair = Effect.gen(function* () {
    const transport = yield* network
    return { alice: yield* makeNode(ALICE, transport), bob: yield* makeNode(BOB, transport) }
  })

  it.live(`${name}: an invite makes two nodes known to each other, and the scopes of the invite count`, () =>
    Effect.gen(function* () {
      const { alice, bob } = yield* pair
      const { ticket } = yield* issueInvite({
        issuer: "operator",
        scopes: ["call:demo/shout"],
        addresses: alice.endpoint.addresses
      }).pipe(Effect.provide(alice.context))
      const joined = yield* join({ ticket, name: "alice", ownName: "bob" }).pipe(Effect.provide(bob.context))
      assert.strictEqual(joined.peerId, "bob")
      const client = Context.get(bob.context, CallClient)
      const connection = yield* client.connect(alice.target)
      assert.deepStrictEqual(yield* connection.call(Shout, { text: "hello" }), { text: "HELLO" })
      const listed = yield* connection.call("services/list", null)
      const names = (listed as { operations: Array<{ name: string }> }).operations.map(({ name }) => name)
      assert.includeMembers(names, ["demo/shout", "node/ping"])

      // Alice gave no scopes when she became Bob's peer, so the other direction is denied by Bob.
      const back = yield* Context.get(alice.context, CallClient).connect(bob.target)
      const refused = yield* Effect.flip(back.call(Shout, { text: "hello" }))
      assert.strictEqual(refused._tag === "CallError" && refused.code, "FORBIDDEN")
    }).pipe(Effect.scoped)
  )

  it.live(`${name}: ID-007 each side sees the key of the other and the ALPN that was asked for`, () =>
    Effect.gen(function* () {
      const { alice, bob } = yield* pair
      yield* befriend(alice, bob)
      const connection = yield* Context.get(bob.context, CallClient).connect(alice.target)
      yield* connection.call(Shout, { text: "a" })
      const [dialed] = yield* bob.endpoint.connections
      const accepted = (yield* alice.endpoint.connections).find(({ alpn }) => alpn === CALL)
      assert.deepInclude(dialed, { peer: alice.endpoint.nodeId, alpn: CALL, side: "dialed" })
      assert.deepInclude(accepted, { peer: bob.endpoint.nodeId, alpn: CALL, side: "accepted" })
    }).pipe(Effect.scoped)
  )

  it.live(`${name}: a stranger reaches nothing: its connection is closed, and nobody answers its call`, () =>
    Effect.gen(function* () {
      const { alice, bob } = yield* pair
      const outcome = yield* Effect.result(
        Effect.scoped(
          Effect.gen(function* () {
            const connection = yield* bob.endpoint.connect(alice.target, CALL)
            const stream = yield* connection.open
            yield* Effect.ignore(stream.write(new TextEncoder().encode("hello")))
            return yield* connection.closed
          })
        )
      )
      if (outcome._tag === "Success") assert.strictEqual(outcome.success.code, CloseCode.NoHandler)
      const rejected = alice.audit.filter((line) => line.includes("auth.reject"))
      assert.strictEqual(rejected.length, 1)
      assert.match(rejected[0]!, new RegExp(`method=cert credential=${bob.endpoint.nodeId} reason=unknown$`))
    }).pipe(Effect.scoped)
  )

  it.live(`${name}: a removed peer is cut off within 2 s and turned away afterwards`, () =>
    Effect.gen(function* () {
      const { alice, bob } = yield* pair
      yield* befriend(alice, bob)
      const connection = yield* Context.get(bob.context, CallClient).connect(alice.target)
      yield* connection.call(Shout, { text: "a" })
      yield* Context.get(alice.context, PeerStore).remove("bob")
      yield* connection.closed.pipe(Effect.timeout("2 seconds"))
      const error = yield* Effect.flip(connection.call(Shout, { text: "a" }))
      assert.strictEqual(error._tag === "CallError" && error.message, "connection closed")
    }).pipe(Effect.scoped)
  )

  it.live(
    `${name}: TR-021 a stopping node answers the call in flight, and an idle connection does not hold it up`,
    () =>
      Effect.gen(function* () {
        const transport = yield* network
        const asked = yield* Deferred.make<void>()
        const answer = yield* Deferred.make<void>()
        const scope = yield* Scope.make()
        const wait = Effect.andThen(Deferred.succeed(asked, undefined), Deferred.await(answer))
        const alice = yield* Scope.provide(makeNode(ALICE, transport, wait), scope)
        const bob = yield* makeNode(BOB, transport)
        yield* befriend(alice, bob)
        const client = Context.get(bob.context, CallClient)
        const busy = yield* client.connect(alice.target)
        const idle = yield* client.connect(alice.target)
        yield* idle.call(Shout, { text: "a" })
        const asking = yield* Effect.forkChild(busy.call(Wait, undefined), { startImmediately: true })
        yield* Deferred.await(asked)
        const stopping = yield* Effect.forkChild(Scope.close(scope, Exit.void), { startImmediately: true })
        yield* idle.closed.pipe(Effect.timeout("1 second"))
        yield* Deferred.succeed(answer, undefined)
        assert.deepStrictEqual(yield* Fiber.join(asking), { done: true })
        yield* Fiber.join(stopping)
        const refused = yield* Effect.flip(client.connect(alice.target))
        assert.include(["Unreachable", "TimedOut", "Refused"], refused.reason._tag)
      }).pipe(Effect.scoped)
  )

  it.live(`${name}: a node that nobody uses stops at once`, () =>
    Effect.gen(function* () {
      const scope = yield* Scope.make()
      yield* Scope.provide(pair, scope)
      const before = performance.now()
      yield* Scope.close(scope, Exit.void)
      assert.isBelow(performance.now() - before, 1000)
    }).pipe(Effect.scoped)
  )
}

it.live("a ticket stays redacted wherever it is printed", () =>
  Effect.gen(function* () {
    const [, network] = providers[0]!
    const alice = yield* makeNode(ALICE, yield* network)
    const { ticket } = yield* issueInvite({ issuer: "operator", scopes: ["*"], addresses: [] }).pipe(
      Effect.provide(alice.context)
    )
    assert.notInclude(`${ticket} ${JSON.stringify({ ticket })}`, Redacted.value(ticket))
  }).pipe(Effect.scoped)
)
