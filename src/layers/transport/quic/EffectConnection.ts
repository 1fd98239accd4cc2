/**
 * The `Connection` and `BiStream` of the Transport contract over a driver connection: almost nothing.
 *
 * What can be answered now is an `Exit`, which the runtime takes without a fiber or a promise; what cannot is one callback
 * that the driver calls inside its flush. A waiter that is interrupted leaves, and nothing that it waited for is lost.
 */
import { Effect, Exit, Option } from "effect"
import {
  type BiStream,
  type CloseReason,
  type Connection,
  ConnectionClosed,
  EndOfStream,
  StreamReset
} from "../../../services/Transport.ts"
import { Waitable } from "../Waitable.ts"
import type { ConnectionHandle, StreamHandle } from "./Engine.ts"
import type { PendingWrite, ReadEnd, WriteEnd } from "./QuicStream.ts"

type ReadExit = Exit.Exit<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>
type WriteExit = Exit.Exit<void, StreamReset | ConnectionClosed>

const END: ReadExit = Exit.fail(new EndOfStream())
const EMPTY = new Uint8Array(0)

/** The contract's connection. `connection` is established: its peer and ALPN are known. */
export const fromQuicConnection = (connection: ConnectionHandle): Connection => {
  let closedExit: Exit.Exit<never, ConnectionClosed> | undefined
  const closed = (): Exit.Exit<never, ConnectionClosed> => {
    closedExit ??= Exit.fail(ConnectionClosed.of(connection.closeReason!))
    return closedExit
  }
  const isClosedHere = () => connection.closeReason?.by === "local"
  const accepting = new Waitable<BiStream, ConnectionClosed>(() => {
    const stream = isClosedHere() ? undefined : connection.accept()
    if (stream !== undefined) return Exit.succeed(fromQuicStream(stream, closed))
    return connection.isClosed ? closed() : undefined
  })
  const opening = new Waitable<BiStream, ConnectionClosed>(() => {
    if (connection.isClosed) return closed()
    const stream = connection.open()
    return stream === undefined ? undefined : Exit.succeed(fromQuicStream(stream, closed))
  })
  const receiving = new Waitable<Uint8Array, ConnectionClosed>(() => {
    if (isClosedHere()) return closed()
    const message = connection.receiveDatagram()
    if (message !== undefined) return Exit.succeed(message)
    return connection.isClosed ? closed() : undefined
  })
  const ending = new Waitable<CloseReason, never>(() =>
    connection.closeReason === undefined ? undefined : Exit.succeed(connection.closeReason)
  )
  connection.onIncoming = () => accepting.wake()
  connection.onOpenable = () => opening.wake()
  connection.onDatagram = () => receiving.wake()
  connection.isAwaited = () => accepting.isAwaited || opening.isAwaited || receiving.isAwaited
  connection.onClosed = () => {
    for (const waitable of [accepting, opening, receiving, ending]) waitable.wake()
  }
  return {
    id: connection.id,
    transport: "quic",
    alpn: connection.alpn!,
    side: connection.isServer ? "accepted" : "dialed",
    peer: connection.peer,
    remoteAddress: connection.remote,
    multiStream: true,
    open: opening.effect,
    accept: accepting.effect,
    datagrams: Option.some({
      maxSize: Effect.sync(() => (connection.isClosed ? 0 : connection.datagramBytesMax)),
      send: (message) =>
        Effect.suspend(() => {
          if (connection.isClosed) return closed()
          connection.sendDatagram(message)
          return Exit.void
        }),
      receive: receiving.effect
    }),
    close: (code, reason) => Effect.sync(() => connection.close(code, reason)),
    closed: ending.effect,
    stats: Effect.callback((resume) => connection.askStats((stats) => resume(Effect.succeed(stats))))
  }
}

const fromQuicStream = (stream: StreamHandle, closed: () => Exit.Exit<never, ConnectionClosed>): BiStream => {
  const endOfReading = (end: ReadEnd): ReadExit => {
    if (end.kind === "finished") return END
    return end.kind === "reset" ? Exit.fail(new StreamReset({ side: "read", code: end.code })) : closed()
  }
  const endOfWriting = (end: WriteEnd): WriteExit => {
    if (end.kind === "closed") return closed()
    return Exit.fail(new StreamReset({ side: "write", code: end.kind === "stopped" ? end.code : 0 }))
  }
  const next = (): ReadExit | undefined => {
    const chunk = stream.read()
    if (chunk !== undefined) return Exit.succeed(chunk)
    return stream.readEnd === undefined ? undefined : endOfReading(stream.readEnd)
  }
  const stopWaiting = Effect.sync(() => {
    stream.onReadable = undefined
  })
  const waitForData = Effect.callback<Uint8Array, StreamReset | ConnectionClosed | EndOfStream>((resume) => {
    // Asked again: the scheduler may have run somebody else since the first question.
    const exit = next()
    if (exit !== undefined) return resume(exit)
    stream.onReadable = () => resume(next()!)
    return stopWaiting
  })
  const waitForRoom = (bytes: Uint8Array, end: boolean): Effect.Effect<void, StreamReset | ConnectionClosed> =>
    Effect.callback((resume) => {
      const write: PendingWrite = {
        bytes,
        end,
        done: (failed) => resume(failed === undefined ? Exit.void : endOfWriting(failed))
      }
      if (stream.writeEnd !== undefined) return resume(endOfWriting(stream.writeEnd))
      stream.queueWrite(write)
      return Effect.sync(() => stream.cancelWrite(write))
    })
  const writeLast = (bytes: Uint8Array): Effect.Effect<void, StreamReset | ConnectionClosed> => {
    if (bytes.length === 0 && stream.writeEnd?.kind === "finished") return Exit.void
    const taken = stream.write(bytes, true)
    if (taken < 0) return endOfWriting(stream.writeEnd!)
    return stream.writeEnd === undefined ? waitForRoom(bytes.subarray(taken), true) : Exit.void
  }
  return {
    id: stream.id,
    read: Effect.suspend(() => next() ?? waitForData),
    write: (bytes) =>
      Effect.suspend(() => {
        const taken = stream.write(bytes, false)
        if (taken === bytes.length) return Exit.void
        return taken < 0 ? endOfWriting(stream.writeEnd!) : waitForRoom(bytes.subarray(taken), false)
      }),
    finish: Effect.suspend(() => writeLast(EMPTY)),
    writeLast: (bytes) => Effect.suspend(() => writeLast(bytes)),
    reset: (code) => Effect.sync(() => stream.reset(code)),
    stop: (code) => Effect.sync(() => stream.stop(code))
  }
}
