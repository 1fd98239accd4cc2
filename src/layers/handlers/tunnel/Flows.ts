/**
 * The datagram flows of one `alknet/tunnel` connection: UDP sockets of this node, used by the peer over QUIC datagrams.
 *
 * Each destination is judged by the policy before the first datagram goes there, and again after a while; answers come back
 * only from where the flow has sent something. Whatever is wrong with a datagram costs that datagram.
 */
import { createSocket, type Socket } from "node:dgram"
import { Clock, Effect, type Scope } from "effect"
import { addressBytes } from "../../../protocol/forward/AddressClass.ts"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"
import { decodeFlowDatagram, encodeFlowDatagram } from "../../../protocol/tunnel/Tunnel.ts"
import { ForwardPolicy } from "../../../services/ForwardPolicy.ts"
import type { Principal } from "../../../services/Identity.ts"
import type { Datagrams } from "../../../services/Transport.ts"

/** Flows of one connection at once. */
export const FLOWS_MAX = 32

/** Destinations that a flow knows; the oldest is forgotten, and with it the right of its answers to come back. */
export const FLOW_DESTINATIONS_MAX = 256

/** Datagrams of a connection that wait for a name or a verdict; others are dropped. */
export const FLOW_PENDING_MAX = 32

/** How long a verdict counts, in milliseconds. */
export const VERDICT_MILLIS = 30_000

export interface Flows {
  /** The number of a new flow, open until the scope closes; undefined where there are too many. */
  readonly open: Effect.Effect<number | undefined, never, Scope.Scope>
}

interface Destination {
  readonly address: SocketAddress
  readonly until: number
}

/** `who` is asked at each verdict. The reader of the datagrams starts with the first flow and ends with the scope. */
export const makeFlows = (
  datagrams: Datagrams,
  who: Effect.Effect<Principal | undefined>
): Effect.Effect<Flows, never, ForwardPolicy | Scope.Scope> =>
  Effect.gen(function* () {
    const policy = yield* ForwardPolicy
    const scope = yield* Effect.scope
    const clock = yield* Clock.Clock
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const flows = new Map<number, Flow>()
    let nextFlow = 1
    let pending = 0
    let isReading = false

    const judged = (flow: Flow, key: string, asked: SocketAddress, payload: Uint8Array) =>
      Effect.gen(function* () {
        const [address] = yield* policy.connect(yield* who, asked)
        if (address === undefined) return
        flow.remember(key, { address, until: clock.currentTimeMillisUnsafe() + VERDICT_MILLIS })
        flow.send(address, payload)
      }).pipe(
        Effect.ignore,
        Effect.ensuring(
          Effect.sync(() => {
            pending--
          })
        )
      )

    const received = (bytes: Uint8Array): void => {
      const datagram = decodeFlowDatagram(bytes)
      const flow = datagram === undefined ? undefined : flows.get(datagram.flow)
      if (datagram === undefined || flow === undefined) return
      const { address: asked, payload } = datagram
      const key = `${asked.host} ${asked.port}`
      const known = flow.destination(key)
      if (known !== undefined && known.until > clock.currentTimeMillisUnsafe()) {
        flow.send(known.address, payload)
      } else if (pending < FLOW_PENDING_MAX) {
        pending++
        // The bytes are a view into what the transport holds.
        run(Effect.forkIn(judged(flow, key, asked, payload.slice()), scope, { startImmediately: true }))
      }
    }

    const reading = datagrams.receive.pipe(
      Effect.map(received),
      Effect.forever({ disableYield: true }),
      Effect.ignore,
      Effect.forkIn(scope)
    )

    const open = Effect.gen(function* () {
      if (flows.size >= FLOWS_MAX) return undefined
      const number = nextFlow++
      yield* Effect.acquireRelease(
        Effect.sync(() => {
          const back = (address: SocketAddress, payload: Uint8Array) =>
            void run(Effect.ignore(datagrams.send(encodeFlowDatagram({ flow: number, address, payload }))))
          flows.set(number, new Flow(back))
        }),
        () =>
          Effect.sync(() => {
            flows.get(number)?.close()
            flows.delete(number)
          })
      )
      if (!isReading) {
        isReading = true
        yield* reading
      }
      return number
    })
    return { open }
  })

/** One UDP socket for each family, made when it is needed. */
class Flow {
  readonly #back: (address: SocketAddress, payload: Uint8Array) => void
  readonly #destinations = new Map<string, Destination>()
  readonly #sources = new Map<string, number>()
  readonly #sockets = new Map<number, Socket>()
  #isClosed = false

  constructor(back: (address: SocketAddress, payload: Uint8Array) => void) {
    this.#back = back
  }

  destination(key: string): Destination | undefined {
    return this.#destinations.get(key)
  }

  remember(key: string, destination: Destination): void {
    this.#forget(key)
    const oldest = this.#destinations.keys().next().value
    if (this.#destinations.size >= FLOW_DESTINATIONS_MAX && oldest !== undefined) this.#forget(oldest)
    this.#destinations.set(key, destination)
    const source = sourceOf(destination.address)
    this.#sources.set(source, (this.#sources.get(source) ?? 0) + 1)
  }

  /** Several names may lead to one address. */
  #forget(key: string): void {
    const destination = this.#destinations.get(key)
    if (destination === undefined) return
    this.#destinations.delete(key)
    const source = sourceOf(destination.address)
    const others = (this.#sources.get(source) ?? 1) - 1
    if (others === 0) this.#sources.delete(source)
    else this.#sources.set(source, others)
  }

  send({ host, port }: SocketAddress, payload: Uint8Array): void {
    // What does not leave is lost, as datagrams are.
    if (!this.#isClosed) this.#socket(host.includes(":") ? 6 : 4).send(payload, port, host, () => {})
  }

  #socket(family: 4 | 6): Socket {
    const known = this.#sockets.get(family)
    if (known !== undefined) return known
    const socket = createSocket({
      type: family === 4 ? "udp4" : "udp6",
      // Only addresses come here: nothing is looked up.
      lookup: (host, _options, done) => done(null, host, family)
    })
    socket.on("error", () => {})
    socket.on("message", (payload, from) => {
      const source = { host: from.address, port: from.port }
      if (this.#sources.has(sourceOf(source))) this.#back(source, payload)
    })
    this.#sockets.set(family, socket)
    return socket
  }

  close(): void {
    this.#isClosed = true
    for (const socket of this.#sockets.values()) socket.close()
  }
}

/** One text for all spellings of an address. */
const sourceOf = ({ host, port }: SocketAddress): string => `${(addressBytes(host) ?? []).join(".")} ${port}`
