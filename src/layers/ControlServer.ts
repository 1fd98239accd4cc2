/**
 * The running node's side of the control socket (protocol/Control.ts): it lends the endpoint, reports, and ends when asked.
 *
 * Limits: 256 connections at a time (each borrowed stream is one), 10 s for the first message. What a client opened ends
 * with its connection. A connection that a client gave back in good order stays open for a while and serves the next dial
 * of the same peer and ALPN.
 */
import { randomBytes } from "node:crypto"
import type { Socket } from "node:net"
import { Deferred, Duration, Effect, Exit, FiberSet, Layer, Option, Redacted, Schema, Scope } from "effect"
import { Alpn } from "../protocol/Alpn.ts"
import {
  type ControlFrame,
  ControlRequest,
  encodeEnd,
  encodeReset,
  encodeStop,
  type InviteRequest
} from "../protocol/Control.ts"
import { nodeIdFromText } from "../protocol/identity/NodeId.ts"
import { formatSocketAddress, parseSocketAddress } from "../protocol/SocketAddress.ts"
import { ControlError, type Invited, type NodeReport } from "../services/Control.ts"
import { type DialTarget, Endpoint } from "../services/Endpoint.ts"
import type {
  BiStream,
  Connection,
  ConnectionClosed,
  DialError,
  StreamLimit,
  StreamReset
} from "../services/Transport.ts"
import { RemoteError } from "./ControlConnection.ts"
import { type ControlPipe, makeControlPipe, PipeClosed } from "./ControlPipe.ts"
import { listenControl } from "./ControlSocket.ts"

/** Connections to the socket at a time. */
const CLIENTS_MAX = 256
/** A client that says nothing is cut off. */
const FIRST_MESSAGE_WITHIN = Duration.seconds(10)
/** How long a connection that was given back waits for the next dial. */
const PARKED_FOR = Duration.seconds(20)
/** Connections that wait. */
const PARKED_MAX = 16

export interface ControlServerOptions {
  readonly path: string
  readonly report: Effect.Effect<NodeReport>
  /** Ends the process; runs after the answer was sent. */
  readonly stop: Effect.Effect<void>
  readonly invite: (request: InviteRequest) => Effect.Effect<Invited, ControlError>
  /** False: there is no such session. Default: there is none. */
  readonly endSession?: (id: string) => Effect.Effect<boolean>
}

interface Parked {
  readonly key: string
  readonly connection: Connection
  readonly scope: Scope.Closeable
}

type StreamError = DialError | ConnectionClosed | StreamLimit | ControlError

export const layer = (options: ControlServerOptions): Layer.Layer<never, ControlError, Endpoint> =>
  Layer.effectDiscard(
    Effect.gen(function* () {
      const endpoint = yield* Endpoint
      const server = yield* makeServer(options, endpoint)
      const run = yield* FiberSet.makeRuntime<never>()
      let clients = 0
      yield* listenControl(options.path, (socket: Socket) => {
        // Only the pipe reports errors; one before it exists must not end the process.
        socket.on("error", () => {})
        if (clients >= CLIENTS_MAX) {
          socket.destroy()
          return
        }
        clients++
        socket.once("close", () => clients--)
        run(Effect.scoped(Effect.flatMap(makeControlPipe(socket), server)))
      })
    })
  )

const makeServer = Effect.fnUntraced(function* (options: ControlServerOptions, endpoint: Endpoint["Service"]) {
  const serverScope = yield* Effect.scope
  const held = new Map<string, Connection>()
  const parked: Array<Parked> = []

  const refuse = (hint: string) => new ControlError({ reason: "Refused", path: options.path, hint })

  const park = (entry: Parked): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (parked.length >= PARKED_MAX) return Scope.close(entry.scope, Exit.void)
      parked.push(entry)
      const forget = Effect.suspend(() => {
        const index = parked.indexOf(entry)
        if (index < 0) return Effect.void
        parked.splice(index, 1)
        return Scope.close(entry.scope, Exit.void)
      })
      return Effect.asVoid(
        Effect.forkIn(
          Effect.andThen(Effect.raceFirst(Effect.sleep(PARKED_FOR), Effect.asVoid(entry.connection.closed)), forget),
          serverScope
        )
      )
    })

  const unpark = (key: string): Parked | undefined => {
    const index = parked.findIndex((entry) => entry.key === key)
    return index < 0 ? undefined : parked.splice(index, 1)[0]
  }

  /** A parked connection, or a new one; its scope is a child of the server's. */
  const obtain = Effect.fnUntraced(function* (target: DialTarget, alpn: Alpn): Effect.fn.Return<Parked, DialError> {
    const key = `${target.nodeId} ${alpn}`
    const waiting = unpark(key)
    if (waiting !== undefined) return waiting
    const scope = yield* Scope.fork(serverScope)
    const dialed = endpoint.connect(target, alpn).pipe(Scope.provide(scope))
    const connection = yield* Effect.onError(dialed, (cause) => Scope.close(scope, Exit.failCause(cause)))
    return { key, connection, scope }
  })

  const dial = Effect.fnUntraced(function* (pipe: ControlPipe, target: DialTarget, alpn: Alpn) {
    let orderly = false
    const entry = yield* Effect.acquireRelease(
      whileThere(pipe, obtain(target, alpn)),
      (one) => (orderly && one.connection.multiStream ? park(one) : Scope.close(one.scope, Exit.void)),
      { interruptible: true }
    )
    const { connection } = entry
    const token = randomBytes(16).toString("hex")
    yield* Effect.acquireRelease(
      Effect.sync(() => held.set(token, connection)),
      () => Effect.sync(() => held.delete(token))
    )
    yield* pipe.sendMessage({
      ok: true,
      connection: token,
      id: connection.id,
      transport: connection.transport,
      multiStream: connection.multiStream,
      ...(connection.peer === undefined ? {} : { peer: connection.peer }),
      ...(connection.remoteAddress === undefined ? {} : { remote: formatSocketAddress(connection.remoteAddress) })
    })
    const commands = Effect.gen(function* () {
      while (true) {
        const frame = yield* pipe.receive
        if (frame._tag !== "Message") return
        const close = Schema.decodeUnknownOption(CloseCommand)(frame.value["close"])
        if (Option.isSome(close)) {
          if (close.value.code === 0) orderly = true
          else yield* connection.close(close.value.code, close.value.reason)
          return
        }
        if (frame.value["stats"] === true) yield* pipe.sendMessage({ stats: yield* connection.stats })
      }
    })
    const ended = Effect.flatMap(connection.closed, (closed) => pipe.sendMessage({ closed }))
    yield* Effect.raceFirst(commands, ended)
  })

  const targetOf = (request: { readonly nodeId: string; readonly addresses: ReadonlyArray<string> }) =>
    Effect.gen(function* () {
      const nodeId = yield* Effect.fromResult(nodeIdFromText(request.nodeId))
      const addresses = yield* Effect.forEach(request.addresses, (text) => Effect.fromResult(parseSocketAddress(text)))
      return { nodeId, addresses }
    }).pipe(Effect.mapError((error) => refuse(error.message)))
  const alpnOf = (text: string) => Effect.mapError(Schema.decodeUnknownEffect(Alpn)(text), () => refuse("not an ALPN"))
  const heldBy = (token: string): Effect.Effect<Connection, ControlError> => {
    const connection = held.get(token)
    return connection === undefined ? Effect.fail(refuse("no such connection")) : Effect.succeed(connection)
  }

  const lend = Effect.fnUntraced(function* (
    pipe: ControlPipe,
    stream: Effect.Effect<BiStream, StreamError, Scope.Scope>
  ) {
    const lent = yield* whileThere(pipe, stream)
    yield* pipe.sendMessage({ ok: true, id: lent.id })
    yield* joinStream(pipe, lent)
  })

  const serve = Effect.fnUntraced(function* (pipe: ControlPipe) {
    const first = yield* Effect.timeoutOption(pipe.receive, FIRST_MESSAGE_WITHIN)
    if (Option.isNone(first) || first.value._tag !== "Message") return
    const request = Schema.decodeUnknownOption(ControlRequest)(first.value.value)
    if (Option.isNone(request)) return yield* refuse("not a request of this version")
    const asked = request.value
    switch (asked.do) {
      case "status":
        return yield* pipe.sendMessage({ ok: true, status: yield* options.report })
      case "stop":
        yield* pipe.sendMessage({ ok: true })
        yield* pipe.end
        return yield* options.stop
      case "invite": {
        const invited = yield* options.invite(asked.invite)
        const { expiresAt } = invited
        return yield* pipe.sendMessage({ ok: true, invited: { ticket: Redacted.value(invited.ticket), expiresAt } })
      }
      case "end-session": {
        const ended = options.endSession === undefined ? false : yield* options.endSession(asked.session)
        if (!ended) return yield* refuse("there is no such session; see alknet status")
        return yield* pipe.sendMessage({ ok: true })
      }
      case "dial":
        return yield* dial(pipe, yield* targetOf(asked), yield* alpnOf(asked.alpn))
      case "open":
        return yield* lend(pipe, endpoint.open(yield* targetOf(asked), yield* alpnOf(asked.alpn)))
      case "stream":
        return yield* lend(pipe, (yield* heldBy(asked.connection)).open)
      case "accept":
        return yield* lend(pipe, (yield* heldBy(asked.connection)).accept)
    }
  })

  return (pipe: ControlPipe): Effect.Effect<void, never, Scope.Scope> =>
    serve(pipe).pipe(
      Effect.catch((error) =>
        error._tag === "PipeClosed" || error._tag === "ControlFrameInvalid"
          ? Effect.void
          : Effect.ignore(pipe.sendMessage({ ok: false, error: Schema.encodeSync(RemoteError)(error) }))
      ),
      Effect.catchDefect((defect) => Effect.logError("control socket: a request failed", String(defect))),
      Effect.andThen(pipe.end)
    )
})

/** Ends when the client goes away: until it is answered it has nothing to say. */
const whileThere = <A, E, R>(pipe: ControlPipe, effect: Effect.Effect<A, E, R>): Effect.Effect<A, E | PipeClosed, R> =>
  Effect.raceFirst(
    effect,
    Effect.flatMap(pipe.receive, () => Effect.fail(new PipeClosed("invalid")))
  )

const CloseCommand = Schema.Struct({ code: Schema.Int, reason: Schema.String })

/** Carries bytes, ends, resets and stops both ways until both directions are over or the client is gone. */
const joinStream = Effect.fnUntraced(function* (pipe: ControlPipe, stream: BiStream) {
  const ourSideOver = yield* Deferred.make<void>()
  const sendClosed = (closed: ConnectionClosed) => {
    const { by, code, kind, reason } = closed
    return Effect.ignore(pipe.sendMessage({ closed: { by, kind, code, reason } }))
  }
  let writing = true
  const stopped = (effect: Effect.Effect<void, StreamReset | ConnectionClosed>) =>
    Effect.catchTag(effect, "StreamReset", (reset) => {
      writing = false
      Deferred.doneUnsafe(ourSideOver, Effect.void)
      return pipe.send(encodeStop(reset.code))
    })
  const done = Effect.asVoid(Deferred.succeed(ourSideOver, undefined))
  const carry = (frame: ControlFrame): Effect.Effect<void, PipeClosed | ConnectionClosed> => {
    switch (frame._tag) {
      case "Data":
        return writing ? stopped(stream.write(frame.bytes)) : Effect.void
      case "End":
        return Effect.suspend(() => {
          const finish = writing ? stopped(stream.finish) : Effect.void
          writing = false
          return Effect.andThen(finish, done)
        })
      case "Reset":
        writing = false
        return Effect.andThen(stream.reset(frame.code), done)
      case "Stop":
        return stream.stop(frame.code)
      case "Message":
        return Effect.void
    }
  }
  // Goes on after our direction is over: that is how a client that goes away is noticed.
  const toStream = Effect.forever(Effect.flatMap(pipe.receive, carry)).pipe(
    Effect.catchTag("ConnectionClosed", sendClosed)
  )
  const fromStream = Effect.forever(Effect.flatMap(stream.read, pipe.sendData)).pipe(
    Effect.catchTag("EndOfStream", () => pipe.send(encodeEnd())),
    Effect.catchTag("StreamReset", ({ code }) => pipe.send(encodeReset(code)))
  )
  const over = Effect.andThen(fromStream, Deferred.await(ourSideOver)).pipe(
    Effect.catchTag("ConnectionClosed", sendClosed)
  )
  // What the client left unfinished is abandoned; both are without effect on a direction that is over.
  const abandon = Effect.suspend(() => Effect.andThen(writing ? stream.reset(0) : Effect.void, stream.stop(0)))
  yield* Effect.onExit(Effect.raceFirst(toStream, over), () => abandon)
})
