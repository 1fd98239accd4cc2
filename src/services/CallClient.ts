/**
 * Dials nodes and calls their operations (call.md section 17). The other node may call back over the same connection; what
 * it sees of us is the filter's decision: nothing but what is marked `remoteSafe`, unless the layer trusts its peers.
 */
import { Context, type Effect, type Redacted, type Scope } from "effect"
import type { CallConnection } from "./CallConnection.ts"
import type { CallCarrier } from "./Dispatcher.ts"
import type { DialTarget } from "./Endpoint.ts"
import type { RemoteFilter } from "./RemoteFilter.ts"
import type { DialError } from "./Transport.ts"

export interface ConnectOptions {
  /** Sent with every request that names no token of its own. */
  readonly authToken?: Redacted.Redacted<string>
  /** `perCall`: a stream for each call, for peers that serve a stream one request at a time. Default `shared`. */
  readonly streams?: "shared" | "perCall"
}

export class CallClient extends Context.Service<
  CallClient,
  {
    readonly filterMode: RemoteFilter["Service"]["mode"]
    /** A connection of the caller's own, closed with its scope. A refusal by the other node shows as its close. */
    readonly connect: (
      target: DialTarget,
      options?: ConnectOptions
    ) => Effect.Effect<CallConnection["Service"], DialError, Scope.Scope>
    /** The same over a carrier that exists already. */
    readonly attach: (
      carrier: CallCarrier,
      options?: ConnectOptions
    ) => Effect.Effect<CallConnection["Service"], never, Scope.Scope>
  }
>()("alknet/CallClient") {}
