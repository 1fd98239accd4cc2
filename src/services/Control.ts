/**
 * What a running node tells and does for other programs of the same user, over a socket in its home (protocol/Control.ts).
 *
 * It lends its endpoint and issues invites; it never gives out a key, and the vault cannot be reached through it
 * (VAULT-R01). Layers: `ControlServer` in the running process, `ControlClient` in the others.
 */
import { Context, type Effect, type Redacted, Schema } from "effect"
import type { InviteRequest } from "../protocol/Control.ts"
import { SshSession } from "./SshSessions.ts"

/** One live connection of the running node. */
export const ConnectionReport = Schema.Struct({
  id: Schema.String,
  alpn: Schema.String,
  side: Schema.Literals(["accepted", "dialed"]),
  transport: Schema.Literals(["quic", "tls", "memory"]),
  /** Node id of the other side; absent where it is anonymous. */
  peer: Schema.optionalKey(Schema.String),
  /** Name of that peer in the store. */
  name: Schema.optionalKey(Schema.String),
  remote: Schema.optionalKey(Schema.String),
  /** Milliseconds since the epoch. */
  since: Schema.Finite,
  bytesSent: Schema.Finite,
  bytesReceived: Schema.Finite,
  rttMillis: Schema.optionalKey(Schema.Finite)
})
export type ConnectionReport = typeof ConnectionReport.Type

export const ServedAlpn = Schema.Struct({ alpn: Schema.String, access: Schema.String, description: Schema.String })
export type ServedAlpn = typeof ServedAlpn.Type

export const NodeReport = Schema.Struct({
  /** `up` serves; `unlock` only lends its endpoint. */
  kind: Schema.Literals(["up", "unlock"]),
  pid: Schema.Int,
  version: Schema.String,
  nodeId: Schema.String,
  fingerprint: Schema.String,
  addresses: Schema.Array(Schema.String),
  /** A plain ticket: how to reach the node, no rights. */
  ticket: Schema.String,
  serves: Schema.Array(ServedAlpn),
  /** Milliseconds since the epoch. */
  startedAt: Schema.Finite,
  /** Resident memory of the process, in bytes. */
  memoryBytes: Schema.Finite,
  /** At most `CONNECTIONS_REPORTED_MAX`, the oldest first. */
  connections: Schema.Array(ConnectionReport),
  connectionCount: Schema.Int,
  /** Those who are logged in over SSH; at most `SESSIONS_REPORTED_MAX`, the oldest first. */
  sessions: Schema.optionalKey(Schema.Array(SshSession)),
  sessionCount: Schema.optionalKey(Schema.Int)
})
export type NodeReport = typeof NodeReport.Type

/** As many as fit into one answer. */
export const CONNECTIONS_REPORTED_MAX = 128
export const SESSIONS_REPORTED_MAX = 64

export class ControlError extends Schema.TaggedError<ControlError>()("ControlError", {
  /**
   * `NotRunning`: no process answers. `AlreadyRunning`: another one already does. `Insecure`: the socket is not ours alone.
   * `Protocol`: the other side speaks something else. `TooMany`: its limit is reached. `Refused`: it said no.
   */
  reason: Schema.Literals(["NotRunning", "AlreadyRunning", "Insecure", "Protocol", "TooMany", "Refused", "Io"]),
  path: Schema.String,
  hint: Schema.String
}) {
  override get message() {
    switch (this.reason) {
      case "NotRunning":
        return `no running node answers at ${this.path}`
      case "AlreadyRunning":
        return `a node of this home is already running (${this.path})`
      case "Insecure":
        return `the control socket ${this.path} is not only ours`
      default:
        return `control socket ${this.path}: ${this.reason}`
    }
  }
}

/** An invite that was issued. */
export interface Invited {
  readonly ticket: Redacted.Redacted<string>
  /** Unix seconds. */
  readonly expiresAt: number
}

export class Control extends Context.Service<
  Control,
  {
    readonly report: Effect.Effect<NodeReport, ControlError>
    /** Asks the process to end. Completes when it has agreed. */
    readonly stop: Effect.Effect<void, ControlError>
    readonly invite: (request: InviteRequest) => Effect.Effect<Invited, ControlError>
    /** Ends an SSH session of the report; `Refused` where there is none of this id. */
    readonly endSession: (id: string) => Effect.Effect<void, ControlError>
  }
>()("alknet/Control") {}
