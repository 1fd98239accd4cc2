/**
 * Who may call an operation (call.md section 9). One pure function decides; the first line that applies is the answer:
 *
 * ```
 * no restriction at all                          -> allow, anonymous too
 * nobody                                         -> "authentication required"
 * some s of requiredScopes not covered           -> "missing required scope: <first such s>"
 * requiredScopesAny set, none of them covered    -> "missing required scope (any of: a, b)"
 * type and action: action not in resources[type] -> "missing resource: <type>/<action>"
 * type only: resources[type] absent or empty     -> "missing resource: <type>"
 * action only: in no list of resources           -> "missing resource action: <action>"
 * otherwise                                      -> allow
 * ```
 *
 * An empty `requiredScopesAny` is a restriction that nobody can meet. What a forwarder claims (`forwarded_for`) is no
 * parameter of the check (CALL-R73).
 */
import { scopesMatch } from "../identity/Scope.ts"

/** What the check reads of somebody: a principal, or the authority of a composing handler. */
export interface Rights {
  readonly scopes: ReadonlyArray<string>
  readonly resources: Readonly<Record<string, ReadonlyArray<string>>>
}

export interface AccessControl {
  /** All of them must be covered. */
  readonly requiredScopes: ReadonlyArray<string>
  /** One of them must be covered; null: no such rule. */
  readonly requiredScopesAny: ReadonlyArray<string> | null
  readonly resourceType: string | null
  readonly resourceAction: string | null
  /** Both rules hold. Where both name a resource or a choice of scopes, the argument's counts. */
  readonly and: (other: AccessControl) => AccessControl
}

const make = (rule: Omit<AccessControl, "and">): AccessControl => ({
  ...rule,
  and: (other) =>
    make({
      requiredScopes: [...new Set([...rule.requiredScopes, ...other.requiredScopes])],
      requiredScopesAny: other.requiredScopesAny ?? rule.requiredScopesAny,
      resourceType: other.resourceType ?? rule.resourceType,
      resourceAction: other.resourceAction ?? rule.resourceAction
    })
})

const unrestricted = { requiredScopes: [], requiredScopesAny: null, resourceType: null, resourceAction: null }

export const AccessControl = {
  /** Everybody whom the handler's access lets in, anonymous callers too. */
  open: make(unrestricted),
  /** All of these scopes. */
  scopes: (...all: ReadonlyArray<string>): AccessControl => make({ ...unrestricted, requiredScopes: all }),
  /** One of these scopes. None at all: nobody. */
  anyScope: (...any: ReadonlyArray<string>): AccessControl => make({ ...unrestricted, requiredScopesAny: any }),
  /** A resource of this type, or the right to this action on it. */
  resource: (type: string, action?: string): AccessControl =>
    make({ ...unrestricted, resourceType: type, resourceAction: action ?? null }),
  /** The right to this action on some resource. */
  resourceAction: (action: string): AccessControl => make({ ...unrestricted, resourceAction: action })
} as const

/** Whether nothing at all is asked. */
export const isOpen = (access: AccessControl): boolean =>
  access.requiredScopes.length === 0 &&
  access.requiredScopesAny === null &&
  access.resourceType === null &&
  access.resourceAction === null

/** Why somebody may not, or undefined where they may. */
export const refusalOf = (access: AccessControl, who: Rights | undefined): string | undefined => {
  if (isOpen(access)) return undefined
  if (who === undefined) return "authentication required"
  const missing = access.requiredScopes.find((scope) => !scopesMatch(who.scopes, scope))
  if (missing !== undefined) return `missing required scope: ${missing}`
  const any = access.requiredScopesAny
  if (any !== null && !any.some((scope) => scopesMatch(who.scopes, scope))) {
    return `missing required scope (any of: ${any.join(", ")})`
  }
  return missingResource(access, who)
}

const missingResource = ({ resourceAction, resourceType }: AccessControl, who: Rights): string | undefined => {
  if (resourceType !== null) {
    const held = Object.hasOwn(who.resources, resourceType) ? who.resources[resourceType]! : []
    if (resourceAction !== null) {
      return held.includes(resourceAction) ? undefined : `missing resource: ${resourceType}/${resourceAction}`
    }
    return held.length > 0 ? undefined : `missing resource: ${resourceType}`
  }
  if (resourceAction === null) return undefined
  const isHeld = Object.values(who.resources).some((actions) => actions.includes(resourceAction))
  return isHeld ? undefined : `missing resource action: ${resourceAction}`
}
