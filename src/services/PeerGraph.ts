/**
 * The peers whose imported operations are composable in this node, by peer id, in the order in which they came (call.md
 * section 13). Optional: without it an overlay serves the requests of its own connection only.
 */
import { Context, type Effect, type Scope } from "effect"
import type { ImportOverlay } from "./ImportOverlay.ts"

export interface AttachedPeer {
  /** Stable over key rotation and reconnects. */
  readonly peerId: string
  readonly overlay: ImportOverlay
}

export class PeerGraph extends Context.Service<
  PeerGraph,
  {
    /**
     * For the life of the scope. A peer that is there already gets the new overlay and keeps its position; the end of the
     * replaced one leaves it.
     */
    readonly attach: (peer: AttachedPeer) => Effect.Effect<void, never, Scope.Scope>
    /** Read now, in attach order. */
    readonly peers: () => ReadonlyArray<AttachedPeer>
    readonly find: (peerId: string) => AttachedPeer | undefined
  }
>()("alknet/PeerGraph") {}
