/** UDP sockets as the worker thread has them: the real ones are held by the main thread (see `Wire.ts`). */
import type { SocketAddress } from "../../../../protocol/SocketAddress.ts"
import type { OnDatagram, OpenUdpSocket, UdpSocket } from "../UdpSocket.ts"
import type { BatchWriter } from "./Batch.ts"
import type { ToMain } from "./Wire.ts"

interface Opening {
  readonly onDatagram: OnDatagram
  readonly done: (socket: UdpSocket | undefined, failedCode: string) => void
}

export class RelayedSockets {
  readonly #batch: BatchWriter
  readonly #mayPass: (bytes: number) => boolean
  readonly #tell: (message: ToMain) => void
  readonly #sockets = new Map<number, Opening>()
  #last = 0

  constructor(batch: BatchWriter, mayPass: (bytes: number) => boolean, tell: (message: ToMain) => void) {
    this.#batch = batch
    this.#mayPass = mayPass
    this.#tell = tell
  }

  /** How sockets of a listener are opened, or those to dial from. */
  open(listener: number | undefined): OpenUdpSocket {
    return (address, onDatagram, done) => {
      const socket = ++this.#last
      this.#sockets.set(socket, { onDatagram, done })
      this.#tell({ type: "bind", socket, address, listener })
    }
  }

  bound(socket: number, local: SocketAddress): void {
    this.#sockets.get(socket)?.done(
      {
        local,
        send: (bytes, offset, length, port, host) => {
          // The main thread is busy: lost, as in a full socket buffer.
          if (!this.#mayPass(length)) return
          this.#batch.addUdp(socket, port, host, bytes.subarray(offset, offset + length))
        },
        close: (done) => {
          this.#sockets.delete(socket)
          this.#tell({ type: "unbind", socket })
          done()
        },
        // What keeps the process alive is the main thread's business.
        hold: () => {}
      },
      ""
    )
  }

  notBound(socket: number, code: string): void {
    const opening = this.#sockets.get(socket)
    this.#sockets.delete(socket)
    opening?.done(undefined, code)
  }

  receive(socket: number, datagram: Buffer, host: string, port: number): void {
    this.#sockets.get(socket)?.onDatagram(datagram, { address: host, port })
  }
}
