/**
 * The UDP sockets that the main thread holds for the worker, by the numbers that the worker gave them.
 *
 * What is on its way to the worker is bounded; beyond, datagrams are dropped as a full socket would.
 */
import type { SocketAddress } from "../../../../protocol/SocketAddress.ts"
import { openUdpSocket, type UdpSocket } from "../UdpSocket.ts"
import { type BatchWriter, Kind } from "./Batch.ts"
import { CREDIT_PORTION_BYTES, DATAGRAM_CREDIT_BYTES } from "./Wire.ts"

interface Held {
  readonly socket: UdpSocket
  /** A socket to dial from ends with the thread, that of a listener with the listener. */
  readonly isForDials: boolean
}

export class HeldSockets {
  readonly #batch: () => BatchWriter
  readonly #sockets = new Map<number, Held>()
  #inFlight = 0
  #taken = 0
  /** Counts threads: what was begun for one does not reach the next. */
  #life = 0

  constructor(batch: () => BatchWriter) {
    this.#batch = batch
  }

  /** Whether that many bytes of datagrams may go to the thread now; counts them if so. */
  readonly mayPass = (bytes: number): boolean => {
    if (this.#inFlight + bytes > DATAGRAM_CREDIT_BYTES) return false
    this.#inFlight += bytes
    return true
  }

  /** Binds a socket to dial from. `done` gets the address, or the error code of the system. */
  bindForDials(number: number, address: SocketAddress, done: (local?: SocketAddress, code?: string) => void): void {
    const life = this.#life
    openUdpSocket(
      address,
      (datagram, { address, port }) => {
        if (life === this.#life) this.arrived(number, address, port, datagram)
      },
      (socket, code) => {
        if (life !== this.#life) {
          socket?.close(() => {})
          return
        }
        if (socket === undefined) {
          done(undefined, code)
          return
        }
        // The thread keeps the process alive while it has connections.
        socket.hold(false)
        this.#sockets.set(number, { socket, isForDials: true })
        done(socket.local)
      }
    )
  }

  /** The thread may send from the socket of a listener. */
  lend(number: number, socket: UdpSocket): void {
    this.#sockets.set(number, { socket, isForDials: false })
  }

  unbind(number: number): void {
    const held = this.#sockets.get(number)
    this.#sockets.delete(number)
    if (held?.isForDials === true) held.socket.close(() => {})
  }

  /** The thread is gone. */
  clear(): void {
    for (const number of [...this.#sockets.keys()]) this.unbind(number)
    this.#life++
    this.#inFlight = 0
    this.#taken = 0
  }

  /** A datagram for the thread. */
  arrived(number: number, host: string, port: number, datagram: Uint8Array): void {
    if (this.mayPass(datagram.length)) this.#batch().addUdp(number, port, host, datagram)
  }

  /** A datagram of the thread. */
  send(number: number, port: number, host: string, datagram: Uint8Array): void {
    this.#taken += datagram.length
    this.#sockets.get(number)?.socket.send(datagram, 0, datagram.length, port, host)
  }

  /** The thread took that many bytes. */
  acknowledged(bytes: number): void {
    this.#inFlight -= bytes
  }

  /** Tells the thread what was taken: sent here, and `received` bytes of messages. */
  acknowledge(received: number): void {
    this.#taken += received
    if (this.#taken < CREDIT_PORTION_BYTES) return
    this.#batch().add(Kind.Acknowledge, 0, 0, this.#taken)
    this.#taken = 0
  }
}
