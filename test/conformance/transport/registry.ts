/** The transport layers that claim the contract. A name that is not here fails the run. */
import { Context, Duration, Effect, Layer } from "effect"
import * as FaultyTransport from "../../../src/layers/transport/FaultyTransport.ts"
import * as MemoryTransport from "../../../src/layers/transport/MemoryTransport.ts"
import * as QuicTransport from "../../../src/layers/transport/QuicTransport.ts"
import * as TlsTransport from "../../../src/layers/transport/TlsTransport.ts"
import { Transport } from "../../../src/services/Transport.ts"
import type { Settings, TransportProvider } from "./provider.ts"

const memory = (name: string, multiStream: boolean): TransportProvider => ({
  name,
  multiStream,
  virtual: true,
  idleMillis: 400,
  bufferedMax: 262_144 + 65_536,
  hosts: ["127.0.0.1", "::1"],
  make: Effect.fnUntraced(function* (settings: Settings) {
    const context = yield* Layer.build(MemoryTransport.MemoryNetwork.layer)
    const build = (options: MemoryTransport.Options) =>
      Effect.map(Layer.build(MemoryTransport.layerWith({ ...settings, multiStream, ...options })), (built) =>
        Context.get(built, Transport)
      ).pipe(Effect.provide(context))
    const { cut } = Context.get(context, MemoryTransport.MemoryNetwork)
    return { transport: yield* build({}), anonymous: yield* build({ anonymous: true }), cut }
  })
})

const tls: TransportProvider = {
  name: "tls",
  multiStream: false,
  virtual: false,
  idleMillis: 400,
  // What our two sides read and write ahead, and the buffers of two loopback sockets.
  bufferedMax: 16 * 1_048_576,
  hosts: ["127.0.0.1", "::1"],
  make: Effect.fnUntraced(function* ({ idleTimeout, keepAlive }: Settings) {
    const options = { ...(idleTimeout && { idleTimeout }), ...(keepAlive !== undefined && { keepAlive }) }
    const context = yield* Layer.build(TlsTransport.layer({ ...options, closeDrain: "200 millis" }))
    return { transport: Context.get(context, Transport) }
  })
}

const quic = (name: string, options: QuicTransport.QuicTransportOptions): TransportProvider => ({
  name,
  multiStream: true,
  virtual: false,
  // The window of a stream, what waits on either side of it or between threads, and the chunk that is being written.
  bufferedMax: 10 * 1_048_576,
  // Its keep-alive looks once a second.
  idleMillis: 2_500,
  hosts: ["127.0.0.1", "::1"],
  make: Effect.fnUntraced(function* ({ idleTimeout, keepAlive, streamsMax }: Settings) {
    const limits = {
      ...(idleTimeout && { idleMillis: Duration.toMillis(idleTimeout), keepAliveMillis: 500 }),
      ...(keepAlive === false && { keepAliveMillis: 3_600_000 }),
      ...(streamsMax && { streams: streamsMax })
    }
    const context = yield* Layer.build(QuicTransport.layer({ limits, ...options }))
    return { transport: Context.get(context, Transport) }
  })
})

/** With faults that may happen but do not: the wrapper itself must keep the contract. */
const faulty: TransportProvider = {
  ...memory("faulty", true),
  make: Effect.fnUntraced(function* (settings: Settings) {
    const network = yield* Layer.build(MemoryTransport.MemoryNetwork.layer)
    const build = (options: MemoryTransport.Options) => {
      const inner = MemoryTransport.layerWith({ ...settings, ...options }).pipe(
        Layer.provide(Layer.succeedContext(network))
      )
      return Effect.map(Layer.build(FaultyTransport.layer(inner, { seed: 1 })), (built) =>
        Context.get(built, Transport)
      )
    }
    const { cut } = Context.get(network, MemoryTransport.MemoryNetwork)
    return { transport: yield* build({}), anonymous: yield* build({ anonymous: true }), cut }
  })
}

/** For the cases of calls alone. */
const websocket: TransportProvider = {
  ...tls,
  name: "websocket",
  isMessages: true,
  make: () => Effect.die("a WebSocket is no transport")
}

const registry: ReadonlyArray<TransportProvider> = [
  memory("memory", true),
  memory("memory-single", false),
  faulty,
  tls,
  quic("quic", {}),
  quic("quic-worker", { isolation: "worker" })
]

/** What carries calls: every transport, and WebSockets. */
const callRegistry = [...registry, websocket]

const find = (among: ReadonlyArray<TransportProvider>, name: string): TransportProvider => {
  const found = among.find((entry) => entry.name === name)
  if (found === undefined) {
    throw new Error(`no transport provider "${name}"; there are: ${among.map((entry) => entry.name).join(", ")}`)
  }
  return found
}

/** The provider of that name; an unknown name is an error of the caller. */
export const provider = (name: string): TransportProvider => find(registry, name)

/** The same for the cases of calls. */
export const callProvider = (name: string): TransportProvider => find(callRegistry, name)

const chosen = (among: ReadonlyArray<TransportProvider>): ReadonlyArray<string> =>
  process.env["ALKNET_TRANSPORTS"]?.split(",") ?? among.map((entry) => entry.name)

/** The names to run: all, or those in ALKNET_TRANSPORTS, separated by commas. */
export const chosenNames = (): ReadonlyArray<string> => chosen(registry)

/** The same for the cases of calls. */
export const chosenCallNames = (): ReadonlyArray<string> => chosen(callRegistry)
