/**
 * Nodes that are called again and again: one connection to each, shared by all who use it, kept up while somebody does.
 *
 * When the connection ends it is dialed again, after a wait that grows while dialing fails. Nothing is repeated and nothing
 * waits: a call while there is no connection fails at once with `INTERNAL` `connection closed`, like those that were in
 * flight when it ended. Who wants to wait uses `CallPeer.connected`.
 */
import { Context, type Effect, type Layer, type Stream } from "effect"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import type { CallConnection } from "./CallConnection.ts"
import type { DialTarget } from "./Endpoint.ts"

export type PeerState =
  | { readonly _tag: "Dialing" }
  | { readonly _tag: "Connected"; readonly connection: CallConnection["Service"] }
  /** Dialed again at this time, in milliseconds since the epoch. */
  | { readonly _tag: "Waiting"; readonly until: number; readonly why: string }

/** How the connection to one peer is doing. */
export class CallPeer extends Context.Service<
  CallPeer,
  {
    readonly nodeId: NodeId
    readonly state: Effect.Effect<PeerState>
    /** The state as it is, then each new one. */
    readonly changes: Stream.Stream<PeerState>
    /** The connection that there is, or the next one. It stays the same while it lasts, and is closed for good afterwards. */
    readonly connected: Effect.Effect<CallConnection["Service"]>
  }
>()("alknet/CallPeer") {}

export class CallPeers extends Context.Service<
  CallPeers,
  {
    /**
     * The peer of this key, for the scope in which the layer is built. All who use it at a time share one connection; it is
     * closed when nobody has used it for a while.
     *
     * The `CallConnection` outlives the connections that it stands for: its calls go over the one there is, `close` ends
     * that one and so has it dialed again, `closed` completes when the peer was released. Building waits for the first
     * attempt to connect and does not fail with it.
     *
     * Addresses that come with a target are kept for this peer until it is released; the newest are used.
     */
    readonly get: (peer: NodeId | DialTarget) => Layer.Layer<CallConnection | CallPeer>
  }
>()("alknet/CallPeers") {}
