/**
 * `--role` and `--scope`: what a peer, an invite or a key may do. A role is a name for a set of scopes and is expanded when
 * it is written, so the store knows scopes only (ID-R41).
 */
import { Effect, Option } from "effect"
import { Flag } from "effect/cli"
import { expandScopes, isPresetName, PRESETS, type PresetName } from "../protocol/identity/Presets.ts"
import { parseScopePattern } from "../protocol/identity/Scope.ts"

const names = Object.keys(PRESETS).filter(isPresetName)

export const roleFlag = Flag.Literals("role", names).pipe(
  Flag.withDescription("A set of scopes: admin (everything), user (calls, messages, files, git) or guest"),
  Flag.optional
)

export const scopeFlag = Flag.String("scope").pipe(
  Flag.withMetavar("<scope>"),
  Flag.withDescription("SERVICE:ACTION[:RESOURCE], * stands for anything; may be repeated"),
  Flag.between(0, 64)
)

/** The plain scopes that the two flags mean. */
export const scopesOf = (role: Option.Option<PresetName>, scopes: ReadonlyArray<string>) =>
  Effect.as(
    Effect.forEach(scopes, (scope) => Effect.fromResult(parseScopePattern(scope)), { discard: true }),
    expandScopes(Option.getOrUndefined(role), scopes)
  )

/** The roles whose scopes are all among these, without those that a larger one contains. */
export const rolesOf = (scopes: ReadonlyArray<string>): ReadonlyArray<PresetName> => {
  const held = new Set(scopes)
  const matching = names.filter((name) => PRESETS[name].every((scope) => held.has(scope)))
  const isInside = (inner: PresetName, outer: PresetName): boolean => {
    const wider: ReadonlySet<string> = new Set(PRESETS[outer])
    return inner !== outer && PRESETS[inner].every((scope) => wider.has(scope))
  }
  return matching.filter((name) => !matching.some((other) => isInside(name, other)))
}
