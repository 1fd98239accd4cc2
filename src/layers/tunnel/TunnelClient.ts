/**
 * The dialing side of `alknet/tunnel`: connections, listeners and datagrams of a peer, used from here.
 *
 * One connection carries everything where it has many streams, and is dialed again when it is gone; where it has one (TLS),
 * each stream gets a connection of its own. What a caller opens ends with the caller's scope.
 */
import { Duration, Effect, Exit, Option, Schema, Scope, Semaphore } from "effect"
import type { ForwardDestination } from "../../protocol/forward/ForwardSpec.ts"
import { ReplyCode, replyText } from "../../protocol/forward/ReplyCode.ts"
import type { SocketAddress } from "../../protocol/SocketAddress.ts"
import {
  boundOf,
  decodeAnswer,
  decodeArrival,
  encodeFlowDatagram,
  encodeRequest,
  flowOf,
  TUNNEL_ALPN,
  type TunnelAnswer,
  type TunnelRequest
} from "../../protocol/tunnel/Tunnel.ts"
import { type DialTarget, Endpoint } from "../../services/Endpoint.ts"
import type { BiStream, Connection, ConnectionClosed, DialError, StreamReset } from "../../services/Transport.ts"
import { FlowReader } from "./FlowReader.ts"
import { type Framed, makeFramed } from "./Framed.ts"

/** How long the other side may take to answer a request; it may have to dial. */
const ANSWER_WITHIN = Duration.seconds(20)

/** How long the last bytes of a connection that was for one stream may take to get out. */
const LINGER = Duration.seconds(2)

/** The other side said no, or what it said made no sense. */
export class TunnelRefused extends Schema.TaggedError<TunnelRefused>()("TunnelRefused", { code: Schema.Finite }) {
  override get message() {
    return replyText(this.code)
  }
}

export type TunnelError = TunnelRefused | DialError | ConnectionClosed | StreamReset

/** A connection that arrived at a listener over there. */
export interface TunnelArrival {
  readonly origin: SocketAddress | undefined
  /** Takes it, within 10 s. */
  readonly stream: Effect.Effect<BiStream, TunnelError, Scope.Scope>
}

export interface TunnelListener {
  /** What is bound over there, with the real port. */
  readonly bound: SocketAddress
  /** Waits; fails when the listener is gone. */
  readonly arrival: Effect.Effect<TunnelArrival, TunnelError>
}

export type OnDatagram = (from: SocketAddress, payload: Uint8Array) => void

export interface Tunnel {
  /** A connection from there to its destination. */
  readonly connect: (to: ForwardDestination) => Effect.Effect<BiStream, TunnelError, Scope.Scope>
  /** Listens over there until the scope closes. */
  readonly listen: (at: SocketAddress) => Effect.Effect<TunnelListener, TunnelError, Scope.Scope>
  /** Datagrams from there; gives the way to send one. Needs a carrier with datagrams: `CommandNotSupported` elsewhere. */
  readonly datagrams: (
    onDatagram: OnDatagram
  ) => Effect.Effect<(to: SocketAddress, payload: Uint8Array) => Effect.Effect<void>, TunnelError, Scope.Scope>
}

interface Shared {
  readonly connection: Connection
  readonly scope: Scope.Closeable
  readonly flows: FlowReader
}

/** Dials once to see that it works. */
export const makeTunnel = (target: DialTarget): Effect.Effect<Tunnel, DialError, Endpoint | Scope.Scope> =>
  Effect.gen(function* () {
    const endpoint = yield* Endpoint
    const parent = yield* Effect.scope
    const dialing = yield* Semaphore.make(1)
    let shared: Shared | undefined
    let isMulti = true

    const dial: Effect.Effect<Shared, DialError> = Effect.suspend(() => {
      const scope = Scope.forkUnsafe(parent)
      return endpoint.connect(target, TUNNEL_ALPN).pipe(
        Scope.provide(scope),
        Effect.onError(() => Scope.close(scope, Exit.void)),
        Effect.map((connection) => ({ connection, scope, flows: new FlowReader(connection, scope) })),
        Effect.tap((dialed) => {
          isMulti = dialed.connection.multiStream
          const forget = Effect.suspend(() => {
            if (shared === dialed) shared = undefined
            return Scope.close(scope, Exit.void)
          })
          return Effect.forkIn(Effect.andThen(dialed.connection.closed, forget), parent)
        })
      )
    })
    const common = dialing.withPermits(1)(
      Effect.suspend(() =>
        shared !== undefined
          ? Effect.succeed(shared)
          : Effect.tap(dial, (dialed) =>
              Effect.sync(() => {
                shared = dialed
              })
            )
      )
    )
    /** The connection for the next stream; one that has a single stream belongs to whoever gets it. */
    const available: Effect.Effect<Shared, DialError> = Effect.suspend(() => {
      const spare = shared
      if (isMulti) return common
      shared = undefined
      return spare === undefined ? dial : Effect.succeed(spare)
    })

    const openOn = (dialed: Shared) =>
      Effect.acquireRelease(
        Effect.map(dialed.connection.open, (stream) => ({ stream, dialed })),
        ({ stream }, exit) =>
          (Exit.isSuccess(exit)
            ? Effect.andThen(Effect.ignore(stream.finish), stream.stop(0))
            : Effect.andThen(stream.reset(0), stream.stop(0))
          ).pipe(Effect.andThen(dialed.connection.multiStream ? Effect.void : leave(dialed)))
      )
    const open = Effect.suspend(() => Effect.flatMap(available, openOn)).pipe(
      // It went between being asked for and being used.
      Effect.catchTag("ConnectionClosed", () => Effect.flatMap(available, openOn)),
      Effect.catchTag("StreamLimit", () => Effect.fail(refused))
    )
    const request = (what: TunnelRequest) =>
      Effect.gen(function* () {
        const { dialed, stream } = yield* open
        yield* stream.write(encodeRequest(what))
        const framed = makeFramed(stream)
        return { framed, dialed, answer: yield* answered(framed) }
      })

    shared = yield* dial
    const collect = (token: Uint8Array) =>
      Effect.map(request({ _tag: "Collect", token }), ({ framed }) => framed.stream)

    return {
      connect: (to) =>
        Effect.map(
          request(to._tag === "Host" ? { _tag: "Connect", target: to.address } : { _tag: "Socket", path: to.path }),
          ({ framed }) => framed.stream
        ),
      listen: (at) =>
        Effect.gen(function* () {
          const { answer, framed } = yield* request({ _tag: "Listen", at })
          const bound = boundOf(answer)
          if (bound === undefined) return yield* refused
          const arrival = Effect.flatMap(legible(framed.frame), (body) => {
            const decoded = decodeArrival(body)
            if (decoded === undefined) return refused
            return Effect.succeed({ origin: decoded.origin, stream: collect(decoded.token) })
          })
          return { bound, arrival }
        }),
      datagrams: (onDatagram) =>
        Effect.gen(function* () {
          const { connection } = yield* available
          const carrier = Option.getOrUndefined(connection.datagrams)
          if (carrier === undefined) return yield* new TunnelRefused({ code: ReplyCode.CommandNotSupported })
          const { answer, dialed } = yield* request({ _tag: "Datagrams" })
          const flow = flowOf(answer)
          if (flow === undefined) return yield* refused
          yield* dialed.flows.register(flow, onDatagram)
          return (address, payload) => Effect.ignore(carrier.send(encodeFlowDatagram({ flow, address, payload })))
        })
    }
  })

const refused = new TunnelRefused({ code: ReplyCode.GeneralFailure })

const legible = (frame: Framed["frame"]): Effect.Effect<Uint8Array, TunnelError> =>
  Effect.catchTags(frame, { FrameInvalid: () => Effect.fail(refused), EndOfStream: () => Effect.fail(refused) })

const answered = (framed: Framed): Effect.Effect<TunnelAnswer, TunnelError> =>
  legible(framed.frame).pipe(
    Effect.timeoutOrElse({
      duration: ANSWER_WITHIN,
      orElse: () => Effect.fail(new TunnelRefused({ code: ReplyCode.TimedOut }))
    }),
    Effect.map(decodeAnswer),
    Effect.flatMap((answer) =>
      answer.code === ReplyCode.Succeeded
        ? Effect.succeed(answer)
        : Effect.fail(new TunnelRefused({ code: answer.code }))
    )
  )

/** A close may overtake what is unsent, also a reset: where both sides are through, the connection ends by itself. */
const leave = ({ connection, scope }: Shared): Effect.Effect<void> =>
  Effect.andThen(Effect.timeoutOption(connection.closed, LINGER), Scope.close(scope, Exit.void))
