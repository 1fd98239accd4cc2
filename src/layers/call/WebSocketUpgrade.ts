/**
 * The server side of a call session over a WebSocket: takes an HTTP/1.1 request that asks for the upgrade, decides who asks,
 * and serves the session (call.md section 16.2, http.md section 3).
 *
 * It does not listen and does not choose the path: whoever runs the HTTP server calls `serve` in its `upgrade` event, for
 * `CALL_PATH`. A refused request is answered with its status alone and its socket is closed.
 *
 * | status | when |
 * |---|---|
 * | 400, 405 | not a WebSocket request, or one without the subprotocol `alknet.call` |
 * | 401 | a token that nobody has; no token where `access` wants somebody known |
 * | 403 | a page of another origin; somebody without the scope that `access` wants |
 * | 500 | the look-up of who asks broke |
 */
import { type IncomingMessage, STATUS_CODES } from "node:http"
import type { Duplex } from "node:stream"
import { NodeWS } from "@effect/platform-node"
import { Cause, Effect, Option, Redacted, Schema, type Scope, Stream, SubscriptionRef } from "effect"
import { Alpn } from "../../protocol/Alpn.ts"
import { CALL_SUBPROTOCOL, isOriginAllowed, subprotocolsOf, tokenOf } from "../../protocol/call/Upgrade.ts"
import { nameOfCredential } from "../../protocol/identity/Credential.ts"
import { scopesMatch } from "../../protocol/identity/Scope.ts"
import { AuditLog } from "../../services/AuditLog.ts"
import { CallLimits } from "../../services/CallLimits.ts"
import { Dispatcher, type MessageCarrier } from "../../services/Dispatcher.ts"
import { Identity, type Principal } from "../../services/Identity.ts"
import type { ConnectionInfo, RemoteFilter } from "../../services/RemoteFilter.ts"
import type { Access } from "../../services/Router.ts"
import { CallSocket, socketOptions, WebSocketCarrier } from "./WebSocketCarrier.ts"

export interface Options {
  /** Who may open a session. `anonymous`: everybody, and the gates decide for each call; a wrong token is refused all the same. */
  readonly access: Access
  /** Origins whose pages may open a session, beside the host of the request itself: `https://page.example`. */
  readonly origins?: ReadonlyArray<string>
}

export interface ServeOptions extends Options {
  /** What the other side may see of this node's operations. */
  readonly filter: RemoteFilter["Service"]
}

/** What an HTTP server hands over in its `upgrade` event. */
export interface UpgradeRequest {
  readonly request: IncomingMessage
  readonly socket: Duplex
  /** What came behind the request already. */
  readonly head: Buffer
}

/** The request was answered with a status instead of a session. */
export class UpgradeRefused extends Schema.TaggedError<UpgradeRefused>()("UpgradeRefused", {
  status: Schema.Finite,
  hint: Schema.String
}) {
  override get message() {
    return `no session, HTTP status ${this.status}: ${this.hint}`
  }
}

/** Runs the session until it ends; a request that is refused ends at once. */
export const serve = (
  upgrade: UpgradeRequest,
  options: ServeOptions
): Effect.Effect<void, never, Dispatcher | Identity> =>
  Effect.scoped(
    Effect.flatMap(accept(upgrade, options), (carrier) =>
      Dispatcher.use((dispatcher) => dispatcher.run(carrier, { filter: options.filter }))
    )
  ).pipe(Effect.catchTag("UpgradeRefused", ({ message }) => Effect.logDebug(message)))

/** The carrier alone, which closes with the scope; it closes also when whoever was known here is not any more (ID-R31). */
export const accept = (
  upgrade: UpgradeRequest,
  options: Options
): Effect.Effect<MessageCarrier, UpgradeRefused, Identity | Scope.Scope> =>
  Effect.acquireRelease(
    Effect.onError(admit(upgrade, options), (cause) => Effect.sync(() => answer(upgrade.socket, statusOf(cause)))),
    ({ carrier }) => carrier.close(GOING_AWAY, "")
  ).pipe(
    Effect.tap(({ carrier, isStillWelcome }) => Effect.forkScoped(closeWhenUnknown(carrier, isStillWelcome))),
    Effect.tap(({ carrier }) =>
      Effect.flatMap(CallLimits, ({ frameStall }) => Effect.forkScoped(carrier.endStalled(frameStall)))
    ),
    Effect.map(({ carrier }) => carrier)
  )

const closeWhenUnknown = (carrier: MessageCarrier, isStillWelcome: Effect.Effect<boolean>) =>
  Effect.flatMap(Identity, ({ snapshot }) =>
    SubscriptionRef.changes(snapshot).pipe(
      Stream.mapEffect(() => isStillWelcome),
      Stream.filter((isWelcome) => !isWelcome),
      Stream.take(1),
      Stream.runForEach(() => carrier.close(POLICY, ""))
    )
  )

const GOING_AWAY = 1001
const POLICY = 1008
const HTTP = Alpn.make("http/1.1")

let connections = 0

const refuse = (status: number, hint: string) => new UpgradeRefused({ status, hint })

const admit = Effect.fnUntraced(function* (upgrade: UpgradeRequest, { access, origins = [] }: Options) {
  const { request, socket } = upgrade
  // Until a WebSocket listens: a socket that breaks now breaks nothing else.
  socket.on("error", () => {})
  const { headers } = request
  if (!subprotocolsOf(headers).includes(CALL_SUBPROTOCOL)) {
    return yield* refuse(400, `the subprotocol ${CALL_SUBPROTOCOL} was not offered`)
  }
  if (!isOriginAllowed(headers, origins)) return yield* refuse(403, "a page of this origin may not open a session")
  const info = infoOf(request)
  const identity = yield* identify(info, tokenOf(headers))
  const principal = yield* identity
  const refused = refusalOf(access, principal)
  if (refused !== undefined) return yield* refused
  const carrier = new WebSocketCarrier({ socket: yield* openSocket(upgrade), below: socket, info, identity })
  const isStillWelcome = Effect.map(
    identity,
    (now) => refusalOf(access, now) === undefined && (principal === undefined || now !== undefined)
  )
  return { carrier, isStillWelcome }
})

const refusalOf = (access: Access, principal: Principal | undefined): UpgradeRefused | undefined => {
  if (access === "anonymous") return undefined
  if (principal === undefined) return refuse(401, "nobody known asks")
  if (access === "known-peer" || scopesMatch(principal.scopes, access.scope)) return undefined
  return refuse(403, `the scope ${access.scope} is missing`)
}

/** Who shows the token, looked up anew whenever it runs; one that nobody has is refused now, and is anonymous later. */
const identify = Effect.fnUntraced(function* (info: ConnectionInfo, token: string | undefined) {
  if (token === undefined) return Effect.succeed<Principal | undefined>(undefined)
  const service = yield* Identity
  const { remoteAddress } = info
  const auth = { identity: undefined, alpn: HTTP, remoteAddress, peerKey: undefined }
  const resolve = Effect.suspend(() => service.resolveRequest(auth, Redacted.make(token)))
  yield* Effect.catchTag(resolve, "TokenRejected", () =>
    Effect.andThen(reject(info, token), refuse(401, "unknown token"))
  )
  return Effect.map(
    Effect.catchTag(resolve, "TokenRejected", () => Effect.succeed(Option.none<Principal>())),
    Option.getOrUndefined
  )
})

const reject = (info: ConnectionInfo, token: string): Effect.Effect<void> =>
  Effect.flatMap(Effect.serviceOption(AuditLog), (audit) =>
    Option.isNone(audit)
      ? Effect.void
      : audit.value.record({
          event: "auth.reject",
          conn: info.id,
          remote: info.remoteAddress,
          ...nameOfCredential(token),
          reason: "unknown"
        })
  )

const infoOf = ({ socket: { remoteAddress, remotePort } }: IncomingMessage): ConnectionInfo => ({
  id: `websocket-${++connections}`,
  side: "accepted",
  carrier: "websocket",
  remoteAddress:
    remoteAddress === undefined || remotePort === undefined ? undefined : { host: remoteAddress, port: remotePort }
})

const openSocket = ({ head, request, socket }: UpgradeRequest): Effect.Effect<CallSocket, UpgradeRefused> =>
  Effect.callback((resume) => {
    const gone = () => resume(refuse(400, "the socket is gone"))
    // One for each request, because what it refuses it tells by an event that names no request of ours.
    const server = new NodeWS.WebSocketServer({
      ...socketOptions,
      noServer: true,
      clientTracking: false,
      WebSocket: CallSocket,
      handleProtocols: () => CALL_SUBPROTOCOL
    })
    server.once("wsClientError", (error) => {
      socket.off("close", gone)
      resume(refuse(request.method === "GET" ? 400 : 405, error.message))
    })
    socket.once("close", gone)
    server.handleUpgrade(request, socket, head, (opened) => {
      socket.off("close", gone)
      resume(Effect.succeed(opened))
    })
  })

/** What is no refusal is a fault of this node. */
const statusOf = (cause: Cause.Cause<UpgradeRefused>): number =>
  Option.match(Cause.findErrorOption(cause), { onNone: () => 500, onSome: ({ status }) => status })

const answer = (socket: Duplex, status: number): void => {
  const challenge = status === 401 ? "WWW-Authenticate: Bearer\r\n" : ""
  const head = `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n${challenge}Connection: close\r\nContent-Length: 0\r\n\r\n`
  socket.once("finish", () => socket.destroy())
  socket.end(head)
}
