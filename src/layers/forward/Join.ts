/**
 * Joins a stream with a Duplex, or two Duplexes, until both directions are over: what a forwarded connection is once both
 * of its sides are there. Half-close, resets and backpressure cross as in `pump`; a side that vanishes takes the other along.
 */
import type { Duplex } from "node:stream"
import { Effect } from "effect"
import type { BiStream } from "../../services/Transport.ts"
import { type Pumped, pump } from "../transport/adapters/pump.ts"
import { type DuplexStream, fromDuplex } from "./DuplexStream.ts"

/** Both are over, reset or destroyed when it completes; never fails. */
export const joinStream = (stream: BiStream, duplex: Duplex): Effect.Effect<Pumped> =>
  Effect.scoped(Effect.flatMap(fromDuplex(duplex), (end) => joinEnd(stream, end)))

/** The same where something was read from the Duplex before; whoever made the end closes it. */
export const joinEnd = (stream: BiStream, end: DuplexStream): Effect.Effect<Pumped> =>
  Effect.raceFirst(pump(stream, end), withdraw(end, stream))

/** Both are destroyed when it completes; never fails. */
export const joinDuplexes = (one: Duplex, other: Duplex): Effect.Effect<Pumped> =>
  Effect.scoped(
    Effect.flatMap(fromDuplex(one), (first) =>
      Effect.flatMap(fromDuplex(other), (second) =>
        Effect.raceFirst(pump(first, second), Effect.raceFirst(withdraw(first, second), withdraw(second, first)))
      )
    )
  )

/** The reader of the other side would wait for bytes that nobody takes any more. */
const withdraw = (gone: DuplexStream, other: BiStream): Effect.Effect<never> =>
  gone.gone.pipe(Effect.andThen(other.stop(0)), Effect.andThen(Effect.never))
