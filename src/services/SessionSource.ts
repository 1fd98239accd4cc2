/**
 * Operations that belong to one session and not to the node: asked once for each request, for composition only, always
 * internal (call.md section 11). Optional.
 */
import { Context, type Effect } from "effect"
import type { OperationContext } from "./OperationContext.ts"
import type { Registration } from "./OperationRegistry.ts"

export interface SessionOverlay {
  readonly get: (name: string) => Registration | undefined
}

export class SessionSource extends Context.Service<
  SessionSource,
  {
    /** The overlay for a request from outside; undefined for none. A failure counts as none. */
    readonly overlay: (
      request: Pick<OperationContext["Service"], "identity" | "requestId" | "view">
    ) => Effect.Effect<SessionOverlay | undefined>
  }
>()("alknet/SessionSource") {}
