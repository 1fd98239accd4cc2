/**
 * Joins two streams until both directions are over: what a forwarded connection is once both of its sides are there.
 * Half-close, resets and backpressure cross as in `pump`; a side that vanishes takes the other along.
 */
import type { Duplex } from "node:stream"
import { Effect } from "effect"
import type { BiStream } from "../../services/Transport.ts"
import { type Pumped, pump } from "../transport/adapters/pump.ts"
import { fromDuplex } from "./DuplexStream.ts"

/** A stream that may know that nobody takes what is written to it any more, before somebody writes. */
export interface Joinable extends BiStream {
  readonly gone?: Effect.Effect<void>
}

/** Whoever made the streams closes them. Never fails. */
export const joinStreams = (one: Joinable, other: Joinable): Effect.Effect<Pumped> =>
  Effect.raceFirst(pump(one, other), Effect.raceFirst(withdraw(one, other), withdraw(other, one)))

/** The same with a Duplex, which is destroyed when it completes. */
export const joinStream = (stream: Joinable, duplex: Duplex): Effect.Effect<Pumped> =>
  Effect.scoped(Effect.flatMap(fromDuplex(duplex), (end) => joinStreams(stream, end)))

/** The reader of the other side would wait for bytes that nobody takes any more. */
const withdraw = ({ gone = Effect.never }: Joinable, other: BiStream): Effect.Effect<never> =>
  gone.pipe(Effect.andThen(other.stop(0)), Effect.andThen(Effect.never))
