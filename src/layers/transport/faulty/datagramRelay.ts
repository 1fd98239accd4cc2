/**
 * A bad network path for UDP: a relay in this process that a QUIC dial goes through instead of straight to its target.
 * Datagrams in both directions are lost, doubled, delayed, overtaken and corrupted by the dice of the seed.
 *
 * Bounds: 256 clients (each with a socket of its own), 4,096 datagrams under way; what is beyond is lost.
 */
import { createSocket, type RemoteInfo, type Socket } from "node:dgram"
import { isIPv6 } from "node:net"
import { Effect, type Scope } from "effect"
import { formatSocketAddress, type SocketAddress } from "../../../protocol/SocketAddress.ts"
import { TransportError } from "../../../services/Transport.ts"
import { Dice, type Faults } from "./Faults.ts"

export const CLIENTS_MAX = 256
export const UNDER_WAY_MAX = 4_096

/** How much later an overtaken datagram comes, in milliseconds. */
const OVERTAKEN_MILLIS = 5

export interface DatagramRelay {
  /** Dial here instead of the target. */
  readonly address: SocketAddress
  /** Nothing crosses any more, in either direction, until it is switched off again. */
  readonly block: (blocked: boolean) => Effect.Effect<void>
  readonly counts: Effect.Effect<{ readonly crossed: number; readonly lost: number }>
}

/** A relay in front of `target`, until the scope closes. */
export const datagramRelay = (
  target: SocketAddress,
  options: { readonly seed: number; readonly faults: Faults }
): Effect.Effect<DatagramRelay, TransportError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Relay, TransportError>((resume) => {
      const relay = new Relay(target, options.seed, options.faults)
      relay.front.once("error", (error: NodeJS.ErrnoException) => {
        const hint = error.code ?? "the relay cannot be bound"
        resume(new TransportError({ reason: "Io", address: formatSocketAddress(target), hint }))
      })
      relay.front.bind({ address: isIPv6(target.host) ? "::1" : "127.0.0.1", port: 0 }, () =>
        resume(Effect.succeed(relay))
      )
    }),
    (relay) => Effect.sync(() => relay.close())
  ).pipe(
    Effect.map((relay) => ({
      address: { host: relay.front.address().address, port: relay.front.address().port },
      block: (blocked) =>
        Effect.sync(() => {
          relay.blocked = blocked
        }),
      counts: Effect.sync(() => ({ crossed: relay.crossed, lost: relay.lost }))
    }))
  )

class Relay {
  readonly front: Socket
  blocked = false
  crossed = 0
  lost = 0
  readonly #target: SocketAddress
  readonly #faults: Faults
  readonly #seed: number
  readonly #clients = new Map<string, { readonly back: Socket; readonly there: Dice; readonly here: Dice }>()
  readonly #timers = new Set<NodeJS.Timeout>()

  constructor(target: SocketAddress, seed: number, faults: Faults) {
    this.#target = target
    this.#seed = seed
    this.#faults = faults
    this.front = createSocket(isIPv6(target.host) ? "udp6" : "udp4")
    this.front.on("error", ignore)
    this.front.on("message", (datagram, from) => this.#onClient(datagram, from))
  }

  close(): void {
    for (const timer of this.#timers) clearTimeout(timer)
    this.#timers.clear()
    for (const { back } of this.#clients.values()) back.close()
    this.#clients.clear()
    this.front.close()
  }

  #onClient(datagram: Buffer, from: RemoteInfo): void {
    const key = `${from.address} ${from.port}`
    const client = this.#clients.get(key) ?? this.#addClient(key, from)
    if (client === undefined) return
    this.#cross(datagram, client.there, (bytes) =>
      client.back.send(bytes, this.#target.port, this.#target.host, ignore)
    )
  }

  #addClient(key: string, from: RemoteInfo) {
    if (this.#clients.size >= CLIENTS_MAX) return undefined
    const back = createSocket(isIPv6(this.#target.host) ? "udp6" : "udp4")
    const lane = this.#clients.size * 2
    const client = { back, there: new Dice(this.#seed, lane), here: new Dice(this.#seed, lane + 1) }
    this.#clients.set(key, client)
    back.on("error", ignore)
    back.on("message", (datagram) =>
      this.#cross(datagram, client.here, (bytes) => this.front.send(bytes, from.port, from.address, ignore))
    )
    return client
  }

  #cross(datagram: Buffer, dice: Dice, send: (bytes: Uint8Array) => void): void {
    const lost = dice.happens(this.#faults.loss)
    const twice = dice.happens(this.#faults.duplicate)
    const overtaken = dice.happens(this.#faults.reorder)
    const delay = dice.delayMillis(this.#faults) + (overtaken ? OVERTAKEN_MILLIS : 0)
    const bytes = dice.maybeCorrupt(datagram, this.#faults)
    if (lost || this.blocked || this.#timers.size >= UNDER_WAY_MAX) {
      this.lost++
      return
    }
    this.crossed++
    const arrive = () => {
      send(bytes)
      if (twice) send(bytes)
    }
    if (delay === 0) {
      arrive()
      return
    }
    const timer = setTimeout(() => {
      this.#timers.delete(timer)
      arrive()
    }, delay)
    this.#timers.add(timer)
  }
}

const ignore = () => {}
