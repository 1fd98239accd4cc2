/** What the cases do to the QUIC thread, and where it is said. */
export const CHANNEL = "alknet-test-disturb"

/** `native` blocks inside native code, where a thread cannot be ended, for some seconds. */
export type Harm = "exit" | "throw" | "loop" | "memory" | "native"
