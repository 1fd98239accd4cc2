/**
 * Connecting and listening on behalf of a peer, for `alknet/tunnel` and for the channels of ssh (direct-tcpip, tcpip-forward,
 * direct-streamlocal and its forward). Each asks the `ForwardPolicy` first. Nothing here logs or names a destination.
 *
 * A caller gets the socket, tells its own side that it is there, and joins the two with `Join.ts`.
 */

import { connect, type NetConnectOpts, type Socket } from "node:net"
import { posix } from "node:path"
import { Duration, Effect, Schema, type Scope } from "effect"
import { addressBytes } from "../../protocol/forward/AddressClass.ts"
import { type ReplyCode as Code, ReplyCode, replyText } from "../../protocol/forward/ReplyCode.ts"
import type { SocketAddress } from "../../protocol/SocketAddress.ts"
import { type ForwardDenied, ForwardPolicy, type ForwardTarget } from "../../services/ForwardPolicy.ts"
import type { Principal } from "../../services/Identity.ts"
import type { TransportError } from "../../services/Transport.ts"
import { stagger } from "../transport/stagger.ts"
import { listening, type OnArrival } from "./Listening.ts"

/** How long all addresses of a target have together. */
export const FORWARD_DIAL_WITHIN = Duration.seconds(10)

/** It did not work; the code says why. */
export class ForwardFailed extends Schema.TaggedError<ForwardFailed>()("ForwardFailed", { code: Schema.Finite }) {
  override get message() {
    return replyText(this.code)
  }
}

const failed = (code: Code) => new ForwardFailed({ code })

const deniedCode = ({ reason }: ForwardDenied) =>
  failed(reason === "Policy" ? ReplyCode.NotAllowed : ReplyCode.HostUnreachable)

const CODES: Readonly<Record<string, Code>> = {
  ECONNREFUSED: ReplyCode.ConnectionRefused,
  // A socket path where nothing is.
  ENOENT: ReplyCode.ConnectionRefused,
  ENETUNREACH: ReplyCode.NetworkUnreachable,
  EHOSTUNREACH: ReplyCode.HostUnreachable,
  EHOSTDOWN: ReplyCode.HostUnreachable,
  ETIMEDOUT: ReplyCode.TimedOut,
  EAFNOSUPPORT: ReplyCode.AddressNotSupported,
  EADDRNOTAVAIL: ReplyCode.AddressNotSupported
}

const systemFailure = (error: NodeJS.ErrnoException) => failed(CODES[error.code ?? ""] ?? ReplyCode.GeneralFailure)

/** A socket that is connected, and destroyed when the scope closes. */
const opened = (options: NetConnectOpts): Effect.Effect<Socket, ForwardFailed, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<Socket, ForwardFailed>((resume) => {
      const socket = connect({ ...options, allowHalfOpen: true })
      const onError = (error: NodeJS.ErrnoException) => resume(Effect.fail(systemFailure(error)))
      socket.once("error", onError)
      socket.once("connect", () => {
        // Nobody listens to it until it is joined.
        socket.on("error", () => {})
        socket.off("error", onError)
        socket.setNoDelay(true)
        resume(Effect.succeed(socket))
      })
      return Effect.sync(() => {
        socket.on("error", () => {})
        socket.destroy()
      })
    }),
    (socket) => Effect.sync(() => socket.destroy()),
    { interruptible: true }
  )

/** Connects to one of the addresses that the policy allows, for direct-tcpip. */
export const dialTarget = (
  who: Principal | undefined,
  target: ForwardTarget
): Effect.Effect<Socket, ForwardFailed, ForwardPolicy | Scope.Scope> =>
  Effect.gen(function* () {
    const policy = yield* ForwardPolicy
    const addresses = yield* Effect.mapError(policy.connect(who, target), deniedCode)
    const [first, ...rest] = addresses.map(({ host, port }) => opened({ host, port }))
    if (first === undefined) return yield* failed(ReplyCode.NotAllowed)
    return yield* stagger([first, ...rest], { moreTelling: (a) => a })
  }).pipe(inTime)

/** Connects to a socket of this machine, for direct-streamlocal. */
export const dialSocket = (
  who: Principal | undefined,
  path: string
): Effect.Effect<Socket, ForwardFailed, ForwardPolicy | Scope.Scope> =>
  Effect.andThen(allowedPath(who, path), (plain) => opened({ path: plain })).pipe(inTime)

const inTime = <R>(dial: Effect.Effect<Socket, ForwardFailed, R>): Effect.Effect<Socket, ForwardFailed, R> =>
  Effect.timeoutOrElse(dial, {
    duration: FORWARD_DIAL_WITHIN,
    orElse: () => Effect.fail(failed(ReplyCode.TimedOut))
  })

/** A path without `.` and `..`, so that a scope for one folder is not a scope for others. Links in it are followed. */
const allowedPath = (who: Principal | undefined, path: string) =>
  Effect.gen(function* () {
    if (!path.startsWith("/") || path.includes("\0")) return yield* failed(ReplyCode.NotAllowed)
    const plain = posix.normalize(path)
    const policy = yield* ForwardPolicy
    yield* Effect.mapError(policy.socket(who, plain), deniedCode)
    return plain
  })

/**
 * Hosts to listen at, as in RFC 4254 section 7.1: `""` and `*` stand for every address of the machine (scope
 * `ssh:listen:0.0.0.0:<port>`), `localhost` for 127.0.0.1. With port 0 the scope says 0.
 */
const plainListen = ({ host, port }: ForwardTarget): ForwardTarget => {
  if (host === "" || host === "*") return { host: "0.0.0.0", port }
  return { host: host.toLowerCase() === "localhost" ? "127.0.0.1" : host, port }
}

/** Whether a peer may listen there, also while it does: what it may do can change. */
export const mayListen = (
  who: Principal | undefined,
  at: ForwardTarget
): Effect.Effect<void, ForwardFailed, ForwardPolicy> =>
  Effect.flatMap(ForwardPolicy, (policy) => Effect.mapError(policy.listen(who, plainListen(at)), deniedCode))

/** Listens for a peer, for tcpip-forward, until the scope closes; then its connections end too. Gives what is bound. */
export const listenForward = (
  who: Principal | undefined,
  at: ForwardTarget,
  onArrival: OnArrival
): Effect.Effect<SocketAddress, ForwardFailed, ForwardPolicy | Scope.Scope> =>
  Effect.gen(function* () {
    yield* mayListen(who, at)
    const { host, port } = plainListen(at)
    // An address, never a name: what is bound is what the scope says.
    if (addressBytes(host) === undefined) return yield* failed(ReplyCode.AddressNotSupported)
    const bound = yield* Effect.mapError(listening({ host, port }, onArrival), listenCode)
    return { host, port: bound }
  })

/** Listens on a socket path that does not exist yet, for the forward of streamlocal; mode 0600, removed with the scope. */
export const listenSocketForward = (
  who: Principal | undefined,
  path: string,
  onArrival: OnArrival
): Effect.Effect<void, ForwardFailed, ForwardPolicy | Scope.Scope> =>
  Effect.flatMap(allowedPath(who, path), (plain) =>
    Effect.asVoid(Effect.mapError(listening({ path: plain }, onArrival), listenCode))
  )

const listenCode = ({ reason }: TransportError) =>
  failed(
    reason === "AddressInvalid"
      ? ReplyCode.AddressNotSupported
      : reason === "PermissionDenied"
        ? ReplyCode.NotAllowed
        : ReplyCode.GeneralFailure
  )
