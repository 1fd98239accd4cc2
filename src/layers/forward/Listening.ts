/**
 * A TCP or Unix listener of this machine whose connections each run an effect: below forwards, both ways, and the SOCKS5
 * proxy. It asks nobody whether it may.
 */
import { createServer, type ListenOptions, type Server, type Socket } from "node:net"
import { Effect, type Scope } from "effect"
import { formatSocketAddress, type SocketAddress } from "../../protocol/SocketAddress.ts"
import { TransportError } from "../../services/Transport.ts"

/** Connections that one listener has at once; one more is turned away. */
export const ARRIVALS_MAX = 1024

/** Somebody who connected. The socket is paused, and destroyed when its effect ends. */
export interface Arrival {
  readonly socket: Socket
  /** Undefined on a socket path. */
  readonly origin: SocketAddress | undefined
}

/** Runs for each connection; the scope is that of the connection. */
export type OnArrival = (arrival: Arrival) => Effect.Effect<void, never, Scope.Scope>

/** A host that is an address and a port, 0 for any; or a path where nothing is yet. */
export type ListenAt = SocketAddress | { readonly path: string }

/** Listens until the scope closes, its connections then end too. Gives the port; 0 on a path. */
export const listening = (at: ListenAt, onArrival: OnArrival): Effect.Effect<number, TransportError, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const run = Effect.runForkWith(yield* Effect.context<never>())
    const live = new Set<Socket>()
    const arrived = (socket: Socket) => {
      socket.on("error", () => {})
      if (live.size >= ARRIVALS_MAX) return socket.destroy()
      live.add(socket)
      socket.setNoDelay(true)
      const { remoteAddress: host, remotePort: port } = socket
      const origin = host === undefined || port === undefined ? undefined : { host, port }
      const served = Effect.ensuring(
        Effect.scoped(onArrival({ socket, origin })),
        Effect.sync(() => {
          live.delete(socket)
          socket.destroy()
        })
      )
      run(Effect.forkIn(served, scope, { startImmediately: true }))
    }
    const server = yield* Effect.acquireRelease(
      Effect.callback<Server, TransportError>((resume) => {
        const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, arrived)
        server.on("error", (error) => resume(Effect.fail(listenError(at, error))))
        bind(server, at, () => resume(Effect.succeed(server)))
      }),
      (server) =>
        Effect.sync(() => {
          server.close()
          for (const socket of live) socket.destroy()
        })
    )
    const bound = server.address()
    return typeof bound === "object" && bound !== null ? bound.port : 0
  })

/** A socket file gets its mode when it is made: no moment at which others could connect. */
const bind = (server: Server, at: ListenAt, done: () => void): void => {
  const options: ListenOptions = at
  if (!("path" in at)) {
    server.listen(options, done)
    return
  }
  const mask = process.umask(0o177)
  try {
    server.listen(options, done)
  } finally {
    process.umask(mask)
  }
}

const listenError = (at: ListenAt, error: NodeJS.ErrnoException): TransportError => {
  const address = "path" in at ? at.path : formatSocketAddress(at)
  switch (error.code) {
    case "EADDRINUSE":
      return new TransportError({ reason: "AddressInUse", address, hint: "another program listens there" })
    case "EACCES":
    case "EPERM":
      return new TransportError({ reason: "PermissionDenied", address, hint: "take a port from 1024 on" })
    case "EADDRNOTAVAIL":
    case "EAFNOSUPPORT":
    case "EINVAL":
      return new TransportError({ reason: "AddressInvalid", address, hint: "this machine has no such address" })
    default:
      return new TransportError({ reason: "Io", address, hint: error.code ?? "unknown error" })
  }
}
