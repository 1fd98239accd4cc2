/** The QUIC thread, and a way to do it harm: what a `BroadcastChannel` says happens in it. */
import { pbkdf2Sync } from "node:crypto"
import { BroadcastChannel } from "node:worker_threads"
import { CHANNEL, type Harm } from "./Harm.ts"
import "../../../../../src/layers/transport/quic/worker/QuicThread.ts"

const harms: Record<Harm, () => void> = {
  exit: () => process.exit(1),
  throw: () => {
    throw new Error("a failure of the thread")
  },
  loop: () => {
    for (;;);
  },
  memory: () => {
    const kept: Array<unknown> = []
    for (;;) kept.push(Array.from({ length: 10_000 }, (_, index) => ({ index })))
  },
  native: () => {
    pbkdf2Sync("", "", 6_000_000, 64, "sha512")
  }
}

const channel = new BroadcastChannel(CHANNEL)
channel.onmessage = (event: unknown) => {
  const { data } = event as { readonly data: Harm }
  harms[data]()
}
