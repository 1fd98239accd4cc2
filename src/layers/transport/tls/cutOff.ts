/**
 * Cuts a TLS connection off: a TCP reset, so that the other side learns it at once.
 *
 * Never at once: closing the TCP socket below a TLS one from inside a callback of the TLS stack (the end of a handshake,
 * arriving data) crashes the process, and a peer decides when those callbacks run. So it is done when the stack is left.
 */
import type { Socket } from "node:net"
import type { TLSSocket } from "node:tls"

export const cutOff = (raw: Socket, tls?: TLSSocket): void => {
  setImmediate(() => {
    // The TLS socket goes with the one below it.
    if (raw.destroyed) tls?.destroy()
    // A reset would wait until TCP is connected.
    else if (raw.connecting) raw.destroy()
    else raw.resetAndDestroy()
  })
}
