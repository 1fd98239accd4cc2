/**
 * Connections that arrived at listeners of peers and wait to be taken. A token is good once, for the peer whose listener it
 * was, and for a short time.
 */
import { randomBytes } from "node:crypto"
import type { Socket } from "node:net"
import { Deferred, Duration, Effect } from "effect"
import { TOKEN_BYTES } from "../../../protocol/tunnel/Tunnel.ts"

/** How long an arrival waits for its peer. */
export const COLLECT_WITHIN = Duration.seconds(10)

interface Waiting {
  readonly peerId: string
  readonly socket: Socket
  readonly taken: Deferred.Deferred<void>
  readonly over: Deferred.Deferred<void>
}

export class Collection {
  readonly #waiting = new Map<string, Waiting>()

  /** Announces a socket, and holds it until it was taken and used, or not taken in time. */
  offer<E>(
    peerId: string,
    socket: Socket,
    announce: (token: Uint8Array) => Effect.Effect<void, E>
  ): Effect.Effect<void, E> {
    return Effect.suspend(() => {
      const token = randomBytes(TOKEN_BYTES)
      const key = token.toString("hex")
      const waiting: Waiting = { peerId, socket, taken: Deferred.makeUnsafe(), over: Deferred.makeUnsafe() }
      this.#waiting.set(key, waiting)
      return announce(token).pipe(
        Effect.andThen(Effect.timeoutOption(Deferred.await(waiting.taken), COLLECT_WITHIN)),
        Effect.andThen(Effect.suspend(() => (this.#waiting.has(key) ? Effect.void : Deferred.await(waiting.over)))),
        Effect.ensuring(Effect.sync(() => this.#waiting.delete(key)))
      )
    })
  }

  /** Takes a socket for as long as `use` runs; undefined where the token is not good. */
  take<A, E, R>(
    peerId: string,
    token: Uint8Array,
    use: (socket: Socket) => Effect.Effect<A, E, R>
  ): Effect.Effect<A, E, R> | undefined {
    const key = Buffer.from(token).toString("hex")
    const waiting = this.#waiting.get(key)
    if (waiting === undefined || waiting.peerId !== peerId) return undefined
    this.#waiting.delete(key)
    Deferred.doneUnsafe(waiting.taken, Effect.void)
    return Effect.ensuring(use(waiting.socket), Deferred.succeed(waiting.over, undefined))
  }
}
