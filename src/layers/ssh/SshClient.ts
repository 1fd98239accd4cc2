/**
 * The client side of SSH over a stream that belongs to a proven peer: logged in by the connection, without a key of SSH.
 *
 * The host key is not compared with anything: whoever answers on this stream has already proven the node's key, which says
 * more than SSH's key does. For clients that see only SSH, `hostKeyOf` learns the key that they are to pin.
 */
import type { Duplex } from "node:stream"
import { Effect, Schema, type Scope } from "effect"
import ssh2, { type Client } from "ssh2"
import type { BiStream } from "../../services/Transport.ts"
import { ALGORITHMS } from "../handlers/ssh/Algorithms.ts"
import { toDuplex } from "../transport/adapters/duplex.ts"

/** How long the other side may take to shake hands. */
const READY_MILLIS = 30_000
const KEEPALIVE_MILLIS = 30_000
/** Unanswered ones after which the other side is gone. */
const KEEPALIVE_COUNT = 3

export class SshClientError extends Schema.TaggedError<SshClientError>()("SshClientError", {
  /** `Denied`: known here, but without rights; `Refused`: one request was refused; `Lost`: no SSH there, or no more. */
  reason: Schema.Literals(["Denied", "Refused", "Lost"])
}) {
  override get message() {
    return { Denied: "the login was refused", Refused: "the request was refused", Lost: "the SSH connection ended" }[
      this.reason
    ]
  }
}

interface Opening {
  readonly user: string
  readonly onHostKey?: (key: Buffer) => void
}

/** Starts to speak; `settle` is told of the first thing that happens. */
const begin = (duplex: Duplex, { onHostKey, user }: Opening, settle: (error?: SshClientError) => void): Client => {
  const client = new ssh2.Client()
  client.once("ready", () => settle())
  // ssh2 tells errors of a connection that has ended too; all after the first change nothing.
  client.on("error", (error) =>
    settle(new SshClientError({ reason: error.level === "client-authentication" ? "Denied" : "Lost" }))
  )
  client.on("close", () => settle(new SshClientError({ reason: "Lost" })))
  client.connect({
    sock: duplex,
    username: user,
    authHandler: ["none"],
    algorithms: ALGORITHMS,
    readyTimeout: READY_MILLIS,
    keepaliveInterval: KEEPALIVE_MILLIS,
    keepaliveCountMax: KEEPALIVE_COUNT,
    hostVerifier: (key: Buffer) => {
      onHostKey?.(key)
      return true
    }
  })
  return client
}

/** Logs in; the connection of SSH ends with the scope. */
export const connectSsh = (stream: BiStream, user: string): Effect.Effect<Client, SshClientError, Scope.Scope> =>
  Effect.flatMap(toDuplex(stream), (duplex) =>
    Effect.acquireRelease(
      Effect.callback<Client, SshClientError>((resume) => {
        const client = begin(duplex, { user }, (error) => {
          resume(error === undefined ? Effect.succeed(client) : Effect.fail(error))
        })
        return Effect.sync(() => client.destroy())
      }),
      (client) => Effect.sync(() => client.end()),
      { interruptible: true }
    )
  )

/** The key that the other side shows to SSH clients, as in a line of known_hosts: `ssh-ed25519 AAAA…`. */
export const hostKeyOf = (stream: BiStream): Effect.Effect<string, SshClientError> =>
  Effect.flatMap(toDuplex(stream), (duplex) =>
    Effect.callback<string, SshClientError>((resume) => {
      let shown: Buffer | undefined
      const onHostKey = (key: Buffer) => {
        shown = key
      }
      // Whoever may not log in learns the key too: the signature over it has been checked by then.
      const client = begin(duplex, { user: "-", onHostKey }, (error) => {
        if (shown !== undefined && error?.reason !== "Lost") {
          resume(Effect.succeed(`ssh-ed25519 ${shown.toString("base64")}`))
        } else resume(Effect.fail(error ?? new SshClientError({ reason: "Lost" })))
        client.end()
      })
      return Effect.sync(() => client.destroy())
    })
  ).pipe(Effect.scoped)
