/**
 * One stream of `alknet/ssh` to a peer, and its failures in the user's words.
 */
import { Duration, Effect, Option } from "effect"
import type { SshClientError } from "../layers/ssh/SshClient.ts"
import { Alpn } from "../protocol/Alpn.ts"
import { Endpoint } from "../services/Endpoint.ts"
import type { Connection } from "../services/Transport.ts"
import { explainClose, explainDial } from "./Explain.ts"
import { denied, type Failure, failed } from "./Failure.ts"
import type { NamedTarget } from "./Peer.ts"

const SSH_ALPN = Alpn.make("alknet/ssh")

/** What speaks SSH, loaded only where it is needed: it would double the start of every command. */
export const loadSsh = Effect.promise(() =>
  Promise.all([import("../layers/ssh/SshClient.ts"), import("./RemoteProgram.ts")])
).pipe(Effect.map(([{ connectSsh, hostKeyOf }, { runRemote }]) => ({ connectSsh, hostKeyOf, runRemote })))

/** How long the reason of a close may take to arrive after SSH has ended. */
const REASON_WITHIN = Duration.millis(500)

/** Dials; the connection ends with the scope. */
export const streamForSsh = Effect.fnUntraced(function* (target: NamedTarget) {
  const endpoint = yield* Endpoint
  const connection = yield* Effect.mapError(endpoint.connect(target, SSH_ALPN), (error) =>
    explainDial(error, target.name)
  )
  const stream = yield* Effect.mapError(connection.open, (error) =>
    error._tag === "ConnectionClosed"
      ? explainClose(target.name, error)
      : denied("STREAM_LIMIT", `${target.name} lets no stream through`)
  )
  return { connection, stream }
})

/** What an error of SSH over this connection means. */
export const explainSsh = (
  { reason }: SshClientError,
  { name }: NamedTarget,
  connection: Connection
): Effect.Effect<Failure> => {
  switch (reason) {
    case "Denied":
      return Effect.succeed(
        denied("DENIED", `${name} lets this node do nothing over SSH`, "it needs a scope there, such as ssh:shell")
      )
    case "Refused":
      return Effect.succeed(
        denied("DENIED", `${name} does not let this node do that`, "it needs ssh:shell or ssh:exec:PROGRAM there")
      )
    case "Lost":
      return Effect.map(Effect.timeoutOption(connection.closed, REASON_WITHIN), (closed) =>
        Option.isSome(closed)
          ? explainClose(name, closed.value)
          : failed("SSH_LOST", `${name} ended the SSH connection`, "its log may say more")
      )
  }
}
