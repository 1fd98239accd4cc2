/** The QUIC transport over its Effect API, without a node around it. */
import { Context, Effect, Exit, Layer, Scope } from "effect"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { Transport } from "../../src/services/Transport.ts"
import { type Adapter, HOST } from "../Adapter.ts"
import { UNBOUNDED } from "../limits.ts"
import { accept, clientOf } from "../streams.ts"

const BENCH = Alpn.make("bench/1")
const OFFERED = [BENCH]

const build = Effect.gen(function* () {
  const context = yield* Layer.build(QuicTransport.layer({ limits: UNBOUNDED }))
  return { transport: Context.get(context, Transport), identity: yield* makeEphemeralIdentity }
})
const run = <A, E>(effect: Effect.Effect<A, E, Scope.Scope>, scope: Scope.Scope = Scope.makeUnsafe()) =>
  Effect.runPromise(Scope.provide(effect, scope))

interface Info {
  readonly nodeId: NodeId
  readonly address: SocketAddress
}

let shared: ReturnType<typeof start> | undefined
const start = () => run(build)

export const adapter: Adapter = {
  serve: () =>
    run(
      Effect.gen(function* () {
        const { identity, transport } = yield* build
        const alpns = { node: () => OFFERED, web: () => [] }
        const listener = yield* transport.listen({ address: { host: HOST, port: 0 }, identity, alpns })
        yield* Effect.flatMap(listener.accept, (connection) =>
          Effect.forkScoped(Effect.ignore(accept(connection)), { startImmediately: true })
        ).pipe(Effect.forever({ disableYield: true }), Effect.ignore, Effect.forkScoped)
        return { info: { nodeId: identity.nodeId, address: listener.address } satisfies Info }
      })
    ),
  connect: async ({ address, nodeId }: Info) => {
    shared ??= start()
    const { identity, transport } = await shared
    const scope = Scope.makeUnsafe()
    const connection = await run(transport.dial({ address, expect: nodeId, alpn: BENCH, identity }), scope)
    return { ...clientOf(connection), close: () => Effect.runPromise(Scope.close(scope, Exit.void)) }
  }
}
