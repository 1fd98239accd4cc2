/**
 * ALPN `alknet/tunnel`: port forwarding and SOCKS5 for peers (ssh.md section 4, protocol/tunnel/Tunnel.ts).
 *
 * Any known peer may connect; each stream asks for something of its own and is judged by itself: connecting needs the scope
 * `ssh:forward:<host>:<port>` and a rule of the policy, listening `ssh:listen:<address>:<port>`, a socket of the machine
 * `ssh:socket:<path>`. A refusal is an answer with a reply code and costs only its stream. Listeners and flows end with their
 * stream, everything with the connection. Nothing here logs a destination.
 *
 * Close codes: none of its own.
 */
import { Duration, Effect, FiberSet, Layer, Option, type Scope } from "effect"
import { ReplyCode } from "../../protocol/forward/ReplyCode.ts"
import {
  decodeRequest,
  encodeAnswer,
  encodeArrival,
  encodeFlowAnswer,
  TUNNEL_ALPN,
  type TunnelRequest
} from "../../protocol/tunnel/Tunnel.ts"
import type { ForwardPolicy, ForwardTarget } from "../../services/ForwardPolicy.ts"
import { type AuthContext, Identity, type Principal } from "../../services/Identity.ts"
import { type AlpnTaken, Router } from "../../services/Router.ts"
import type { BiStream, Connection } from "../../services/Transport.ts"
import { dialSocket, dialTarget, ForwardFailed, listenForward, mayListen } from "../forward/Forward.ts"
import { joinStream } from "../forward/Join.ts"
import { type Framed, makeFramed } from "../tunnel/Framed.ts"
import { Collection } from "./tunnel/Collection.ts"
import { type Flows, makeFlows } from "./tunnel/Flows.ts"

/** How long a stream may take to say what it is for. */
const REQUEST_WITHIN = Duration.seconds(10)

export interface TunnelHandlerOptions {
  /** Streams of one peer at once, over all its connections: each may cost a socket. Default 1,024. */
  readonly streamsPerPeer?: number
}

/** What the streams of one connection share. */
interface Session {
  readonly who: Effect.Effect<Principal | undefined>
  /** Undefined: the carrier has no datagrams. */
  readonly flows: Flows | undefined
  readonly collection: Collection
  readonly draining: Effect.Effect<void>
}

const refusal = (code: ReplyCode) => new ForwardFailed({ code })

const connect = (session: Session, who: Principal, request: TunnelRequest, { stream }: Framed) => {
  switch (request._tag) {
    case "Connect":
    case "Socket":
      return Effect.gen(function* () {
        const socket = yield* request._tag === "Connect"
          ? dialTarget(who, request.target)
          : dialSocket(who, request.path)
        yield* stream.write(encodeAnswer(ReplyCode.Succeeded))
        yield* joinStream(stream, socket)
      })
    case "Collect":
      return (
        session.collection.take(who.id, request.token, (socket) =>
          Effect.andThen(stream.write(encodeAnswer(ReplyCode.Succeeded)), joinStream(stream, socket))
        ) ?? refusal(ReplyCode.NotAllowed)
      )
    case "Listen":
      return listen(session, who, request.at, stream)
    case "Datagrams":
      return exchange(session, stream)
  }
}

const listen = (session: Session, who: Principal, at: ForwardTarget, stream: BiStream) =>
  Effect.gen(function* () {
    const policy = yield* Effect.context<ForwardPolicy>()
    const bound = yield* listenForward(who, at, ({ origin, socket }) =>
      Effect.gen(function* () {
        // What the peer may do can have changed since it began to listen.
        yield* mayListen(yield* session.who, at)
        yield* session.collection.offer(who.id, socket, (token) => stream.write(encodeArrival({ token, origin })))
      }).pipe(Effect.ignore, Effect.provide(policy))
    )
    yield* stream.write(encodeAnswer(ReplyCode.Succeeded, bound))
    yield* untilEnd(stream, session.draining)
  })

const exchange = (session: Session, stream: BiStream) =>
  Effect.gen(function* () {
    if (session.flows === undefined) return yield* refusal(ReplyCode.CommandNotSupported)
    const flow = yield* session.flows.open
    if (flow === undefined) return yield* refusal(ReplyCode.GeneralFailure)
    yield* stream.write(encodeFlowAnswer(flow))
    yield* untilEnd(stream, session.draining)
  })

/** Until the peer ends its direction, or the handler goes; what the peer says there means nothing. */
const untilEnd = (stream: BiStream, draining: Effect.Effect<void>) =>
  Effect.raceFirst(Effect.ignore(Effect.forever(stream.read)), draining).pipe(
    Effect.andThen(Effect.ignore(stream.finish))
  )

const serveStream = (session: Session, stream: BiStream, counted: Counted) => {
  const framed = makeFramed(stream)
  const refuse = (code: ReplyCode) =>
    Effect.andThen(Effect.ignore(stream.writeLast(encodeAnswer(code))), stream.stop(0))
  return Effect.gen(function* () {
    const request = decodeRequest(
      yield* Effect.timeoutOrElse(framed.frame, {
        duration: REQUEST_WITHIN,
        orElse: () => Effect.fail(refusal(ReplyCode.TimedOut))
      })
    )
    if (request === undefined) return yield* refusal(ReplyCode.CommandNotSupported)
    const who = yield* session.who
    if (who === undefined) return yield* refusal(ReplyCode.NotAllowed)
    if (!(yield* counted(who.id))) return yield* refusal(ReplyCode.GeneralFailure)
    yield* connect(session, who, request, framed)
  }).pipe(
    Effect.scoped,
    Effect.catchTags({
      ForwardFailed: ({ code }) => refuse(code),
      FrameInvalid: () => refuse(ReplyCode.GeneralFailure),
      EndOfStream: () => refuse(ReplyCode.GeneralFailure)
    }),
    // A stream that was reset, or a connection that ended: nobody is left to answer.
    Effect.catch(() => Effect.andThen(stream.reset(0), stream.stop(0))),
    Effect.onInterrupt(() => Effect.andThen(stream.reset(0), stream.stop(0)))
  )
}

/** Counts a stream for its peer while the scope is open; false: too many. */
type Counted = (peerId: string) => Effect.Effect<boolean, never, Scope.Scope>

const makeCounted = (max: number): Counted => {
  const streams = new Map<string, number>()
  return (peerId) =>
    Effect.suspend(() => {
      const count = streams.get(peerId) ?? 0
      if (count >= max) return Effect.succeed(false)
      streams.set(peerId, count + 1)
      return Effect.as(
        Effect.addFinalizer(() =>
          Effect.sync(() => {
            const left = (streams.get(peerId) ?? 1) - 1
            if (left === 0) streams.delete(peerId)
            else streams.set(peerId, left)
          })
        ),
        true
      )
    })
}

export const layer = (
  options: TunnelHandlerOptions = {}
): Layer.Layer<never, AlpnTaken, ForwardPolicy | Identity | Router> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const router = yield* Router
      const identity = yield* Identity
      const policy = yield* Effect.context<ForwardPolicy>()
      const counted = makeCounted(options.streamsPerPeer ?? 1024)
      const collection = new Collection()

      const accept = Effect.fnUntraced(function* (
        connection: Connection,
        auth: AuthContext,
        draining: Effect.Effect<void>
      ): Effect.fn.Return<void, never, Scope.Scope> {
        const who = identity.resolveRequest(auth).pipe(
          Effect.map(Option.getOrUndefined),
          Effect.catch(() => Effect.succeed(undefined))
        )
        const datagrams = Option.getOrUndefined(connection.datagrams)
        const flows = datagrams === undefined ? undefined : yield* Effect.provide(makeFlows(datagrams, who), policy)
        const session: Session = { who, flows, collection, draining }
        const streams = yield* FiberSet.make<void>()
        const accepting = connection.accept.pipe(
          Effect.flatMap((stream) =>
            FiberSet.run(streams, Effect.provide(serveStream(session, stream, counted), policy))
          ),
          Effect.forever({ disableYield: true }),
          Effect.ignore
        )
        yield* Effect.raceFirst(accepting, draining)
        yield* FiberSet.awaitEmpty(streams)
      })
      yield* router.register({
        alpn: TUNNEL_ALPN,
        access: "known-peer",
        description: "connects where the forwarding rules allow",
        accept
      })
    })
  )
