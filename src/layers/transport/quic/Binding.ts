/**
 * The native quiche binding of `@matrixai/quic`: loaded when it is first needed, and its errors as values.
 *
 * Only the native part of that package is used. It exists for linux-x64 (glibc 2.34 or newer), macOS and win-x64; elsewhere
 * loading fails and the transport answers `Unsupported`. It throws plain strings as errors (`StreamReset(7)`), which
 * `streamFailureOf` reads.
 */
import type { Quiche } from "@matrixai/quic/native/quiche.js"
import type { Config, Connection, Header } from "@matrixai/quic/native/types.js"

export type { Quiche }
export type QuicheConfig = Config
export type QuicheConnection = Connection
export type QuicheHeader = Header

let loading: Promise<Quiche> | undefined

/** Loads the binding once; rejects where the platform has none. */
export const loadBinding = (): Promise<Quiche> => {
  loading ??= import("@matrixai/quic/native/quiche.js").then((module) => module.default)
  return loading
}

/** `streamShutdown` directions of the binding. */
export const SHUTDOWN_READ = 0
export const SHUTDOWN_WRITE = 1

/** Type of a long header packet as `Header.fromSlice` gives it. */
export const PACKET_INITIAL = 0

/** What an exception of the binding means for the stream on which it was thrown. */
export type StreamFailure =
  /** The peer reset the direction that we read (`reset`), or stopped the one that we write (`stopped`). */
  | { readonly kind: "reset" | "stopped"; readonly code: number }
  /** Nothing to read or no room to write now. */
  | { readonly kind: "done" }
  /** The peer's limit of concurrent streams is reached. */
  | { readonly kind: "limit" }
  /** Anything else: the stream does not exist any more, or the stack is in a state in which it cannot serve us. */
  | { readonly kind: "broken"; readonly code: 0 }

const DONE: StreamFailure = { kind: "done" }
const LIMIT: StreamFailure = { kind: "limit" }
const BROKEN: StreamFailure = { kind: "broken", code: 0 }

/** Reads what the binding threw. Codes go up to 2^62-1; above 2^53-1 they are rounded. */
export const streamFailureOf = (thrown: unknown): StreamFailure => {
  const text = thrown instanceof Error ? thrown.message : String(thrown)
  if (text === "Done") return DONE
  if (text === "StreamLimit") return LIMIT
  const match = /^Stream(Reset|Stopped)\((\d{1,19})\)$/.exec(text)
  if (match === null) return BROKEN
  return { kind: match[1] === "Reset" ? "reset" : "stopped", code: Number(match[2]) }
}
