/**
 * Hands the QUIC datagrams of one dialed `alknet/tunnel` connection to its flows. It starts to read with the first flow;
 * datagrams of unknown flows are dropped.
 */
import { Effect, Option, type Scope } from "effect"
import { decodeFlowDatagram } from "../../protocol/tunnel/Tunnel.ts"
import type { Connection } from "../../services/Transport.ts"
import type { OnDatagram } from "./TunnelClient.ts"

export class FlowReader {
  readonly #connection: Connection
  /** Of the connection. */
  readonly #scope: Scope.Scope
  readonly #flows = new Map<number, OnDatagram>()
  #isReading = false

  constructor(connection: Connection, scope: Scope.Scope) {
    this.#connection = connection
    this.#scope = scope
  }

  /** Until the scope closes. */
  register(flow: number, onDatagram: OnDatagram): Effect.Effect<void, never, Scope.Scope> {
    return Effect.andThen(
      Effect.acquireRelease(
        Effect.sync(() => this.#flows.set(flow, onDatagram)),
        () => Effect.sync(() => this.#flows.delete(flow))
      ),
      Effect.suspend(() => this.#start())
    )
  }

  #start(): Effect.Effect<void> {
    const datagrams = Option.getOrUndefined(this.#connection.datagrams)
    if (this.#isReading || datagrams === undefined) return Effect.void
    this.#isReading = true
    const received = (bytes: Uint8Array) => {
      const datagram = decodeFlowDatagram(bytes)
      if (datagram !== undefined) this.#flows.get(datagram.flow)?.(datagram.address, datagram.payload)
    }
    return datagrams.receive.pipe(
      Effect.map(received),
      Effect.forever({ disableYield: true }),
      Effect.ignore,
      Effect.forkIn(this.#scope),
      Effect.asVoid
    )
  }
}
