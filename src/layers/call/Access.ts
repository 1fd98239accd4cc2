/**
 * Gate 7 for one operation: its access control, and where it is declared and there is an `Ownership`, whether the thing that
 * the input names belongs to whoever asks. One function for the gates and for composition.
 */

import type { Schema } from "effect"
import { type Effect, Exit } from "effect"
import {
  missingResource,
  ownerRuleOf,
  refusalOf,
  resourceIdAt,
  scopeRefusalOf
} from "../../protocol/call/AccessControl.ts"
import { type AnyInput, anyInput, type Registration } from "../../services/OperationRegistry.ts"
import type { Claimant } from "../../services/Ownership.ts"
import { goOn } from "./Eager.ts"

/**
 * Why somebody may not, or undefined where they may. Finished at once where nobody has to be asked.
 *
 * An absent input names nothing, so it is refused where an owner is asked for. `anyInput` is for listings: it passes where
 * some input may.
 */
export const accessRefusal = (
  registration: Pick<Registration, "operation" | "ownership">,
  who: Claimant | undefined,
  input: Schema.Json | AnyInput | undefined
): Effect.Effect<string | undefined> => {
  const { access } = registration.operation
  const rule = registration.ownership === undefined ? undefined : ownerRuleOf(access)
  if (rule === undefined) return Exit.succeed(refusalOf(access, who))
  const refusal = scopeRefusalOf(access, who)
  if (refusal !== undefined || input === anyInput) return Exit.succeed(refusal)
  const id = resourceIdAt(input, rule.path)
  if (who === undefined || id === undefined) return Exit.succeed(missingResource(access))
  return goOn(registration.ownership!.owns(who, rule.type, id, rule.action), (exit) =>
    Exit.map(exit, (owns) => (owns === true ? undefined : missingResource(access)))
  )
}
