/**
 * A `BiStream` as a Socket of `effect/socket`, for Effect's own protocols (RPC, HTTP) over a connection of ours.
 *
 * The stream is open already, so taking the reader never dials, and there is no reconnect. The ends are those of Effect's
 * sockets: an orderly end is `SocketCloseError` 1000, a lost connection 1006, a reset `SocketReadError` or
 * `SocketWriteError`. Closing the reader's scope stops the peer's direction, closing the writer's finishes ours.
 */
import { Effect } from "effect"
import * as Socket from "effect/socket/Socket"
import type { BiStream, ConnectionClosed, EndOfStream, StreamReset } from "../../../services/Transport.ts"

const ORDERLY = 1000
const ABNORMAL = 1006

export const toSocket = (stream: BiStream): Socket.Socket => {
  let readOver = false
  const pull = stream.read.pipe(
    Effect.map((chunk) => [chunk] as const),
    Effect.mapError((error) => {
      readOver = true
      return readError(error)
    })
  )
  const write = (chunk: Uint8Array | string | Socket.CloseEvent): Effect.Effect<void, Socket.SocketError> => {
    if (Socket.isCloseEvent(chunk)) return chunk.code === ORDERLY ? Effect.ignore(stream.finish) : stream.reset(0)
    return Effect.mapError(stream.write(typeof chunk === "string" ? encoder.encode(chunk) : chunk), writeError)
  }
  return Socket.make({
    reader: Effect.acquireRelease(Effect.succeed({ pull, upgrade: Socket.SocketUpgradeError.unsupported }), () =>
      readOver ? Effect.void : stream.stop(0)
    ),
    writer: Effect.acquireRelease(
      Effect.succeed({
        write,
        writeAll: (chunks: ReadonlyArray<Uint8Array | string>) => {
          const [first] = chunks
          if (chunks.length === 1 && first !== undefined) return write(first)
          return write(
            Buffer.concat(chunks.map((chunk) => (typeof chunk === "string" ? encoder.encode(chunk) : chunk)))
          )
        }
      }),
      () => Effect.ignore(stream.finish)
    )
  })
}

const encoder = new TextEncoder()

const closeError = (code: number) => new Socket.SocketError({ reason: new Socket.SocketCloseError({ code }) })

const readError = (error: StreamReset | ConnectionClosed | EndOfStream): Socket.SocketError => {
  if (error._tag === "EndOfStream") return closeError(ORDERLY)
  if (error._tag === "ConnectionClosed") return closeError(ABNORMAL)
  return new Socket.SocketError({ reason: new Socket.SocketReadError({ cause: error }) })
}

const writeError = (error: StreamReset | ConnectionClosed): Socket.SocketError =>
  error._tag === "ConnectionClosed"
    ? closeError(ABNORMAL)
    : new Socket.SocketError({ reason: new Socket.SocketWriteError({ cause: error }) })
