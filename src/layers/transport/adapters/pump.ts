/**
 * Joins two byte pairs, as a tunnel does: what comes out of one goes into the other, in both directions at once.
 *
 * When one direction ends, the opposite writer is finished and the other direction goes on (otherwise tunnels dead-lock).
 * A reset crosses as a reset and a stop as a stop, with their codes; a connection that is lost crosses as a reset with
 * code 0. One chunk is in flight in each direction, so nothing is buffered beyond what the two streams do themselves.
 */
import { Effect, Exit } from "effect"
import type { BiStream, ConnectionClosed, EndOfStream, StreamReset } from "../../../services/Transport.ts"

/** Bytes that crossed. */
export interface Pumped {
  readonly forth: number
  readonly back: number
}

/** Completes when both directions are over; never fails. Interrupted, it resets and stops both streams. */
export const pump = (a: BiStream, b: BiStream): Effect.Effect<Pumped> =>
  Effect.all([oneWay(a, b), oneWay(b, a)], { concurrency: 2 }).pipe(
    Effect.map(([forth, back]) => ({ forth, back })),
    Effect.onInterrupt(() => Effect.all([a.reset(0), a.stop(0), b.reset(0), b.stop(0)], { discard: true }))
  )

const oneWay = Effect.fnUntraced(function* (from: BiStream, to: BiStream) {
  let bytes = 0
  while (true) {
    const chunk: Exit.Exit<Uint8Array, StreamReset | ConnectionClosed | EndOfStream> = yield* Effect.exit(from.read)
    if (Exit.isFailure(chunk)) {
      yield* Effect.catch(Effect.failCause(chunk.cause), (error) => endOf(error, to))
      return bytes
    }
    const written = yield* Effect.exit(to.write(chunk.value))
    if (Exit.isFailure(written)) {
      yield* Effect.catch(Effect.failCause(written.cause), (error) => from.stop(codeOf(error)))
      return bytes
    }
    bytes += chunk.value.length
  }
})

/** What the end of a reader means for the opposite writer. */
const endOf = (error: StreamReset | ConnectionClosed | EndOfStream, to: BiStream): Effect.Effect<void> =>
  error._tag === "EndOfStream" ? Effect.ignore(to.finish) : to.reset(codeOf(error))

const codeOf = (error: StreamReset | ConnectionClosed): number => (error._tag === "StreamReset" ? error.code : 0)
