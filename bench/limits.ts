import type { QuicLimits } from "../src/layers/transport/quic/Limits.ts"

/** One client that connects as fast as it can is what the limits are there to stop. */
export const UNBOUNDED: Partial<QuicLimits> = {
  newPerSecond: 1_000_000,
  newPerSecondWithRetry: 1_000_000,
  connectionsPerPeer: 100_000,
  connections: 100_000
}
