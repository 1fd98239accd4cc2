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
    // While our end is still on its way a reset is refused by the system and would leave the socket open for ever.
    const ending = tls?.writableEnded === true && !tls.writableFinished
    // A reset of a socket that connects would wait for the connection. The TLS socket goes with the one below it.
    if (raw.destroyed || raw.connecting || ending) (tls ?? raw).destroy()
    else raw.resetAndDestroy()
  })
}
