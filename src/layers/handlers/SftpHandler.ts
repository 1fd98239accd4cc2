/**
 * ALPN `alknet/sftp`: SFTP version 3 on each stream of the connection, one session a stream (ssh.md section 3).
 *
 * A client opens a stream and speaks SFTP on it at once; on a single-stream carrier there is one session. A peer needs
 * `sftp:read` for everything and `sftp:write` for each change, which is looked up when the change is asked for. Bytes that
 * are no SFTP end their stream with code 0x06; 16 sessions run at once on a connection, the next stream waits. Close
 * codes: 0x00 in order, 0x04 when draining.
 */
import { Effect, Layer, Option, Semaphore } from "effect"
import { Alpn } from "../../protocol/Alpn.ts"
import { CloseCode } from "../../protocol/CloseCode.ts"
import { scopesMatch } from "../../protocol/identity/Scope.ts"
import { FileTree } from "../../services/FileTree.ts"
import { type AuthContext, Identity } from "../../services/Identity.ts"
import { type AlpnTaken, Router } from "../../services/Router.ts"
import type { BiStream, Connection } from "../../services/Transport.ts"
import { writableWhile } from "../files/ReadOnlyTree.ts"
import { serveSftp } from "../sftp/Server.ts"

export const SFTP_ALPN = Alpn.make("alknet/sftp")

/** What a peer needs to see the tree, and to change it. */
export const READ_SCOPE = "sftp:read"
export const WRITE_SCOPE = "sftp:write"

/** Sessions of one connection. Each holds at most 8 MiB and 256 open files. */
const SESSIONS_MAX = 16

/** Serves the tree of the environment. */
export const layer: Layer.Layer<never, AlpnTaken, Router | Identity | FileTree> = Layer.effectDiscard(
  Effect.gen(function* () {
    const identity = yield* Identity
    const router = yield* Router
    const tree = yield* FileTree

    const mayWrite = (auth: AuthContext) =>
      identity.resolveRequest(auth).pipe(
        Effect.map((principal) => Option.exists(principal, ({ scopes }) => scopesMatch(scopes, WRITE_SCOPE))),
        Effect.catchTag("TokenRejected", () => Effect.succeed(false))
      )

    const serve = (stream: BiStream, auth: AuthContext) =>
      Effect.scoped(serveSftp(stream, writableWhile(tree, mayWrite(auth)))).pipe(
        Effect.catchTag("SftpError", (error) =>
          Effect.andThen(
            Effect.logDebug("a session that is no SFTP", error),
            Effect.andThen(stream.reset(CloseCode.ProtocolError), stream.stop(CloseCode.ProtocolError))
          )
        ),
        // The client is gone: so is its session.
        Effect.catchTag(["StreamReset", "ConnectionClosed"], () => Effect.void)
      )

    const accept = (connection: Connection, auth: AuthContext, draining: Effect.Effect<void>) =>
      Effect.gen(function* () {
        const permits = yield* Semaphore.make(SESSIONS_MAX)
        const session = Effect.gen(function* () {
          const stream = yield* connection.accept
          yield* permits.take(1)
          yield* Effect.forkScoped(Effect.ensuring(serve(stream, auth), permits.release(1)))
        })
        const sessions = Effect.forever(session, { disableYield: true }).pipe(
          Effect.catchTag("ConnectionClosed", () => Effect.void)
        )
        const idle = permits.take(SESSIONS_MAX)
        const only = Effect.andThen(session, idle)
        yield* Effect.raceFirst(connection.multiStream ? sessions : only, Effect.andThen(draining, idle))
      })

    yield* router.register({
      alpn: SFTP_ALPN,
      access: { scope: READ_SCOPE },
      description: tree.isReadOnly ? "files, read-only" : "files",
      accept
    })
  })
)
