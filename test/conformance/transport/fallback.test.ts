/** TR-026: UDP is blocked, TLS gets through, on the same port number. */
import { createSocket } from "node:dgram"
import { assert, it } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import * as CombinedTransport from "../../../src/layers/transport/CombinedTransport.ts"
import * as QuicTransport from "../../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../../src/layers/transport/TlsTransport.ts"
import { Transport } from "../../../src/services/Transport.ts"
import { bytesOf, dial, echoConnection, leavesNothing, nodes, readAll, type TransportProvider } from "./provider.ts"

const over = (layer: Layer.Layer<Transport>): TransportProvider => ({
  name: "combined",
  multiStream: false,
  virtual: false,
  idleMillis: 30_000,
  bufferedMax: 16 * 1_048_576,
  hosts: ["127.0.0.1"],
  make: () => Effect.map(Layer.build(layer), (context) => ({ transport: Context.get(context, Transport) }))
})

const tls = TlsTransport.layer({ closeDrain: "200 millis" })
const both = CombinedTransport.layer(QuicTransport.layer(), tls)

it.live("TR-026 where UDP is blocked a dial gets through over TLS within a second", () =>
  leavesNothing(
    Effect.gen(function* () {
      const node = yield* nodes(over(tls))
      // Takes every datagram and answers none.
      yield* Effect.acquireRelease(
        Effect.callback<ReturnType<typeof createSocket>>((resume) => {
          const hole = createSocket("udp4")
          hole.bind(node.address.port, "127.0.0.1", () => resume(Effect.succeed(hole)))
        }),
        (hole) => Effect.callback<void>((resume) => void hole.close(() => resume(Effect.void)))
      )
      const combined = Context.get(yield* Layer.build(both), Transport)
      const before = performance.now()
      const [dialed, accepted] = yield* Effect.all([dial({ ...node, transport: combined }), node.listener.accept], {
        concurrency: 2
      })
      assert.isBelow(performance.now() - before, 1_000)
      assert.strictEqual(dialed.transport, "tls")
      yield* Effect.forkChild(echoConnection(accepted))
      const stream = yield* dialed.open
      yield* stream.writeLast(bytesOf(5_000))
      assert.isTrue((yield* readAll(stream)).equals(bytesOf(5_000)))
    })
  )
)

it.live("where both get through QUIC is taken, on the same port number", () =>
  leavesNothing(
    Effect.gen(function* () {
      const node = yield* nodes(over(both))
      const [dialed, accepted] = yield* Effect.all([dial(node), node.listener.accept], { concurrency: 2 })
      assert.deepStrictEqual([dialed.transport, accepted.transport], ["quic", "quic"])
      const only = Context.get(yield* Layer.build(tls), Transport)
      const [fallback] = yield* Effect.all([dial({ ...node, transport: only }), node.listener.accept], {
        concurrency: 2
      })
      assert.strictEqual(fallback.transport, "tls")
    })
  )
)
