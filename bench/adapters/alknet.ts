/** Alknet as its users have it: router, endpoint, dispatcher and the QUIC transport, over the Effect API. */
import { Context, Effect, Exit, Layer, ManagedRuntime, Schema, Scope } from "effect"
import * as CallClientLayer from "../../src/layers/CallClient.ts"
import * as DispatcherLayer from "../../src/layers/call/Dispatcher.ts"
import * as EndpointLayer from "../../src/layers/Endpoint.ts"
import * as CallHandlerLayer from "../../src/layers/handlers/CallHandler.ts"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as OperationRegistryLayer from "../../src/layers/OperationRegistry.ts"
import * as PeerStoreDiscovery from "../../src/layers/PeerStoreDiscovery.ts"
import * as RouterLayer from "../../src/layers/Router.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as QuicTransport from "../../src/layers/transport/QuicTransport.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import type { NodeId } from "../../src/protocol/identity/NodeId.ts"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { CallClient } from "../../src/services/CallClient.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { RemoteFilter } from "../../src/services/RemoteFilter.ts"
import { Router } from "../../src/services/Router.ts"
import type { BiStream, Connection } from "../../src/services/Transport.ts"
import {
  type Adapter,
  CHUNK,
  count64,
  Deframer,
  ECHO,
  FRAMED,
  FramedClient,
  frame,
  HOST,
  UPLOAD,
  withMode
} from "../Adapter.ts"
import { UNBOUNDED } from "../limits.ts"

const BENCH = Alpn.make("bench/1")

const Say = Operation.query("bench/say", {
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.open,
  visibility: "external"
})
const Secret = Operation.query("bench/secret", {
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Struct({ text: Schema.String }),
  access: AccessControl.scopes("call:bench/secret"),
  visibility: "external"
})
const operations = OperationGroup.make(
  Operation.implement(Say, ({ text }) => Effect.succeed({ text })),
  Operation.implement(Secret, ({ text }) => Effect.succeed({ text }))
)

const node = (listen: ReadonlyArray<SocketAddress>) =>
  Layer.mergeAll(
    Layer.provide(CallHandlerLayer.layerWith({ access: "anonymous" }), RemoteFilter.layerTrusted),
    CallClientLayer.layer
  ).pipe(
    Layer.provide(DispatcherLayer.layer),
    Layer.provide(OperationRegistryLayer.layer(operations)),
    Layer.provideMerge(EndpointLayer.layer({ listen, maxConnectionsPerPeer: 10_000 })),
    Layer.provideMerge(RouterLayer.layer),
    Layer.provide(PeerStoreDiscovery.layer),
    Layer.provide(Layer.unwrap(Effect.map(makeEphemeralIdentity, IdentityLayer.layer))),
    Layer.provide([MemoryPeerStore.layer(), AuditLog.layerSilent, QuicTransport.layer({ limits: UNBOUNDED })])
  )

/** `Effect.forever` gives way to the event loop after each round unless told not to, which would part what belongs into one packet. */
const repeat = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forever(effect, { disableYield: true })

/** Reads to the end. */
const readAll = (stream: BiStream, onChunk: (chunk: Uint8Array) => void) =>
  repeat(Effect.map(stream.read, onChunk)).pipe(Effect.catchTag("EndOfStream", () => Effect.void))

const answer = Effect.fnUntraced(function* (stream: BiStream) {
  const first = yield* stream.read
  const rest = first.subarray(1)
  if (first[0] === ECHO) {
    const parts = [rest]
    yield* readAll(stream, (chunk) => parts.push(chunk))
    yield* stream.writeLast(parts.length === 1 ? rest : Buffer.concat(parts))
  } else if (first[0] === UPLOAD) {
    let counted = rest.length
    yield* readAll(stream, (chunk) => {
      counted += chunk.length
    })
    yield* stream.writeLast(count64(counted))
  } else {
    const ready: Array<Buffer> = []
    const deframer = new Deframer((payload) => ready.push(frame(payload)))
    deframer.push(rest)
    for (;;) {
      if (ready.length > 0) yield* stream.write(Buffer.concat(ready.splice(0)))
      deframer.push(yield* stream.read)
    }
  }
})

const accept = (connection: Connection) =>
  repeat(
    Effect.flatMap(connection.accept, (stream) =>
      Effect.forkChild(Effect.ignore(answer(stream)), { startImmediately: true })
    )
  )

interface Info {
  readonly nodeId: NodeId
  readonly addresses: ReadonlyArray<SocketAddress>
}

const startServer = Effect.gen(function* () {
  const router = yield* Router
  yield* router.register({ alpn: BENCH, access: "anonymous", accept })
  const { addresses, nodeId } = yield* Endpoint
  return { info: { nodeId, addresses } satisfies Info }
})

let client: ManagedRuntime.ManagedRuntime<Endpoint | CallClient, unknown> | undefined

export const adapter: Adapter = {
  serve: () => {
    const scope = Scope.makeUnsafe()
    const runtime = ManagedRuntime.make(node([{ host: HOST, port: 0 }]))
    return runtime.runPromise(Scope.provide(startServer, scope))
  },
  connect: async (info: Info) => {
    client ??= ManagedRuntime.make(node([]))
    const context = await client.context()
    const scope = Scope.makeUnsafe()
    const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
    const connection = await run(Scope.provide(Context.get(context, Endpoint).connect(info, BENCH), scope))
    const calls = async () => run(Scope.provide(Context.get(context, CallClient).connect(info), scope))
    let calling: ReturnType<typeof calls> | undefined
    const caller = () => {
      calling ??= calls()
      return calling
    }
    return {
      echo: (bytes) =>
        run(
          Effect.gen(function* () {
            const stream = yield* connection.open
            yield* stream.writeLast(withMode(ECHO, bytes))
            let length = 0
            yield* readAll(stream, (chunk) => {
              length += chunk.length
            })
            return length
          })
        ),
      upload: (bytes) =>
        run(
          Effect.gen(function* () {
            const stream = yield* connection.open
            yield* stream.write(Buffer.of(UPLOAD))
            for (let left = bytes; left > 0; left -= CHUNK.length) {
              yield* stream.write(left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left))
            }
            yield* stream.finish
            const parts: Array<Uint8Array> = []
            yield* readAll(stream, (chunk) => parts.push(chunk))
            return Number(Buffer.concat(parts).readBigUInt64BE())
          })
        ),
      openFramed: async () => {
        const stream = await run(connection.open)
        const framed = new FramedClient((bytes) => void Effect.runFork(stream.write(bytes)))
        Effect.runFork(stream.write(Buffer.of(FRAMED)))
        Effect.runFork(readAll(stream, (chunk) => framed.data(chunk)))
        return (bytes) => framed.call(bytes)
      },
      call: async (text) => {
        const connection = await caller()
        return run(connection.call(Say, { text }))
      },
      denied: async () => {
        const connection = await caller()
        return run(Effect.flip(connection.call(Secret, { text: "x" })))
      },
      close: () => run(Scope.close(scope, Exit.void))
    }
  }
}
