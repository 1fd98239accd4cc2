/**
 * Dials the WebSocket of a node: `wss://HOST:PORT/alknet/call` (call.md section 16.2). What it gives is a carrier for
 * `CallClient.attach`.
 *
 * The node is proven by its web certificate alone, as any web server is: there is no key of a peer, and calls that come
 * back over the connection are anonymous unless `identity` says who stands there. A dial that must reach one node and no
 * other goes by key, through `CallClient.connect`.
 */
import type { SecureContextOptions } from "node:tls"
import { Effect, Redacted, type Scope } from "effect"
import { CALL_SUBPROTOCOL } from "../../protocol/call/Upgrade.ts"
import { CallLimits } from "../../services/CallLimits.ts"
import type { MessageCarrier } from "../../services/Dispatcher.ts"
import type { Principal } from "../../services/Identity.ts"
import { DialError } from "../../services/Transport.ts"
import { CallSocket, socketOptions, WebSocketCarrier } from "./WebSocketCarrier.ts"

export interface Options {
  /** Shown in the `Authorization` header: the identity of the connection at the other side. */
  readonly authToken?: Redacted.Redacted<string>
  /** Who the other node is, for what it calls here. Default: nobody known. */
  readonly identity?: Effect.Effect<Principal | undefined>
  /** Certificates to trust instead of the system's. */
  readonly ca?: SecureContextOptions["ca"]
}

/** How long a handshake may take. */
const HANDSHAKE_MILLIS = 10_000

let connections = 0

/** Opens a WebSocket, which closes with the scope. */
export const dial = (url: string, options: Options = {}): Effect.Effect<MessageCarrier, DialError, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.suspend(() => connect(url, options)),
    (carrier) => carrier.close(1000, "")
  ).pipe(
    Effect.tap((carrier) =>
      Effect.flatMap(CallLimits, ({ frameStall }) => Effect.forkScoped(carrier.endStalled(frameStall)))
    )
  )

const connect = (text: string, options: Options): Effect.Effect<WebSocketCarrier, DialError> => {
  const url = URL.canParse(text) ? new URL(text) : undefined
  if (url === undefined || !/^wss?:$/.test(url.protocol)) {
    return new DialError({ reason: { _tag: "Unsupported" }, target: text, hint: "not a ws: or wss: URL" })
  }
  const target = url.host
  return Effect.callback((resume) => {
    const { authToken, ca, identity } = options
    const socket = new CallSocket(url, [CALL_SUBPROTOCOL], {
      ...socketOptions,
      handshakeTimeout: HANDSHAKE_MILLIS,
      ...(ca === undefined ? {} : { ca }),
      ...(authToken === undefined ? {} : { headers: { authorization: `Bearer ${Redacted.value(authToken)}` } })
    })
    const refused = (status: number) =>
      new DialError({
        reason: { _tag: "Refused", code: status },
        target,
        hint: status === 401 ? "it wants a token that it knows" : `it answered with HTTP status ${status}`
      })
    const failed = (error: Error) => resume(Effect.fail(dialErrorOf(error, target)))
    socket.once("unexpected-response", (_request, response) => {
      resume(Effect.fail(refused(response.statusCode ?? 0)))
      response.destroy()
    })
    socket.on("error", failed)
    socket.once("upgrade", ({ socket: below }) => {
      socket.once("open", () => {
        const info = {
          id: `websocket-${++connections}`,
          side: "dialed",
          carrier: "websocket",
          remoteAddress: { host: url.hostname.replace(/^\[|\]$/g, ""), port: portOf(url) }
        } as const
        const carrier = new WebSocketCarrier({ socket, below, info, identity: identity ?? Effect.succeed(undefined) })
        socket.off("error", failed)
        resume(Effect.succeed(carrier))
      })
    })
    return Effect.sync(() => socket.terminate())
  })
}

const portOf = ({ port, protocol }: URL): number => (port === "" ? (protocol === "wss:" ? 443 : 80) : Number(port))

const dialErrorOf = (error: Error, target: string): DialError => {
  const code = "code" in error ? String(error.code) : "ERROR"
  if (error.message.includes("timed out")) {
    return new DialError({ reason: { _tag: "TimedOut" }, target, hint: "no answer in time" })
  }
  return new DialError({ reason: { _tag: "Unreachable", code }, target, hint: code })
}
