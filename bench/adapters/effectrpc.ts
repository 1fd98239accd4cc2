/** effect/rpc over a socket with mutual TLS, lines of JSON: the RPC of the library that we build on. */
import { NodeSocket, NodeSocketServer } from "@effect/platform-node"
import { Context, Effect, Exit, Layer, ManagedRuntime, Schema, Scope, Stream } from "effect"
import { NetAddress } from "effect/net"
import { Rpc, RpcClient, RpcGroup, RpcSerialization, RpcServer } from "effect/rpc"
import { SocketServer } from "effect/socket"
import { type Adapter, type Client, HOST } from "../Adapter.ts"
import { type Certificate, makeCertificate } from "../certificates.ts"

const Text = { text: Schema.String }
const Answer = Schema.Struct(Text)
class Denied extends Schema.TaggedError<Denied>()("Denied", {}) {}
class Calls extends RpcGroup.make(
  Rpc.make("Say", { payload: Text, success: Answer }),
  Rpc.make("Denied", { payload: Text, success: Answer, error: Denied }),
  Rpc.make("Hold", { payload: Text, success: Answer }),
  Rpc.make("Items", { payload: { ...Text, count: Schema.Int }, success: Answer, stream: true })
) {}

interface Info {
  readonly port: number
  readonly server: Certificate
}

const dial = async ({ port, server }: Info): Promise<Client> => {
  const { cert, key } = await makeCertificate()
  const tls = NodeSocket.layerTls({
    host: HOST,
    port,
    cert,
    key,
    ca: server.cert,
    minVersion: "TLSv1.3",
    checkServerIdentity: () => undefined
  })
  const scope = Scope.makeUnsafe()
  const protocol = RpcClient.layerProtocolSocket().pipe(Layer.provide([tls, RpcSerialization.layerNdjson]))
  const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)
  const context = await run(Layer.buildWithScope(protocol, scope))
  const client = await run(
    Effect.provide(Scope.provide(RpcClient.make(Calls, { disableTracing: true }), scope), context)
  )
  const call = (text: string) => run(client.Say({ text }))
  // The socket connects in the background.
  await call("")
  return {
    call,
    denied: () => run(Effect.flip(client.Denied({ text: "x" }))),
    hold: (text) => run(client.Hold({ text })),
    items: (count, text) =>
      run(
        Stream.runFold(
          client.Items({ count, text }),
          () => 0,
          (length, item) => length + item.text.length
        )
      ),
    close: () => run(Scope.close(scope, Exit.void))
  }
}

const serving = (own: Certificate, next: Client | undefined) =>
  RpcServer.layer(Calls, { disableTracing: true }).pipe(
    Layer.provide(
      Calls.toLayer({
        Say: ({ text }) =>
          next === undefined
            ? Effect.succeed({ text })
            : Effect.promise(() => next.call!(text) as Promise<typeof Answer.Type>),
        Denied: () => Effect.fail(new Denied()),
        Hold: () => Effect.never,
        Items: ({ count, text }) => Stream.map(Stream.range(1, count), () => ({ text }))
      })
    ),
    Layer.provide(RpcServer.layerProtocolSocketServer),
    Layer.provide(RpcSerialization.layerNdjson),
    Layer.provideMerge(
      NodeSocketServer.layerTls({
        host: HOST,
        port: 0,
        cert: own.cert,
        key: own.key,
        requestCert: true,
        rejectUnauthorized: false,
        minVersion: "TLSv1.3"
      })
    )
  )

export const adapter: Adapter = {
  serve: async ({ worker }) => {
    const next = worker === undefined ? undefined : await dial(worker)
    const own = await makeCertificate()
    const runtime = ManagedRuntime.make(serving(own, next))
    const { address } = Context.get(await runtime.context(), SocketServer.SocketServer)
    if (!NetAddress.isInetAddress(address)) throw new Error("not a port")
    return { info: { port: address.port, server: own } satisfies Info }
  },
  connect: dial
}
