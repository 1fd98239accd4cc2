/**
 * Who calls, for each request anew (call.md section 9): the connection identity, and what a request's token makes of it.
 *
 * A valid token replaces the identity for its one request. A token that resolves to nobody leaves the connection identity in
 * force and is counted; the fifth ends the connection (CALL-R71).
 */
import { Effect, Exit, Option, Redacted } from "effect"
import { isToken, tokenPrefix } from "../../protocol/identity/Token.ts"
import type { AuditLog } from "../../services/AuditLog.ts"
import type { Identity, Principal } from "../../services/Identity.ts"
import type { CallerView } from "../../services/OperationRegistry.ts"
import type { RemoteFilter } from "../../services/RemoteFilter.ts"
import { attempt, goOn } from "./Eager.ts"
import type { SessionCarrier } from "./SessionCarrier.ts"

/** Rejected tokens after which a connection is closed. */
export const REJECTED_TOKENS_MAX = 5

export interface CallIdentityOptions {
  readonly identity: Identity["Service"]
  readonly audit: AuditLog["Service"] | undefined
  readonly carrier: Pick<SessionCarrier, "info" | "peer" | "identify">
  /** The identity of the connection when it began. */
  readonly atAccept: Principal | undefined
  readonly filter: RemoteFilter["Service"]
  /** Somebody known stands at the other side, so larger limits apply from now on. */
  readonly proven: () => void
  /** Too many tokens were wrong. */
  readonly tooManyRejections: () => void
}

type Resolved = Exit.Exit<Principal | undefined>

export class CallIdentity {
  readonly #options: CallIdentityOptions
  #rejected = 0

  constructor(options: CallIdentityOptions) {
    this.#options = options
  }

  /** The identity of the connection as of now. */
  readonly connection: Effect.Effect<Principal | undefined> = Effect.suspend(() => this.#resolve())

  /** What the gates may look at for one request. Never fails; a look-up that broke breaks at gate 6. */
  view(token: string | undefined): Effect.Effect<CallerView> {
    return goOn(this.#resolve(), (resolved) => Effect.succeed(this.#viewOf(resolved, token)))
  }

  #viewOf(resolved: Resolved, token: string | undefined): CallerView {
    const { carrier, filter } = this.#options
    return {
      filter,
      peer: { key: carrier.peer, identity: Exit.isSuccess(resolved) ? resolved.value : undefined },
      connection: carrier.info,
      caller: token === undefined ? resolved : this.#byToken(token, resolved)
    }
  }

  #resolve(): Effect.Effect<Principal | undefined> {
    const { atAccept, carrier } = this.#options
    return goOn(
      attempt(() => carrier.identify(atAccept)),
      (exit): Effect.Effect<Principal | undefined> => {
        // Without a token nothing can be rejected.
        if (Exit.isFailure(exit)) return Effect.orDie(Effect.failCause(exit.cause))
        const principal = Option.getOrUndefined(exit.value)
        if (principal !== undefined) this.#options.proven()
        return Effect.succeed(principal)
      }
    )
  }

  #byToken(token: string, connection: Resolved): Effect.Effect<Principal | undefined> {
    const { carrier, identity, proven } = this.#options
    return Effect.suspend(() =>
      Effect.flatMap(identity.resolveFromToken(Redacted.make(token), carrier.peer), (found) => {
        if (Option.isNone(found)) return Effect.andThen(this.#reject(token), connection)
        proven()
        return Effect.succeed(found.value)
      })
    )
  }

  #reject(token: string): Effect.Effect<void> {
    return Effect.suspend(() => {
      const { audit, carrier, tooManyRejections } = this.#options
      this.#rejected++
      if (this.#rejected === REJECTED_TOKENS_MAX) tooManyRejections()
      if (audit === undefined) return Effect.void
      return audit.record({
        event: "auth.reject",
        conn: carrier.info.id,
        remote: carrier.info.remoteAddress,
        method: "token",
        credential: credentialOf(token),
        reason: "unknown"
      })
    })
  }
}

/** The public prefix of what looks like a token; of anything else nothing is shown. */
const credentialOf = (token: string): string => (isToken(token) ? tokenPrefix(token) : "-")
