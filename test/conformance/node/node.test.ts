/** One program, two whole nodes, run over every transport that a node can be built on. */
import { createServer } from "node:net"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Redacted, Schema, Scope } from "effect"
import { issueInvite } from "../../../src/layers/Invite.ts"
import { join } from "../../../src/layers/Join.ts"
import * as Node from "../../../src/layers/Node.ts"
import * as MemoryPeerStore from "../../../src/layers/store/MemoryPeerStore.ts"
import * as MemoryTransport from "../../../src/layers/transport/MemoryTransport.ts"
import * as TlsTransport from "../../../src/layers/transport/TlsTransport.ts"
import * as MemoryVault from "../../../src/layers/vault/MemoryVault.ts"
import { Alpn } from "../../../src/protocol/Alpn.ts"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { CallClient } from "../../../src/services/CallClient.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { PeerStore } from "../../../src/services/PeerStore.ts"
import type { Transport } from "../../../src/services/Transport.ts"

const ALICE = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
const BOB = "zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo zoo wrong"
const CALL = Alpn.make("alknet/call")

const Shout = Operation.query("demo/shout", {
  description: "The text in capitals.",
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.scopes("call:demo/shout"),
  visibility: "external"
})
const Wait = Operation.query("demo/wait", {
  description: "Answers when told to.",
  output: Schema.Struct({}),
  access: AccessControl.open,
  visibility: "external"
})

const makeNode = (mnemonic: string, transport: Layer.Layer<Transport>, release: Effect.Effect<void> = Effect.void) =>
  Effect.gen(function* () {
    const audit: Array<string> = []
    const operations = OperationGroup.make(
      Operation.implement(Shout, ({ text }) => Effect.succeed({ text: text.toUpperCase() })),
      Operation.implement(Wait, () => Effect.as(release, {}))
    )
    const context = yield* Layer.build(
      Node.layer({ version: "0.0.0", listen: [{ host: "127.0.0.1", port: 0 }], operations: [operations] }).pipe(
        Layer.provideMerge(MemoryPeerStore.layer()),
        Layer.provide([transport, MemoryVault.layer(mnemonic), AuditLog.layerCollect(audit)])
      )
    )
    const endpoint = Context.get(context, Endpoint)
    return { context, endpoint, audit, target: { nodeId: endpoint.nodeId, addresses: endpoint.addresses } }
  })

const providers: ReadonlyArray<readonly [string, Effect.Effect<Layer.Layer<Transport>, never, Scope.Scope>]> = [
  [
    "memory",
    Effect.map(Layer.build(MemoryTransport.MemoryNetwork.layer), (network) =>
      Layer.provide(MemoryTransport.layer, Layer.succeedContext(network))
    )
  ],
  ["quic and tls", Effect.succeed(Node.layerTransport)],
  ["tls", Effect.succeed(TlsTransport.layer())]
]

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
      const { ticket } = yield* issueInvite({
        issuer: "operator",
        scopes: ["call:*"],
        addresses: alice.endpoint.addresses
      }).pipe(Effect.provide(alice.context))
      yield* join({ ticket, name: "alice", ownName: "bob" }).pipe(Effect.provide(bob.context))
      const connection = yield* Context.get(bob.context, CallClient).connect(alice.target)
      yield* connection.call(Shout, { text: "a" })
      yield* Context.get(alice.context, PeerStore).remove("bob")
      yield* connection.closed.pipe(Effect.timeout("2 seconds"))
      const error = yield* Effect.flip(connection.call(Shout, { text: "a" }))
      assert.strictEqual(error._tag === "CallError" && error.message, "connection closed")
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

it.live("over memory no socket is opened", () =>
  Effect.gen(function* () {
    const before = process.getActiveResourcesInfo().filter((kind) => /TCP|UDP|Pipe/.test(kind)).length
    const [, network] = providers[0]!
    const transport = yield* network
    yield* makeNode(ALICE, transport)
    const after = process.getActiveResourcesInfo().filter((kind) => /TCP|UDP|Pipe/.test(kind)).length
    assert.isAtMost(after, before)
    // The check itself can see one.
    const server = createServer().listen(0, "127.0.0.1")
    assert.isAbove(process.getActiveResourcesInfo().filter((kind) => /TCP/.test(kind)).length, before)
    server.close()
  }).pipe(Effect.scoped)
)

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
