/**
 * A `BiStream` as an Effect `Stream` (what comes in) and an Effect `Sink` (what goes out). Pulling is the backpressure; no
 * chunk is kept here.
 */
import { Cause, Effect, Sink, Stream } from "effect"
import type { BiStream, ConnectionClosed, StreamReset } from "../../../services/Transport.ts"

/** The chunks of the stream until the peer finishes. A consumer that ends earlier stops the peer's direction. */
export const toStream = (stream: BiStream): Stream.Stream<Uint8Array, StreamReset | ConnectionClosed> =>
  Stream.fromPull(
    Effect.gen(function* () {
      let ended = false
      yield* Effect.addFinalizer(() => (ended ? Effect.void : stream.stop(0)))
      return stream.read.pipe(
        Effect.map((chunk) => [chunk] as const),
        Effect.catchTag("EndOfStream", () => {
          ended = true
          return Cause.done()
        })
      )
    })
  ).pipe(Stream.scoped)

/** Writes every chunk, and finishes our direction when the input ends. Where the input fails nothing is finished. */
export const toSink = (stream: BiStream): Sink.Sink<void, Uint8Array, never, StreamReset | ConnectionClosed> =>
  Sink.forEachArray(
    Effect.fnUntraced(function* (chunks: ReadonlyArray<Uint8Array>) {
      for (const chunk of chunks) yield* stream.write(chunk)
    })
  ).pipe(Sink.mapEffect(() => stream.finish))
