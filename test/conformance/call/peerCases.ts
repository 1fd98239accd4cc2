/** Conformance of peers in composition: who is found, in which order, and who never is (call.md section 13). */
import { assert } from "@effect/vitest"
import { Deferred, Effect, Fiber, Queue, type Scope, Stream } from "effect"
import { importFrom } from "../../../src/layers/ImportFrom.ts"
import * as PeerGraphLayer from "../../../src/layers/PeerGraph.ts"
import { AccessControl } from "../../../src/protocol/call/AccessControl.ts"
import type { CallConnection } from "../../../src/services/CallConnection.ts"
import { type ImplementOptions, Operation } from "../../../src/services/Operation.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import type { TransportProvider } from "../transport/provider.ts"
import { Compose, compose, composing, everything, graphLayer, link, offering, open, saying, told } from "./composing.ts"
import { begin, both, casesOver, defaultDeny, node, principal, type TestNode } from "./kit.ts"
import { external, operations, until } from "./operations.ts"

const hub = Effect.fnUntraced(function* (
  provider: TransportProvider,
  scopedEnv: NonNullable<ImplementOptions["scopedEnv"]>,
  ...groups: ReadonlyArray<OperationGroup<never>>
) {
  const { below, graph } = yield* graphLayer
  const self = yield* node({ groups: [composing({ scopedEnv, authority: everything }), ...groups], below })
  const client = yield* node({ groups: [offering("k/client", "client")] })
  const { clientSide, serverSide } = yield* link(provider, self, client, { client: principal("client", "*") })
  /** A connection of the hub to a node that it knows by this id. */
  const dial = (worker: TestNode, peerId: string) =>
    Effect.map(
      link(provider, worker, self, { server: principal(peerId), client: principal("hub", "*") }),
      (linked) => linked.clientSide
    )
  const call = (name: string, peer?: string) =>
    clientSide.call(Compose, { name, ...(peer === undefined ? {} : { peer }) })
  return { self, graph, dial, call, client: clientSide, fromClient: serverSide }
})

const missing = (name: string) => `NOT_FOUND operation not found: ${name}`

export const peerCases = (provider: TransportProvider): void => {
  const { check } = casesOver(provider)
  /** Cases with peers: a WebSocket carries none. */
  const peers = <E>(name: string, body: Effect.Effect<void, E, Scope.Scope>) => {
    if (provider.isMessages !== true) check(name, body)
  }

  peers(
    "CALL-106 specific: the named peer and nobody else",
    Effect.gen(function* () {
      const { call, dial } = yield* hub(provider, ["w/who", "w/only", "c/curated"], saying("c/curated", "curated"))
      const a = yield* dial(yield* node({ groups: [offering("w/who", "a"), offering("w/only", "only a")] }), "a")
      const b = yield* dial(yield* node({ groups: [offering("w/who", "b")] }), "b")
      yield* importFrom(a)
      yield* importFrom(b)
      assert.strictEqual(yield* call("w/who", "a"), "a")
      assert.strictEqual(yield* call("w/who", "b"), "b")
      assert.strictEqual(yield* call("w/only", "b"), missing("w/only"))
      assert.strictEqual(yield* call("w/who", "unknown"), missing("w/who"))
      assert.strictEqual(yield* call("c/curated", "a"), missing("c/curated"))
      assert.strictEqual(yield* call("w/only"), "only a")
    })
  )

  peers(
    "CALL-107 CALL-089 any: peers in attach order, then the registry; re-attaching keeps the place, detaching routes again",
    Effect.gen(function* () {
      const { call, dial, graph } = yield* hub(provider, ["w/who"], saying("w/who", "curated"))
      const worker = (words: string) => node({ groups: [offering("w/who", words)] })
      const importing = (connection: CallConnection["Service"]) => importFrom(connection, { shadow: "allow" })
      assert.strictEqual(yield* call("w/who"), "curated")
      const a = yield* dial(yield* worker("a"), "a")
      const b = yield* dial(yield* worker("b"), "b")
      yield* importing(b)
      assert.strictEqual(yield* call("w/who"), "b")
      yield* importing(a)
      assert.strictEqual(yield* call("w/who"), "a")
      const ids = () => graph.peers().map(({ peerId }) => peerId)
      assert.deepStrictEqual(ids(), ["client", "a", "b"])

      const again = yield* dial(yield* worker("a again"), "a")
      assert.deepStrictEqual(ids(), ["client", "a", "b"])
      assert.strictEqual(yield* call("w/who"), "b")
      yield* importing(again)
      assert.strictEqual(yield* call("w/who"), "a again")
      yield* a.close
      assert.deepStrictEqual(ids(), ["client", "a", "b"])
      assert.strictEqual(yield* call("w/who", "a"), "a again")

      yield* again.close
      assert.deepStrictEqual(ids(), ["client", "b"])
      assert.strictEqual(yield* call("w/who", "a"), missing("w/who"))
      assert.strictEqual(yield* call("w/who"), "b")
      yield* importing(yield* dial(yield* worker("a at last"), "a"))
      assert.strictEqual(yield* call("w/who"), "b")
      assert.deepStrictEqual(ids(), ["client", "b", "a"])
    })
  )

  peers(
    "CALL-102 an env handed out earlier sees a new import; after the close NOT_FOUND; in flight `connection closed`",
    Effect.gen(function* () {
      const imported = Deferred.makeUnsafe<void>()
      const closed = Deferred.makeUnsafe<void>()
      const entered = Effect.runSync(Queue.unbounded<string>())
      const Late = Operation.query("c/late", { ...open, ...external })
      const late = OperationGroup.make(
        Operation.implement(
          Late,
          () =>
            Effect.gen(function* () {
              const before = yield* told(compose("w/who", {}))
              yield* Queue.offer(entered, "before")
              yield* Deferred.await(imported)
              const after = yield* told(compose("w/who", {}))
              const inFlight = yield* told(compose("t/slow", "x"))
              yield* Deferred.await(closed)
              return [before, after, inFlight, yield* told(compose("w/who", {}))]
            }),
          { scopedEnv: ["w/who", "t/slow"], authority: everything }
        )
      )
      const { client, dial } = yield* hub(provider, [], late)
      const slow = operations()
      const a = yield* dial(yield* node({ groups: [offering("w/who", "a"), slow.group] }), "a")
      const call = yield* begin(client.call(Late, null))
      yield* Queue.take(entered)
      yield* importFrom(a)
      yield* Deferred.succeed(imported, undefined)
      yield* Queue.take(slow.started)
      yield* a.close
      yield* Deferred.succeed(closed, undefined)
      assert.deepStrictEqual(yield* Fiber.join(call), [
        missing("w/who"),
        "a",
        "INTERNAL connection closed",
        missing("w/who")
      ])
      assert.deepStrictEqual(a.imports.names(), [])
    })
  )

  peers(
    "CALL-109 a pinned entry is reachable through specific for that peer, and through nothing else",
    Effect.gen(function* () {
      const scoped = { pinned: ["a/w/who", "b/w/other"] }
      const { call, dial } = yield* hub(provider, scoped, saying("w/other", "curated"))
      const offers = [offering("w/who", "who"), offering("w/other", "other")]
      for (const id of ["a", "b"]) {
        yield* importFrom(yield* dial(yield* node({ groups: offers }), id), { shadow: "allow" })
      }
      assert.strictEqual(yield* call("w/who", "a"), "who")
      assert.strictEqual(yield* call("w/other", "b"), "other")
      assert.strictEqual(yield* call("w/who"), missing("w/who"))
      assert.strictEqual(yield* call("w/who", "b"), missing("w/who"))
      assert.strictEqual(yield* call("w/other"), missing("w/other"))
      assert.strictEqual(yield* call("w/other", "a"), missing("w/other"))
      assert.strictEqual(yield* call("a/w/who"), missing("a/w/who"))
    })
  )

  peers(
    "CALL-106 during a request its own connection speaks for its peer, whatever came later under that id",
    Effect.gen(function* () {
      const { call, dial, fromClient, graph } = yield* hub(provider, ["k/client", "w/who"])
      yield* importFrom(fromClient)
      assert.strictEqual(yield* call("k/client", "client"), "client")
      const impostor = yield* dial(
        yield* node({ groups: [offering("k/client", "another"), offering("w/who", "w")] }),
        "client"
      )
      yield* importFrom(impostor)
      assert.deepStrictEqual(graph.find("client")?.overlay, impostor.imports)
      assert.strictEqual(yield* call("k/client", "client"), "client")
      assert.strictEqual(yield* call("k/client"), "client")
      assert.strictEqual(yield* call("w/who", "client"), missing("w/who"))
    })
  )

  peers(
    "CALL-108 without an identity there is no peer, and its overlay is in no env",
    Effect.gen(function* () {
      const { graph, self } = yield* hub(provider, ["k/mine"])
      const stranger = yield* node({ groups: [offering("k/mine", "mine")] })
      const { clientSide, serverSide } = yield* link(provider, self, stranger, {})
      yield* importFrom(serverSide)
      assert.deepStrictEqual(serverSide.imports.names(), ["k/mine"])
      assert.deepStrictEqual(
        graph.peers().map(({ peerId }) => peerId),
        ["client"]
      )
      assert.strictEqual(yield* clientSide.call(Compose, { name: "k/mine" }), missing("k/mine"))
    })
  )

  check(
    "CALL-108 without a graph an overlay serves the requests of its own connection, and nobody else's",
    Effect.gen(function* () {
      const self = yield* node({ groups: [composing({ scopedEnv: ["k/mine"], authority: everything })] })
      const neighbour = (id: string, words: string) =>
        Effect.flatMap(node({ groups: [offering("k/mine", words)] }), (other) =>
          link(provider, self, other, { client: principal(id, "*") })
        )
      const one = yield* neighbour("one", "one's")
      const two = yield* neighbour("two", "two's")
      const three = yield* neighbour("three", "three's")
      yield* importFrom(one.serverSide)
      yield* importFrom(two.serverSide)
      assert.strictEqual(yield* one.clientSide.call(Compose, { name: "k/mine" }), "one's")
      assert.strictEqual(yield* two.clientSide.call(Compose, { name: "k/mine" }), "two's")
      assert.strictEqual(yield* three.clientSide.call(Compose, { name: "k/mine" }), missing("k/mine"))
      // A browser has no peer id; everybody else has.
      const own = yield* one.clientSide.call(Compose, { name: "k/mine", peer: "one" })
      assert.strictEqual(own, provider.isMessages === true ? missing("k/mine") : "one's")
      assert.strictEqual(yield* one.clientSide.call(Compose, { name: "k/mine", peer: "two" }), missing("k/mine"))
    })
  )

  if (provider.isMessages === true) {
    check(
      "CALL-108 a browser is no peer: no entry, its overlay in the env of its own requests only",
      Effect.gen(function* () {
        const { client, fromClient, graph, self } = yield* hub(provider, ["k/client"])
        yield* importFrom(fromClient)
        assert.deepStrictEqual(graph.peers(), [])
        assert.strictEqual(yield* client.call(Compose, { name: "k/client" }), "client")
        assert.strictEqual(yield* client.call(Compose, { name: "k/client", peer: "client" }), missing("k/client"))
        const other = yield* link(provider, self, yield* node({}), { client: principal("other", "*") })
        assert.strictEqual(yield* other.clientSide.call(Compose, { name: "k/client" }), missing("k/client"))
      })
    )
  }

  peers(
    "CALL-096 services/list-peers: opt-in, by peer id, what the caller may use, with the true kind",
    Effect.gen(function* () {
      const Watch = Operation.subscription("w/watch", { ...open, ...external })
      const secret = offering("w/secret", 1, AccessControl.scopes("w:secret"))
      const worker = yield* node({
        groups: [OperationGroup.make(Operation.implement(Watch, () => Stream.never)), secret]
      })
      const below = PeerGraphLayer.layerDiscovery
      const self = yield* node({ groups: [offering("c/mine", 1), saying("c/inside", 1)], below })
      const client = yield* node({})
      const toHub = yield* link(provider, self, client, { client: principal("client", "x:y") })
      const { clientSide: toWorker } = yield* link(provider, worker, self, {
        server: principal("worker"),
        client: principal("hub", "*")
      })
      yield* importFrom(toWorker, { prefix: "far" })
      const list = toHub.clientSide.call("services/list-peers", {})
      const entry = (name: string, namespace: string, op_type: string) => ({ name, namespace, op_type })
      const watch = entry("far/w/watch", "far", "subscription")
      assert.deepStrictEqual(yield* list, {
        peers: [
          { peer_id: "local", operations: [entry("c/mine", "c", "query")] },
          { peer_id: "client", operations: [] },
          { peer_id: "worker", operations: [watch] }
        ]
      })
      self.people.byKey.set(toHub.carriers.client.nodeId, principal("client", "w:secret"))
      const { peers: seen } = (yield* list) as { peers: ReadonlyArray<{ operations: ReadonlyArray<object> }> }
      assert.deepStrictEqual(seen[2]!.operations, [entry("far/w/secret", "far", "query"), watch])

      // Never listed itself, not safe for a peer that is denied by default, and not there where nobody wants it.
      assert.notInclude(JSON.stringify(yield* toHub.clientSide.call("services/list", {})), "list-peers")
      const denied = yield* both(provider, { server: { below }, serverOptions: { filter: defaultDeny } })
      assert.strictEqual((yield* Effect.flip(denied.connection.call("services/list-peers", {}))).code, "NOT_FOUND")
      const without = yield* both(provider)
      assert.strictEqual((yield* Effect.flip(without.connection.call("services/list-peers", {}))).code, "NOT_FOUND")
      const safe = PeerGraphLayer.layerDiscoveryWith({ remoteSafe: true })
      const shown = yield* both(provider, { server: { below: safe }, serverOptions: { filter: defaultDeny } })
      assert.deepStrictEqual(yield* shown.connection.call("services/list-peers", {}), {
        peers: [{ peer_id: "client", operations: [] }]
      })
    })
  )

  peers(
    "CALL-112 a forwarder of a forwarder: an abort goes the whole way, and siblings run on",
    Effect.gen(function* () {
      const { client, dial } = yield* hub(provider, ["t/slow"])
      const slow = operations()
      const toWorker = yield* dial(yield* node({ groups: [slow.group] }), "worker")
      yield* importFrom(toWorker)
      const ask = (input: string) => begin(Effect.exit(client.call(Compose, { name: "t/slow", input })))
      const one = yield* ask("one")
      const two = yield* ask("two")
      assert.sameMembers(yield* Queue.takeN(slow.started, 2), ["one", "two"])
      yield* Fiber.interrupt(one)
      assert.strictEqual(yield* Queue.take(slow.interrupted), "one")
      yield* until(toWorker, { pending: 1 })
      yield* slow.open
      const exit = yield* Fiber.join(two)
      assert.strictEqual(exit._tag, "Success")
      assert.strictEqual(yield* Queue.size(slow.interrupted), 0)
    })
  )
}
