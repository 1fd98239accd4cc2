/**
 * Connections and streams that another process lends over its control socket, in the shape of the transport contract: what
 * works over a `Connection` works over a borrowed one.
 *
 * Bounds and differences: at most one read of the socket is held per stream; a `stop` of the peer is seen after the bytes
 * that came before it; datagrams are not lent; `stats` asks the lending process. To close a connection with code 0, and to end
 * its scope, gives it back: the lender may keep it open for the next dial. Any other code closes it.
 */
import { Deferred, Effect, Option, Schema, Scope, Semaphore } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import type { CloseCode } from "../protocol/CloseCode.ts"
import { type ControlFrame, encodeEnd, encodeReset, encodeStop } from "../protocol/Control.ts"
import { NodeId } from "../protocol/identity/NodeId.ts"
import { parseSocketAddress } from "../protocol/SocketAddress.ts"
import { ControlError } from "../services/Control.ts"
import {
  type BiStream,
  type CloseReason,
  type Connection,
  ConnectionClosed,
  type ConnectionStats,
  DialError,
  EndOfStream,
  StreamLimit,
  StreamReset
} from "../services/Transport.ts"
import type { ControlPipe, PipeClosed } from "./ControlPipe.ts"

/** The typed errors that cross the control socket. */
export const RemoteError = Schema.Union([DialError, ConnectionClosed, StreamLimit, ControlError])
export type RemoteError = typeof RemoteError.Type

/** A `CloseReason` as it crosses the control socket. */
export const ClosedMessage = Schema.Struct({
  by: Schema.Literals(["local", "peer", "transport"]),
  kind: Schema.Literals(["app", "transport", "idle", "lost"]),
  code: Schema.Finite,
  reason: Schema.String
})

/** `ConnectionStats`; what is unknown is absent. */
export const StatsMessage = Schema.Struct({
  rttMillis: Schema.optionalKey(Schema.Finite),
  bytesSent: Schema.Finite,
  bytesReceived: Schema.Finite,
  packetsSent: Schema.optionalKey(Schema.Finite),
  packetsReceived: Schema.optionalKey(Schema.Finite),
  packetsLost: Schema.optionalKey(Schema.Finite),
  congestionWindow: Schema.optionalKey(Schema.Finite)
})

/** The answer to `dial`. */
export const DialedMessage = Schema.Struct({
  connection: Schema.String,
  id: Schema.String,
  transport: Schema.Literals(["quic", "tls", "memory"]),
  peer: Schema.optionalKey(NodeId),
  remote: Schema.optionalKey(Schema.String),
  multiStream: Schema.Boolean
})
export type DialedMessage = typeof DialedMessage.Type

const LENDER_GONE: CloseReason = { by: "transport", kind: "lost", code: 0, reason: "the lending process ended" }

/** What a stream's control frame `{"closed":…}` says; a lender that went away says nothing. */
export const readClosed = (value: unknown): CloseReason =>
  Option.getOrElse(Schema.decodeUnknownOption(ClosedMessage)(value), () => LENDER_GONE)

/** A stream over a pipe whose request has been answered. */
export const makeControlStream = (pipe: ControlPipe, id: number): Effect.Effect<BiStream> =>
  Effect.map(Semaphore.make(1), (writing) => new ControlStream(pipe, id, writing))

class ControlStream implements BiStream {
  readonly id: number
  private readonly pipe: ControlPipe
  private readonly writing: Semaphore.Semaphore
  private readEnd: StreamReset | ConnectionClosed | EndOfStream | undefined
  private writeEnd: StreamReset | ConnectionClosed | undefined
  private finished = false

  constructor(pipe: ControlPipe, id: number, writing: Semaphore.Semaphore) {
    this.pipe = pipe
    this.id = id
    this.writing = writing
  }

  private readonly lost = (_: PipeClosed): ConnectionClosed => {
    const closed = new ConnectionClosed(LENDER_GONE)
    this.readEnd ??= closed
    this.writeEnd ??= closed
    return closed
  }

  private readonly taken = (
    frame: ControlFrame
  ): Effect.Effect<Uint8Array, StreamReset | ConnectionClosed | EndOfStream> => {
    switch (frame._tag) {
      case "Data":
        return Effect.succeed(frame.bytes)
      case "End":
        this.readEnd = new EndOfStream()
        return Effect.fail(this.readEnd)
      case "Reset":
        this.readEnd = new StreamReset({ side: "read", code: frame.code })
        return Effect.fail(this.readEnd)
      case "Stop":
        this.writeEnd ??= new StreamReset({ side: "write", code: frame.code })
        return this.read
      case "Message": {
        const closed = new ConnectionClosed(readClosed(frame.value["closed"]))
        this.readEnd = closed
        this.writeEnd ??= closed
        return Effect.fail(closed)
      }
    }
  }

  readonly read: Effect.Effect<Uint8Array, StreamReset | ConnectionClosed | EndOfStream> = Effect.suspend(() =>
    this.readEnd === undefined
      ? Effect.flatMap(Effect.mapError(this.pipe.receive, this.lost), this.taken)
      : Effect.fail(this.readEnd)
  )

  private readonly checked = (
    effect: Effect.Effect<void, PipeClosed>
  ): Effect.Effect<void, StreamReset | ConnectionClosed> =>
    this.writing.withPermits(1)(
      Effect.suspend(() => {
        if (this.writeEnd !== undefined) return Effect.fail(this.writeEnd)
        if (this.finished) return Effect.fail(new StreamReset({ side: "write", code: 0 }))
        return Effect.mapError(effect, this.lost)
      })
    )

  readonly write = (bytes: Uint8Array): Effect.Effect<void, StreamReset | ConnectionClosed> =>
    this.checked(this.pipe.sendData(bytes))

  readonly finish: Effect.Effect<void, StreamReset | ConnectionClosed> = Effect.suspend(() =>
    this.finished
      ? Effect.void
      : this.checked(
          Effect.suspend(() => {
            this.finished = true
            return this.pipe.send(encodeEnd())
          })
        )
  )

  readonly writeLast = (bytes: Uint8Array): Effect.Effect<void, StreamReset | ConnectionClosed> =>
    Effect.andThen(this.write(bytes), this.finish)

  readonly reset = (code: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (this.writeEnd !== undefined) return Effect.void
      this.writeEnd = new StreamReset({ side: "write", code })
      return Effect.ignore(this.pipe.send(encodeReset(code)))
    })

  readonly stop = (code: number): Effect.Effect<void> =>
    Effect.suspend(() => {
      if (this.readEnd !== undefined) return Effect.void
      this.readEnd = new StreamReset({ side: "read", code })
      return Effect.ignore(this.pipe.send(encodeStop(code)))
    })
}

/** How a borrowed connection gets its streams: each is a pipe of its own. */
export interface StreamSource {
  readonly stream: Effect.Effect<BiStream, ConnectionClosed | StreamLimit, Scope.Scope>
  readonly accept: Effect.Effect<BiStream, ConnectionClosed | StreamLimit, Scope.Scope>
}

/** A dialed connection that is held by `pipe`; it is closed with the scope. */
export const makeControlConnection = Effect.fnUntraced(function* (
  pipe: ControlPipe,
  dialed: DialedMessage,
  alpn: Alpn,
  source: StreamSource
): Effect.fn.Return<Connection, never, Scope.Scope> {
  const scope = yield* Effect.scope
  const ended = yield* Deferred.make<CloseReason>()
  let statsWaiting: Array<Deferred.Deferred<ConnectionStats>> = []
  let latest: ConnectionStats = {
    rttMillis: undefined,
    bytesSent: 0,
    bytesReceived: 0,
    packetsSent: undefined,
    packetsReceived: undefined,
    packetsLost: undefined,
    congestionWindow: undefined
  }

  const events: Effect.Effect<CloseReason> = Effect.gen(function* () {
    while (true) {
      const frame = yield* pipe.receive
      if (frame._tag !== "Message") return LENDER_GONE
      if ("closed" in frame.value) return readClosed(frame.value["closed"])
      const stats = Schema.decodeUnknownOption(StatsMessage)(frame.value["stats"])
      if (Option.isSome(stats)) latest = { ...latest, ...stats.value }
      const waiting = statsWaiting
      statsWaiting = []
      for (const one of waiting) Deferred.doneUnsafe(one, Effect.succeed(latest))
    }
  }).pipe(Effect.catch(() => Effect.succeed(LENDER_GONE)))
  yield* Effect.forkIn(
    Effect.flatMap(events, (reason) => {
      for (const one of statsWaiting) Deferred.doneUnsafe(one, Effect.succeed(latest))
      return Deferred.succeed(ended, reason)
    }),
    scope
  )

  const closed = Deferred.await(ended)
  const gone = Effect.flatMap(closed, (reason) => Effect.fail(new ConnectionClosed(reason)))
  const orClosed = <A, E>(effect: Effect.Effect<A, E>): Effect.Effect<A, E | ConnectionClosed> =>
    Effect.raceFirst(effect, gone)
  const close = (code: CloseCode, reason: string): Effect.Effect<void> =>
    Effect.gen(function* () {
      if (yield* Deferred.isDone(ended)) return
      yield* Effect.ignore(pipe.sendMessage({ close: { code, reason: reason.slice(0, 256) } }))
      const ours: CloseReason = { by: "local", kind: "app", code, reason }
      yield* Deferred.succeed(ended, ours)
    })
  yield* Effect.addFinalizer(() => close(0, ""))
  const remote = dialed.remote === undefined ? undefined : parseSocketAddress(dialed.remote)

  return {
    id: dialed.id,
    transport: dialed.transport,
    alpn,
    side: "dialed",
    peer: dialed.peer,
    remoteAddress: remote !== undefined && remote._tag === "Success" ? remote.success : undefined,
    multiStream: dialed.multiStream,
    open: orClosed(Scope.provide(source.stream, scope)),
    accept: orClosed(Scope.provide(source.accept, scope).pipe(Effect.catchTag("StreamLimit", () => gone))),
    datagrams: Option.none(),
    close,
    closed,
    stats: Effect.gen(function* () {
      if (yield* Deferred.isDone(ended)) return latest
      const waiting = yield* Deferred.make<ConnectionStats>()
      statsWaiting.push(waiting)
      yield* Effect.ignore(pipe.sendMessage({ stats: true }))
      return yield* Effect.raceFirst(Deferred.await(waiting), Effect.as(closed, latest))
    })
  }
})
