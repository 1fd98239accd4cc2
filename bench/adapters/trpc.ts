/** tRPC over a WebSocket (package `ws`) and mutual TLS: queries, and a subscription for items. */
import { once } from "node:events"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { setImmediate } from "node:timers/promises"
import { type Adapter, type Client, HOST } from "../Adapter.ts"
import { type Certificate, makeCertificate } from "../certificates.ts"

interface Text {
  readonly text: string
}
interface Many extends Text {
  readonly count: number
}
interface Call<I> {
  readonly input: I
}
interface Procedure<I> {
  readonly input: <A>(parse: (value: unknown) => A) => Procedure<A>
  readonly query: (handler: (call: Call<I>) => unknown) => unknown
  readonly subscription: (handler: (call: Call<I>) => AsyncIterable<unknown>) => unknown
}
interface TrpcServer {
  readonly initTRPC: {
    readonly create: () => {
      readonly router: (procedures: Record<string, unknown>) => unknown
      readonly procedure: Procedure<unknown>
    }
  }
  readonly TRPCError: new (options: { readonly code: string }) => Error
}
interface TrpcClient {
  readonly createWSClient: (options: object) => { readonly close: () => Promise<void> }
  readonly wsLink: (options: object) => unknown
  readonly createTRPCUntypedClient: (options: { readonly links: ReadonlyArray<unknown> }) => {
    readonly query: (path: string, input: unknown) => Promise<unknown>
    readonly subscription: (
      path: string,
      input: unknown,
      callbacks: {
        readonly onData: (item: Text) => void
        readonly onError: (error: unknown) => void
        readonly onComplete: () => void
      }
    ) => unknown
  }
}
interface WebSockets {
  readonly WebSocket: new (url: string, options: object) => object
  readonly WebSocketServer: new (options: object) => unknown
}

const SERVER = "@trpc/server"
const SOCKETS = "@trpc/server/adapters/ws"
const CLIENT = "@trpc/client"
const WS = "ws"
const { initTRPC, TRPCError } = (await import(SERVER)) as TrpcServer
const { applyWSSHandler } = (await import(SOCKETS)) as { readonly applyWSSHandler: (options: object) => void }
const { createTRPCUntypedClient, createWSClient, wsLink } = (await import(CLIENT)) as TrpcClient
const { WebSocket, WebSocketServer } = (await import(WS)) as WebSockets

/** Checks by hand what others check with a schema. */
const text = (value: unknown): Text => {
  if (typeof value !== "object" || value === null || !("text" in value) || typeof value.text !== "string") {
    throw new Error("not a text")
  }
  return { text: value.text }
}
const many = (value: unknown): Many => {
  const count = (value as { readonly count?: unknown }).count
  if (typeof count !== "number") throw new Error("not a count")
  return { ...text(value), count }
}

/** Nothing holds a generator back here: it has to let the socket have its turn, or all items are in memory at once. */
const ITEMS_A_TURN = 256

const serving = (next: Client | undefined) => {
  const { procedure, router } = initTRPC.create()
  return router({
    say: procedure.input(text).query(({ input }) => (next === undefined ? input : next.call!(input.text))),
    denied: procedure.input(text).query(() => {
      throw new TRPCError({ code: "FORBIDDEN" })
    }),
    hold: procedure.input(text).query(() => new Promise(() => {})),
    items: procedure.input(many).subscription(async function* ({ input: { count, text } }) {
      for (let index = 1; index <= count; index++) {
        yield { text }
        if (index % ITEMS_A_TURN === 0) await setImmediate()
      }
    })
  })
}

interface Info {
  readonly port: number
  readonly server: Certificate
}

const dial = async ({ port, server }: Info): Promise<Client> => {
  const { cert, key } = await makeCertificate()
  const tls = { cert, key, ca: server.cert, minVersion: "TLSv1.3", checkServerIdentity: () => undefined }
  class Socket extends WebSocket {
    constructor(url: string) {
      super(url, { ...tls, perMessageDeflate: false })
    }
  }
  let client: ReturnType<TrpcClient["createWSClient"]> | undefined
  await new Promise<void>((resolve, reject) => {
    client = createWSClient({
      url: `wss://${HOST}:${port}`,
      WebSocket: Socket,
      onOpen: resolve,
      onError: () => reject(new Error("no connection")),
      retryDelayMs: () => 60_000
    })
  })
  const stub = createTRPCUntypedClient({ links: [wsLink({ client })] })
  return {
    call: (text) => stub.query("say", { text }),
    denied: () =>
      stub.query("denied", { text: "x" }).then(
        () => Promise.reject(new Error("not denied")),
        (error: unknown) => error
      ),
    hold: (text) => stub.query("hold", { text }),
    items: (count, text) =>
      new Promise((resolve, reject) => {
        let length = 0
        stub.subscription(
          "items",
          { count, text },
          {
            onData: (item) => {
              length += item.text.length
            },
            onError: reject,
            onComplete: () => resolve(length)
          }
        )
      }),
    close: async () => client?.close()
  }
}

export const adapter: Adapter = {
  serve: async ({ worker }) => {
    const next = worker === undefined ? undefined : await dial(worker)
    const own = await makeCertificate()
    const server = createServer({
      cert: own.cert,
      key: own.key,
      requestCert: true,
      rejectUnauthorized: false,
      minVersion: "TLSv1.3"
    })
    applyWSSHandler({ wss: new WebSocketServer({ server, perMessageDeflate: false }), router: serving(next) })
    server.listen(0, HOST)
    await once(server, "listening")
    return { info: { port: (server.address() as AddressInfo).port, server: own } satisfies Info }
  },
  connect: dial
}
