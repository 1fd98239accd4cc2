/**
 * The SSH sessions that run on this node now: who, what, since when; and a way to end one. For the person who runs the node
 * (`alknet status`, the web page), never for peers: it shows what they run. Layer: `layers/SshSessions.ts`.
 */
import { Context, type Effect, Schema, type Scope } from "effect"

export const SshSession = Schema.Struct({
  /** Local, short, unique while it runs. */
  id: Schema.String,
  /** The peer's name in the store. */
  peer: Schema.String,
  remote: Schema.optionalKey(Schema.String),
  /** Milliseconds since the epoch. */
  since: Schema.Finite,
  kind: Schema.Literals(["shell", "exec", "sftp"]),
  /** As the peer wrote it, cut at 256 characters; for `exec`. */
  command: Schema.optionalKey(Schema.String),
  /** From the peer, and to it. */
  bytesReceived: Schema.Finite,
  bytesSent: Schema.Finite,
  isRecorded: Schema.Boolean
})
export type SshSession = typeof SshSession.Type

/** What is known of a session when it starts. */
export type SshSessionStart = Omit<SshSession, "id" | "since" | "bytesReceived" | "bytesSent">

/** A session in the list; whoever runs it counts. */
export interface LiveSession {
  readonly id: string
  bytesReceived: number
  bytesSent: number
  /** Completes when somebody wants it to end. */
  readonly ending: Effect.Effect<void>
}

export class SshSessions extends Context.Service<
  SshSessions,
  {
    /** Lists a session until the scope closes. */
    readonly start: (session: SshSessionStart) => Effect.Effect<LiveSession, never, Scope.Scope>
    /** The oldest first. */
    readonly list: Effect.Effect<ReadonlyArray<SshSession>>
    /** Asks a session to end; false: there is none of this id. */
    readonly end: (id: string) => Effect.Effect<boolean>
  }
>()("alknet/SshSessions") {}
