/**
 * ALPN -> handler. A handler registers itself for the life of a scope; the router checks who may use it before one line
 * of its code runs, runs each connection in a supervised fiber of its own, and closes what is left when the handler goes
 * (transport.md section 5, architecture.md section 5).
 *
 * A failure or defect in a handler ends its connection with `HandlerFailed` and an incident id, and nothing else. A peer
 * that may not use an ALPN is closed exactly like one that asks for an ALPN that is not served: `NoHandler`, no reason.
 */
import { Context, type Duration, type Effect, Schema, type Scope } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import type { AuthContext } from "./Identity.ts"
import type { Connection, OfferedAlpns } from "./Transport.ts"

/**
 * Who may use an ALPN. There is no default.
 *
 * `anonymous`: everybody, also without a certificate; the handler decides for itself. `known-peer`: an enabled entry of
 * the peer store. `{ scope }`: an enabled peer that holds a pattern covering this requirement.
 */
export type Access = "anonymous" | "known-peer" | { readonly scope: string }

export interface Registration {
  readonly alpn: Alpn
  readonly access: Access
  /**
   * Serves one connection until it ends; the scope is the connection's. Returning closes the connection with `NoError`.
   *
   * `draining` completes when the handler or the node goes away: finish what is in flight, take nothing new, return. What
   * goes on after the drain time is closed with `Draining`.
   */
  readonly accept: (
    connection: Connection,
    auth: AuthContext,
    draining: Effect.Effect<void>
  ) => Effect.Effect<void, unknown, Scope.Scope>
  /** How long live connections may go on after the registration's scope closed. Default 2 s. */
  readonly drainTimeout?: Duration.Input
  /** One line for people: what it serves. */
  readonly description?: string
}

export class AlpnTaken extends Schema.TaggedError<AlpnTaken>()("AlpnTaken", { alpn: Schema.String }) {
  override get message() {
    return `another handler already serves ${this.alpn}`
  }
}

export class Router extends Context.Service<
  Router,
  {
    /** Offers the ALPN until the scope closes; live connections then drain and are closed with `Draining`. */
    readonly register: (registration: Registration) => Effect.Effect<void, AlpnTaken, Scope.Scope>
    /** What a new handshake may choose now. */
    readonly offered: OfferedAlpns
    /** What is registered now, in order of registration. */
    readonly registrations: Effect.Effect<ReadonlyArray<Registration>>
    /** Runs an accepted connection to its end. Never fails. */
    readonly serve: (connection: Connection) => Effect.Effect<void>
    /** Turns new connections away, asks the live ones to end, waits at most the given time, and closes what is left. */
    readonly drain: (timeout: Duration.Input) => Effect.Effect<void>
  }
>()("alknet/Router") {}
