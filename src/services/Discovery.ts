/**
 * Node id -> addresses. What it says is a hint: a dial is pinned by key, so a wrong address costs time and nothing else.
 */
import { Context, type Effect } from "effect"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"

export class Discovery extends Context.Service<
  Discovery,
  {
    /** Addresses worth trying, best first, at most 16; empty where nothing is known. */
    readonly lookup: (nodeId: NodeId) => Effect.Effect<ReadonlyArray<SocketAddress>>
    /** A connection with this node exists; `address` is where it was dialed, undefined where it dialed us. */
    readonly reached: (nodeId: NodeId, address: SocketAddress | undefined) => Effect.Effect<void>
  }
>()("alknet/Discovery") {}
