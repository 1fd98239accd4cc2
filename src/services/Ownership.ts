/**
 * Whether somebody owns one thing: this container, that file. Optional, and asked only for operations whose declaration says
 * where the input names the thing (`AccessControl.resource("container", "exec").owned("container.id")`).
 *
 * There the answer takes the place of what the identity holds for all things of the type; scopes are asked before, as
 * always. Without this service such an operation is judged by what the identity holds, like every other.
 *
 * The id is read from the input as it came, before its Schema: give the member a Schema that takes it as it is. An input
 * without the id is refused like one whose thing belongs to somebody else.
 */
import { Context, type Effect } from "effect"
import type { Rights } from "../protocol/call/AccessControl.ts"

/** Who asks: a caller, or the authority of a composing handler. */
export interface Claimant extends Rights {
  readonly id: string
}

export class Ownership extends Context.Service<
  Ownership,
  {
    /** Asked for every such request. What fails here answers `INTERNAL`, and nothing runs. */
    readonly owns: (
      claimant: Claimant,
      resourceType: string,
      id: string,
      /** Undefined where the operation asks for the type only. */
      action: string | undefined
    ) => Effect.Effect<boolean>
  }
>()("alknet/Ownership") {}
