/**
 * What a hostile network does to a port. Everything is made from a seed, so that a run that fails can be run again.
 * Attackers come from addresses of their own (127.0.0.2 and on), as on a network where others come from elsewhere.
 */
import { createSocket } from "node:dgram"
import { connect, type Socket } from "node:net"
import { Effect, Scope } from "effect"
import type { SocketAddress } from "../../src/protocol/SocketAddress.ts"
import { join, uint } from "../impersonation/Bytes.ts"
import { firstDatagram } from "../impersonation/Probe.ts"

/** A small seeded generator (mulberry32): bytes and numbers. */
export class Dice {
  #state: number

  constructor(seed: number) {
    this.#state = seed >>> 0
  }
  /** 0 to below `limit`. */
  below(limit: number): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((((mixed ^ (mixed >>> 14)) >>> 0) / 0x100000000) * limit) | 0
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256))
  }
}

/** Datagrams that the receiver has time to read: the kernel would drop the rest, and the test would test nothing. */
const DATAGRAMS_PER_TURN = 20

/** Sends the datagrams from the address, some at each turn of the loop. */
export const sendDatagrams = (
  from: string,
  to: SocketAddress,
  count: number,
  datagram: (index: number) => Uint8Array,
  onAnswer: (datagram: Uint8Array) => void = () => undefined
): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const socket = createSocket("udp4")
    let sent = 0
    let timer: NodeJS.Immediate | undefined
    const turn = () => {
      for (let left = DATAGRAMS_PER_TURN; left > 0 && sent < count; left--) {
        socket.send(datagram(sent++), to.port, to.host, () => undefined)
      }
      if (sent < count) timer = setImmediate(turn)
      else socket.close(() => resume(Effect.void))
    }
    socket.on("error", () => undefined)
    socket.on("message", onAnswer)
    socket.bind(0, from, turn)
    return Effect.sync(() => {
      clearImmediate(timer)
      socket.close()
    })
  })

/** Noise: any length, half of it with the looks of a QUIC packet. */
export const randomDatagram = (dice: Dice): Uint8Array => {
  const bytes = dice.bytes(dice.below(4) === 0 ? 1200 + dice.below(200) : dice.below(1400))
  const kind = dice.below(4)
  if (kind === 0 && bytes.length > 5) bytes.set([0xc0 | dice.below(64), 0, 0, 0, 1])
  if (kind === 1 && bytes.length > 5) bytes.set([0x80 | dice.below(128), 0, 0, 0, dice.below(256)])
  return bytes
}

/** A first datagram that any server takes for the start of a handshake: ids of its own, a whole ClientHello. */
export const validInitial = (dice: Dice, serverName: string, alpn: string): Uint8Array =>
  firstDatagram({ serverName, alpn: [alpn], source: dice.bytes(8), destination: dice.bytes(8) })

/** The same with some bytes changed, cut off or added. */
export const mutate = (dice: Dice, datagram: Uint8Array): Uint8Array => {
  const kind = dice.below(4)
  if (kind === 0) return datagram.subarray(0, dice.below(datagram.length))
  if (kind === 1) return join(datagram, dice.bytes(dice.below(200)))
  const changed = Uint8Array.from(datagram)
  for (let left = 1 + dice.below(4); left > 0; left--)
    changed[dice.below(kind === 2 ? 40 : changed.length)] = dice.below(256)
  return changed
}

/** A UDP relay in front of a node. It forwards everything both ways; what else it does is the listener's choice. */
export interface Relay {
  readonly address: SocketAddress
  /** Set to see each datagram of the client, and to send others to the node as if they came from the client. */
  onClientDatagram: (datagram: Uint8Array, inject: (datagram: Uint8Array) => void) => void
}

/** Sits on the path between one client and the node, as a hostile network does. */
export const relayTo = (node: SocketAddress): Effect.Effect<Relay, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const front = createSocket("udp4")
    const back = createSocket("udp4")
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => {
        front.close()
        back.close()
      })
    )
    yield* Effect.forEach([front, back], (socket) =>
      Effect.callback<void>((resume) => {
        socket.bind(0, "127.0.0.1", () => resume(Effect.void))
      })
    )
    let client: { readonly address: string; readonly port: number } | undefined
    const inject = (datagram: Uint8Array) => back.send(datagram, node.port, node.host, () => undefined)
    const relay: Relay = {
      address: { host: "127.0.0.1", port: front.address().port },
      onClientDatagram: () => undefined
    }
    front.on("message", (datagram, from) => {
      client = from
      relay.onClientDatagram(datagram, inject)
      inject(datagram)
    })
    back.on("message", (datagram) => {
      if (client !== undefined) front.send(datagram, client.port, client.address, () => undefined)
    })
    return relay
  })

/** Opens a TCP connection from the address, sends the bytes, and keeps it until the server or the scope closes it. */
export const hold = (
  from: string,
  to: SocketAddress,
  bytes: Uint8Array
): Effect.Effect<{ readonly socket: Socket; readonly closed: Effect.Effect<void> }, never, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const socket = connect({ host: to.host, port: to.port, localAddress: from })
    const closed = new Promise<void>((resolve) => {
      socket.on("close", () => resolve())
    })
    socket.on("error", () => undefined)
    // What the server says is of no interest, but the end of it is seen only by who reads.
    socket.resume()
    if (bytes.length > 0) socket.write(bytes)
    yield* Scope.addFinalizer(
      scope,
      Effect.sync(() => socket.destroy())
    )
    return { socket, closed: Effect.promise(() => closed) }
  })

/** What comes to an open TCP port, TLS or not. All of it is wrong, and complete: the server can see it at once. */
export const garbage = (dice: Dice): ReadonlyArray<readonly [name: string, bytes: Uint8Array]> => [
  ["an HTTP request", Buffer.from("GET / HTTP/1.1\r\nHost: node.example\r\n\r\n")],
  ["an SSH banner", Buffer.from("SSH-2.0-OpenSSH_9.2\r\n")],
  ["noise", join([0x80], dice.bytes(4000))],
  ["zeros", new Uint8Array(4000)],
  ["an application record first", join([23, 3, 3], uint(2, 100), dice.bytes(100))],
  ["a record longer than TLS allows", join([22, 3, 3], uint(2, 0xffff), dice.bytes(70_000))],
  ["a record of an unknown type", join([99, 3, 3], uint(2, 10), dice.bytes(10))],
  ["a ClientHello of noise", join([22, 3, 1], uint(2, 204), [1, 0, 0, 200], dice.bytes(200))],
  ["a ClientHello that lies about its length", join([22, 3, 1], uint(2, 8), [1, 0xff, 0xff, 0xff], dice.bytes(4))],
  ["an alert", Uint8Array.of(21, 3, 3, 0, 2, 2, 40)]
]

/** Resident bytes after a full collection. */
export const residentBytes = (): number => {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().rss
}

/** Bytes that this program's own objects and buffers take after a full collection: without what the allocator keeps. */
export const heldBytes = (): number => {
  globalThis.gc?.()
  globalThis.gc?.()
  const { external, heapUsed } = process.memoryUsage()
  return heapUsed + external
}
