import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Scope } from "effect"
import * as PeerGraphLayer from "../../src/layers/PeerGraph.ts"
import { type AttachedPeer, PeerGraph } from "../../src/services/PeerGraph.ts"

const overlay = (): AttachedPeer["overlay"] => ({ get: () => undefined, names: () => [], install: () => Effect.void })

const setUp = Effect.gen(function* () {
  const graph = Context.get(yield* Layer.build(PeerGraphLayer.layer), PeerGraph)
  const attach = Effect.fnUntraced(function* (peerId: string) {
    const scope = yield* Scope.make()
    const peer = { peerId, overlay: overlay() }
    yield* Scope.provide(graph.attach(peer), scope)
    return { ...peer, detach: Scope.close(scope, Exit.void) }
  })
  return { graph, attach, ids: () => graph.peers().map(({ peerId }) => peerId) }
})

describe("the peer graph", () => {
  it.effect("CALL-107 peers stand in the order in which they came, for the life of their scope", () =>
    Effect.gen(function* () {
      const { attach, graph, ids } = yield* setUp
      const a = yield* attach("a")
      const b = yield* attach("b")
      yield* attach("c")
      assert.deepStrictEqual(ids(), ["a", "b", "c"])
      assert.strictEqual(graph.find("b")?.overlay, b.overlay)
      yield* a.detach
      assert.deepStrictEqual(ids(), ["b", "c"])
      assert.isUndefined(graph.find("a"))
      yield* attach("a")
      assert.deepStrictEqual(ids(), ["b", "c", "a"])
    })
  )

  it.effect(
    "CALL-107 attaching again replaces the overlay and keeps the place; the old one's end leaves the new one",
    () =>
      Effect.gen(function* () {
        const { attach, graph, ids } = yield* setUp
        const first = yield* attach("a")
        yield* attach("b")
        const second = yield* attach("a")
        assert.deepStrictEqual(ids(), ["a", "b"])
        assert.strictEqual(graph.find("a")?.overlay, second.overlay)
        yield* first.detach
        assert.deepStrictEqual(ids(), ["a", "b"])
        assert.strictEqual(graph.find("a")?.overlay, second.overlay)
        yield* second.detach
        assert.deepStrictEqual(ids(), ["b"])
      })
  )

  it.effect("a connection that was replaced and outlives the other counts again", () =>
    Effect.gen(function* () {
      const { attach, graph, ids } = yield* setUp
      const first = yield* attach("a")
      yield* attach("b")
      const second = yield* attach("a")
      yield* second.detach
      assert.deepStrictEqual(ids(), ["a", "b"])
      assert.strictEqual(graph.find("a")?.overlay, first.overlay)
    })
  )
})
