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
 * Where the resource is `owned`, the node may judge it by its owner instead: then the lines about resources are replaced by
 * the question whether this identity owns the thing that the input names (src/services/Ownership.ts), with the same messages.
 *
 * An empty `requiredScopesAny` is a restriction that nobody can meet. What a forwarder claims (`forwarded_for`) is no
 * parameter of the check (CALL-R73).
 */
import type { Schema } from "effect"
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
  /** Where the input names the resource: member names joined by dots; null where it does not. */
  readonly resourceIdPath: string | null
  /** Both rules hold. Where both name a resource or a choice of scopes, the argument's counts. */
  readonly and: (other: AccessControl) => AccessControl
}

/** A rule about a resource, which may say where the input names it. */
export interface ResourceAccess extends AccessControl {
  /**
   * `owned("container.id")`: the input names the resource there, with a string or a whole number. A node with an `Ownership`
   * asks it; others go on by what the identity holds.
   */
  readonly owned: (resourceIdPath: string) => AccessControl
}

const make = (rule: Omit<AccessControl, "and">): AccessControl => ({
  ...rule,
  and: (other) =>
    make({
      requiredScopes: [...new Set([...rule.requiredScopes, ...other.requiredScopes])],
      requiredScopesAny: other.requiredScopesAny ?? rule.requiredScopesAny,
      resourceType: other.resourceType ?? rule.resourceType,
      resourceAction: other.resourceAction ?? rule.resourceAction,
      // It belongs to the type that it stands beside.
      resourceIdPath: other.resourceType === null ? rule.resourceIdPath : other.resourceIdPath
    })
})

const unrestricted = {
  requiredScopes: [],
  requiredScopesAny: null,
  resourceType: null,
  resourceAction: null,
  resourceIdPath: null
}

export const AccessControl = {
  /** Everybody whom the handler's access lets in, anonymous callers too. */
  open: make(unrestricted),
  /** All of these scopes. */
  scopes: (...all: ReadonlyArray<string>): AccessControl => make({ ...unrestricted, requiredScopes: all }),
  /** One of these scopes. None at all: nobody. */
  anyScope: (...any: ReadonlyArray<string>): AccessControl => make({ ...unrestricted, requiredScopesAny: any }),
  /** A resource of this type, or the right to this action on it. */
  resource: (type: string, action?: string): ResourceAccess => {
    const rule = { ...unrestricted, resourceType: type, resourceAction: action ?? null }
    return { ...make(rule), owned: (resourceIdPath) => make({ ...rule, resourceIdPath }) }
  },
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
  return (
    scopeRefusalOf(access, who) ??
    (who === undefined || holdsResource(access, who) ? undefined : missingResource(access))
  )
}

/** The same without the lines about resources. */
export const scopeRefusalOf = (access: AccessControl, who: Rights | undefined): string | undefined => {
  if (isOpen(access)) return undefined
  if (who === undefined) return "authentication required"
  const missing = access.requiredScopes.find((scope) => !scopesMatch(who.scopes, scope))
  if (missing !== undefined) return `missing required scope: ${missing}`
  const any = access.requiredScopesAny
  return any === null || any.some((scope) => scopesMatch(who.scopes, scope))
    ? undefined
    : `missing required scope (any of: ${any.join(", ")})`
}

const holdsResource = ({ resourceAction, resourceType }: AccessControl, who: Rights): boolean => {
  if (resourceType === null) {
    return resourceAction === null || Object.values(who.resources).some((actions) => actions.includes(resourceAction))
  }
  const held = Object.hasOwn(who.resources, resourceType) ? who.resources[resourceType]! : []
  return resourceAction === null ? held.length > 0 : held.includes(resourceAction)
}

/** The message for somebody who lacks the resource. */
export const missingResource = ({ resourceAction, resourceType }: AccessControl): string => {
  if (resourceType === null) return `missing resource action: ${resourceAction}`
  return resourceAction === null
    ? `missing resource: ${resourceType}`
    : `missing resource: ${resourceType}/${resourceAction}`
}

export interface OwnerRule {
  readonly type: string
  readonly action: string | undefined
  readonly path: string
}

/** What an `Ownership` is asked about; undefined where it is not asked. */
export const ownerRuleOf = (access: AccessControl): OwnerRule | undefined => {
  const { resourceAction, resourceIdPath: path, resourceType: type } = access
  return type === null || path === null ? undefined : { type, action: resourceAction ?? undefined, path }
}

/** The id that an input names at a path of member names, never of a prototype; undefined where it names none. */
export const resourceIdAt = (input: unknown, path: string): string | undefined => {
  let value = input
  for (const member of path.split(".")) {
    if (typeof value !== "object" || value === null || Array.isArray(value) || !Object.hasOwn(value, member))
      return undefined
    value = (value as Schema.JsonObject)[member]
  }
  if (Number.isSafeInteger(value)) return String(value)
  return typeof value === "string" && value !== "" ? value : undefined
}
