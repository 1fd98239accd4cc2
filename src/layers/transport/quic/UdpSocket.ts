/**
 * The UDP socket under a driver: a real one here; in a worker thread, one that the main thread holds (`worker/`).
 *
 * Sending never fails: a datagram that could not be sent is a lost datagram.
 */
import { createSocket } from "node:dgram"
import { isIPv6 } from "node:net"
import type { SocketAddress } from "../../../protocol/SocketAddress.ts"

const SOCKET_BUFFER_BYTES = 2 * 1024 * 1024

export interface UdpSocket {
  /** What is bound, with the real port. */
  readonly local: SocketAddress
  /** Sends a part of `bytes`, which may be held for a while. */
  readonly send: (bytes: Uint8Array, offset: number, length: number, port: number, host: string) => void
  readonly close: (done: () => void) => void
  /** Whether the socket keeps the process alive. It does, unless told otherwise. */
  readonly hold: (isHeld: boolean) => void
}

/** A datagram that arrived; the bytes belong to who gets them. */
export type OnDatagram = (datagram: Buffer, remote: { readonly address: string; readonly port: number }) => void

/** Binds a literal address. `done` gets the socket, or the error code of the system. */
export type OpenUdpSocket = (
  address: SocketAddress,
  onDatagram: OnDatagram,
  done: (socket: UdpSocket | undefined, failedCode: string) => void
) => void

export const openUdpSocket: OpenUdpSocket = (address, onDatagram, done) => {
  const family = isIPv6(address.host) ? 6 : 4
  const socket = createSocket({
    type: family === 6 ? "udp6" : "udp4",
    ipv6Only: family === 6,
    recvBufferSize: SOCKET_BUFFER_BYTES,
    sendBufferSize: SOCKET_BUFFER_BYTES,
    // Addresses are literal. Without this each datagram would wait for a look-up and a tick.
    lookup: (host, _options, answer) => answer(null, host, family)
  })
  const failed = (error: NodeJS.ErrnoException) => {
    socket.close()
    done(undefined, error.code ?? "EIO")
  }
  socket.once("error", failed)
  socket.bind(address.port, address.host, () => {
    socket.off("error", failed)
    socket.on("error", () => {})
    const bound = socket.address()
    socket.on("message", onDatagram)
    const opened: UdpSocket = {
      local: { host: bound.address, port: bound.port },
      send: (bytes, offset, length, port, host) => socket.send(bytes, offset, length, port, host),
      close: (closed) => void socket.close(closed),
      hold: (isHeld) => void (isHeld ? socket.ref() : socket.unref())
    }
    done(opened, "")
  })
}
