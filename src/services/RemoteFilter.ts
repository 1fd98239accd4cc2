/**
 * Which operations a remote peer may even see (call.md section 8). Asked once for each incoming request, before identity,
 * input and capabilities, and by discovery, so that what is listed and what is dispatched can never differ.
 *
 * A refused operation is answered exactly like one that does not exist. The filter judges by the connection's peer: what a
 * request brings along (input, token, `forwarded_for`) can not make a hidden operation visible. A filter that fails says no.
 */
import { Context, Effect, Layer } from "effect"
import type { OperationSpec } from "../protocol/call/OperationSpec.ts"
import type { PeerKey } from "../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import type { Principal } from "./Identity.ts"
import type { Provenance } from "./Operation.ts"

/** What is known of a call connection, whatever carries it. */
export interface ConnectionInfo {
  /** Local, for logs. */
  readonly id: string
  readonly side: "accepted" | "dialed"
  /** What carries it; `local` for a gateway inside this node. */
  readonly carrier: "quic" | "tls" | "memory" | "websocket" | "local"
  readonly remoteAddress: SocketAddress | undefined
}

export interface RemoteQuestion {
  readonly operation: OperationSpec
  readonly registration: { readonly provenance: Provenance; readonly remoteSafe: boolean }
  readonly peer: {
    /** The key proven in the handshake. */
    readonly key: PeerKey | undefined
    /** What that key (or the carrier's bearer token) resolves to now; never what a token of the request says. */
    readonly identity: Principal | undefined
  }
  readonly connection: ConnectionInfo
}

export class RemoteFilter extends Context.Service<
  RemoteFilter,
  {
    readonly mode: "default-deny" | "trusted" | "policy"
    readonly allows: (question: RemoteQuestion) => Effect.Effect<boolean>
  }
>()("alknet/RemoteFilter") {
  /** Only registrations that are marked `remoteSafe`. What a dialing node uses. */
  static readonly layerDefaultDeny = Layer.succeed(
    this,
    this.of({ mode: "default-deny", allows: (question) => Effect.succeed(question.registration.remoteSafe) })
  )

  /** Everything that is external. A trust decision: it hands this node's capabilities to the peer's calls. */
  static readonly layerTrusted = Layer.succeed(this, this.of({ mode: "trusted", allows: () => Effect.succeed(true) }))

  /** Asks `allows` for every request and every listing; it reads memory only. */
  static readonly layerPolicy = (
    allows: (question: RemoteQuestion) => Effect.Effect<boolean>
  ): Layer.Layer<RemoteFilter> => Layer.succeed(RemoteFilter, RemoteFilter.of({ mode: "policy", allows }))
}
