/**
 * The forwarding policy of a node: scopes of the peer and rules of the node, and both must say yes.
 *
 * `connect` asks for the scope `ssh:forward:<host>:<port>` first, with the host as it was asked, so that who may not go there
 * causes no look-up. Then the name is resolved once, each address is judged by the rules, and only those that passed are
 * returned: what is dialed is what was judged, whatever the name means a moment later.
 *
 * Rules are about where to connect to. Listening (`ssh:listen:<address>:<port>`) and sockets of the machine
 * (`ssh:socket:<path>`) are decided by scopes alone.
 */
import { lookup } from "node:dns"
import { Duration, Effect, Layer, Result } from "effect"
import { addressBytes } from "../protocol/forward/AddressClass.ts"
import { type ForwardRule, isForwardAllowed } from "../protocol/forward/ForwardRule.ts"
import { isHostName, plainHost } from "../protocol/forward/HostName.ts"
import { makeScope, scopesMatch } from "../protocol/identity/Scope.ts"
import { ForwardDenied, ForwardPolicy, type ForwardTarget } from "../services/ForwardPolicy.ts"
import type { Principal } from "../services/Identity.ts"

/** Addresses of one name that are judged; the rest is left out. */
export const FORWARD_ADDRESSES_MAX = 8

/** How long a name may take. */
const LOOKUP_WITHIN = Duration.seconds(5)

export interface ForwardPolicyOptions {
  /** In order; the first that matches decides. None: nobody connects anywhere. */
  readonly rules: ReadonlyArray<ForwardRule>
  /** The addresses of a name, best first; empty where it has none. Default: the resolver of the system. */
  readonly lookup?: (name: string) => Effect.Effect<ReadonlyArray<string>>
}

const denied = new ForwardDenied({ reason: "Policy" })
const unresolved = new ForwardDenied({ reason: "Unresolved" })

const holds = (who: Principal | undefined, action: string, ...values: ReadonlyArray<string>): boolean => {
  const requirement = makeScope("ssh", action, ...values)
  return who !== undefined && Result.isSuccess(requirement) && scopesMatch(who.scopes, requirement.success)
}

const systemLookup = (name: string): Effect.Effect<ReadonlyArray<string>> =>
  Effect.callback((resume) => {
    lookup(name, { all: true, order: "verbatim" }, (error, found) =>
      resume(Effect.succeed(error === null ? found.map(({ address }) => address) : []))
    )
  })

export const layer = (options: ForwardPolicyOptions): Layer.Layer<ForwardPolicy> => {
  const { rules, lookup = systemLookup } = options

  const addressesOf = (host: string): Effect.Effect<ReadonlyArray<string>> => {
    if (addressBytes(host) !== undefined) return Effect.succeed([host])
    if (!isHostName(host)) return Effect.succeed([])
    return Effect.timeoutOrElse(lookup(host), { duration: LOOKUP_WITHIN, orElse: () => Effect.succeed([]) })
  }

  const connect = Effect.fn("ForwardPolicy.connect")(function* (who: Principal | undefined, target: ForwardTarget) {
    const { port } = target
    const host = plainHost(target.host)
    if (who === undefined || rules.length === 0 || !holds(who, "forward", host, String(port))) return yield* denied
    const addresses = (yield* addressesOf(host)).slice(0, FORWARD_ADDRESSES_MAX)
    if (addresses.length === 0) return yield* unresolved
    const question = { host, port, peerId: who.id, holds: (scope: string) => scopesMatch(who.scopes, scope) }
    const allowed = addresses.filter((address) => isForwardAllowed(rules, { ...question, address }))
    if (allowed.length === 0) return yield* denied
    return allowed.map((address) => ({ host: address, port }))
  })

  return Layer.succeed(
    ForwardPolicy,
    ForwardPolicy.of({
      connect,
      listen: (who, at) =>
        holds(who, "listen", plainHost(at.host), String(at.port)) ? Effect.void : Effect.fail(denied),
      socket: (who, path) => (holds(who, "socket", path) ? Effect.void : Effect.fail(denied))
    })
  )
}
