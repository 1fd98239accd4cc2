/** Who is measured, and at what: a workload is only given to candidates that have what it needs. */
export type Ability =
  | "streams"
  | "calls"
  | "denied"
  | "items"
  | "held"
  /** A server that passes its calls on to another one. */
  | "hub"
  | "imports"
  | "composed"

const CALLS: ReadonlyArray<Ability> = ["calls", "denied", "items", "held", "hub"]

export const candidates: Record<string, ReadonlyArray<Ability>> = {
  alknet: ["streams", ...CALLS, "imports", "composed"],
  "alknet-tls": [...CALLS, "imports", "composed"],
  grpc: ["streams", ...CALLS],
  connect: CALLS,
  trpc: CALLS,
  effectrpc: CALLS,
  http2: ["streams", "calls"],
  iroh: ["streams"],
  matrix: ["streams"],
  // Parts of ours, for whoever looks for where the time goes.
  transport: ["streams"],
  driver: ["streams"]
}

export const DEFAULT_CANDIDATES = "alknet,alknet-tls,grpc,connect,trpc,effectrpc,http2,iroh,matrix"
