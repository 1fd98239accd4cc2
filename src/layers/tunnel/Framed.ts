/**
 * Frames of `alknet/tunnel` at the start of a stream, and the stream behind them: what came with the last frame is the first
 * thing that is read.
 */
import { Effect, Schema } from "effect"
import { TUNNEL_FRAME_MAX } from "../../protocol/tunnel/Tunnel.ts"
import type { BiStream, ConnectionClosed, EndOfStream, StreamReset } from "../../services/Transport.ts"

/** The other side does not speak this protocol. */
export class FrameInvalid extends Schema.TaggedError<FrameInvalid>()("FrameInvalid", {}) {}

export interface Framed {
  /** The body of the next frame, at least one byte. */
  readonly frame: Effect.Effect<Uint8Array, FrameInvalid | StreamReset | ConnectionClosed | EndOfStream>
  /** What follows the frames that were taken. */
  readonly stream: BiStream
}

export const makeFramed = (stream: BiStream): Framed => {
  let ahead: Uint8Array = new Uint8Array(0)
  const frame: Framed["frame"] = Effect.gen(function* () {
    while (true) {
      const length = ahead.length < 2 ? undefined : ahead[0]! * 256 + ahead[1]!
      if (length === 0 || (length !== undefined && length > TUNNEL_FRAME_MAX)) return yield* new FrameInvalid()
      if (length !== undefined && ahead.length >= 2 + length) {
        const body = ahead.subarray(2, 2 + length)
        ahead = ahead.subarray(2 + length)
        return body
      }
      const chunk = yield* stream.read
      ahead = ahead.length === 0 ? chunk : Buffer.concat([ahead, chunk])
    }
  })
  const read: BiStream["read"] = Effect.suspend(() => {
    if (ahead.length === 0) return stream.read
    const chunk = ahead
    ahead = new Uint8Array(0)
    return Effect.succeed(chunk)
  })
  const { finish, id, reset, stop, write, writeLast } = stream
  return { frame, stream: { id, read, write, finish, writeLast, reset, stop } }
}
