/**
 * Rules of forwarding as the config file has them (`forward.rules`): tables, or texts where a rule is for everybody.
 *
 * ```toml
 * [forward]
 * rules = [
 *   { deny = "*:25" },
 *   { allow = "10.0.0.0/8:22", peers = ["laptop"] },
 *   { allow = "127.0.0.1:5432", scopes = ["ssh:forward:127.0.0.1:5432"] },
 *   "allow *:443"
 * ]
 * ```
 */
import { Result, Schema } from "effect"
import { parseScopeRequirement } from "../identity/Scope.ts"
import { type ForwardRule, parseForwardTarget } from "./ForwardRule.ts"

/** Rules of one node. */
export const FORWARD_RULES_MAX = 256

const Target = Schema.String.check(
  Schema.makeFilter((text) =>
    Result.match(parseForwardTarget(text), { onSuccess: () => true, onFailure: (problem) => problem })
  )
)
const ScopeText = Schema.String.check(
  Schema.makeFilter(
    (text) => Result.isSuccess(parseScopeRequirement(text)) || "write a scope without *, such as ssh:shell"
  )
)
const Names = <S extends Schema.Codec<string>>(item: S) => Schema.Array(item).check(Schema.isMaxLength(64))

const RuleTable = Schema.Struct({
  allow: Schema.optionalKey(Target),
  deny: Schema.optionalKey(Target),
  peers: Schema.optionalKey(Names(Schema.String)),
  scopes: Schema.optionalKey(Names(ScopeText))
}).check(
  Schema.makeFilter(
    ({ allow, deny }) => (allow === undefined) !== (deny === undefined) || "a rule has either allow or deny"
  )
)

const RuleText = Schema.String.check(
  Schema.makeFilter((text) => {
    const rule = parseRuleText(text)
    return Result.isSuccess(rule) || rule.failure
  })
)

export const ForwardRuleEntry = Schema.Union([RuleText, RuleTable])
export type ForwardRuleEntry = typeof ForwardRuleEntry.Type

const parseRuleText = (text: string): Result.Result<ForwardRule, string> => {
  const [, verdict, target] = /^(allow|deny) +(\S+)$/.exec(text) ?? []
  if (target === undefined) return Result.fail('write "allow TARGET" or "deny TARGET"')
  return Result.map(parseForwardTarget(target), (parsed) => ({
    verdict: verdict === "allow" ? "allow" : "deny",
    peers: undefined,
    scopes: undefined,
    ...parsed
  }))
}

/** The rule of an entry; a failure, which an entry that was decoded cannot have, is what is wrong with it. */
export const toForwardRule = (entry: ForwardRuleEntry): Result.Result<ForwardRule, string> => {
  if (typeof entry === "string") return parseRuleText(entry)
  const { allow, deny, peers, scopes } = entry
  return Result.map(parseForwardTarget(allow ?? deny ?? ""), (parsed) => ({
    verdict: allow === undefined ? "deny" : "allow",
    peers,
    scopes,
    ...parsed
  }))
}
