/**
 * Who may call an operation, in a few words. The rules are a peer's where it describes its operations: printable, cut.
 */
import type { AccessControl } from "../protocol/call/AccessControl.ts"
import { printableShort } from "./Printable.ts"

export type AccessRules = Pick<
  AccessControl,
  "requiredScopes" | "requiredScopesAny" | "resourceType" | "resourceAction"
>

export const accessText = (rules: AccessRules): string => {
  const { requiredScopes: all, requiredScopesAny: any, resourceAction: action, resourceType: type } = rules
  const parts = [
    all.length === 0 ? "" : `${all.length === 1 ? "scope" : "scopes"} ${all.join(", ")}`,
    any === null ? "" : any.length === 0 ? "nobody" : any.length === 1 ? `scope ${any[0]}` : `one of ${any.join(", ")}`,
    type === null ? "" : `resource ${action === null ? type : `${type}/${action}`}`,
    type === null && action !== null ? `action ${action}` : ""
  ].filter(Boolean)
  return printableShort(parts.join(" and ") || "everybody let in")
}
