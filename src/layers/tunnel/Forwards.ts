/**
 * Port forwards through a tunnel, as `ssh -L` and `ssh -R` know them. Both run until the scope closes.
 */
import { connect, type Socket } from "node:net"
import { Deferred, Effect, Schema, type Scope } from "effect"
import type { ForwardDestination } from "../../protocol/forward/ForwardSpec.ts"
import type { SocketAddress } from "../../protocol/SocketAddress.ts"
import type { TransportError } from "../../services/Transport.ts"
import { joinStream } from "../forward/Join.ts"
import { ARRIVALS_MAX, listening } from "../forward/Listening.ts"
import type { Tunnel, TunnelArrival, TunnelError } from "./TunnelClient.ts"

/** What a forward is told when one connection could not be made; it goes on. */
export type OnFailure = (error: TunnelError | DestinationFailed) => Effect.Effect<void>

/** Our own destination of a remote forward did not answer. */
export class DestinationFailed extends Schema.TaggedError<DestinationFailed>()("DestinationFailed", {
  /** Of the system, such as ECONNREFUSED. */
  code: Schema.String
}) {
  override get message() {
    return `the destination did not take the connection (${this.code})`
  }
}

/** Listens here and connects from there. Gives what is bound. */
export const localForward = (
  tunnel: Tunnel,
  listen: SocketAddress,
  destination: ForwardDestination,
  onFailure: OnFailure
): Effect.Effect<SocketAddress, TransportError, Scope.Scope> =>
  Effect.gen(function* () {
    const host = listen.host === "*" ? "0.0.0.0" : listen.host === "localhost" ? "127.0.0.1" : listen.host
    const port = yield* listening({ host, port: listen.port }, ({ socket }) =>
      Effect.flatMap(tunnel.connect(destination), (stream) => joinStream(stream, socket)).pipe(
        Effect.scoped,
        // A connection that fails looks to the program like one that is refused.
        Effect.catch((error) =>
          Effect.andThen(
            Effect.sync(() => socket.resetAndDestroy()),
            onFailure(error)
          )
        )
      )
    )
    return { host, port }
  })

export interface RemoteForward {
  /** What is bound over there. */
  readonly bound: SocketAddress
  /** Completes when the listener over there is gone. */
  readonly ended: Effect.Effect<TunnelError>
}

/** Listens there and connects from here, to a destination of this machine's choice. */
export const remoteForward = (
  tunnel: Tunnel,
  listen: SocketAddress,
  destination: ForwardDestination,
  onFailure: OnFailure
): Effect.Effect<RemoteForward, TunnelError, Scope.Scope> =>
  Effect.gen(function* () {
    const scope = yield* Effect.scope
    const listener = yield* tunnel.listen(listen)
    const ended = yield* Deferred.make<TunnelError>()
    let live = 0
    const serve = (arrival: TunnelArrival) =>
      Effect.gen(function* () {
        const stream = yield* arrival.stream
        yield* joinStream(stream, yield* opened(destination))
      }).pipe(
        Effect.scoped,
        Effect.catch(onFailure),
        Effect.ensuring(
          Effect.sync(() => {
            live--
          })
        )
      )
    yield* listener.arrival.pipe(
      Effect.flatMap((arrival) => {
        // Not taken, it ends over there after a while.
        if (live >= ARRIVALS_MAX) return Effect.void
        live++
        return Effect.asVoid(Effect.forkIn(serve(arrival), scope, { startImmediately: true }))
      }),
      Effect.forever({ disableYield: true }),
      Effect.catch((error) => Deferred.succeed(ended, error)),
      Effect.forkIn(scope)
    )
    return { bound: listener.bound, ended: Deferred.await(ended) }
  })

const opened = (destination: ForwardDestination): Effect.Effect<Socket, DestinationFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Socket, DestinationFailed>((resume) => {
      const where = destination._tag === "Host" ? destination.address : { path: destination.path }
      const socket = connect({ ...where, allowHalfOpen: true })
      socket.on("error", (error: NodeJS.ErrnoException) =>
        resume(Effect.fail(new DestinationFailed({ code: error.code ?? "unknown error" })))
      )
      socket.once("connect", () => {
        socket.setNoDelay(true)
        resume(Effect.succeed(socket))
      })
      return Effect.sync(() => socket.destroy())
    }),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )
