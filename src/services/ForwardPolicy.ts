/**
 * Where a peer may connect to through this node, and where it may listen (ssh.md section 4). Ordered rules; the first that
 * matches decides, and where none does the answer is no.
 *
 * Names are resolved here, every address is judged, and the address that was judged is the one to dial, so that a name
 * cannot mean another address a moment later. Loopback, link-local and private addresses need a rule that names them.
 * No destination is ever logged.
 */
import { Context, type Effect, Schema } from "effect"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import type { Principal } from "./Identity.ts"

export class ForwardDenied extends Schema.TaggedError<ForwardDenied>()("ForwardDenied", {
  /** `Policy`: a rule, or none, says no. `Unresolved`: the name has no address. */
  reason: Schema.Literals(["Policy", "Unresolved"])
}) {}

/** A host as it was asked (name or address) and a port. */
export interface ForwardTarget {
  readonly host: string
  readonly port: number
}

export class ForwardPolicy extends Context.Service<
  ForwardPolicy,
  {
    /** The addresses to dial, best first. */
    readonly connect: (
      who: Principal | undefined,
      target: ForwardTarget
    ) => Effect.Effect<ReadonlyArray<SocketAddress>, ForwardDenied>
    /** Whether a peer may listen there for this node. */
    readonly listen: (who: Principal | undefined, at: ForwardTarget) => Effect.Effect<void, ForwardDenied>
    /** Whether a peer may connect to this socket of the machine; the path is absolute and normalised. */
    readonly socket: (who: Principal | undefined, path: string) => Effect.Effect<void, ForwardDenied>
  }
>()("alknet/ForwardPolicy") {}
