import { assert, describe, it } from "@effect/vitest"
import { Result, Schema } from "effect"
import { parse } from "effect/encoding/Toml"
import { ForwardRuleEntry, toForwardRule } from "../../../src/protocol/forward/RuleEntry.ts"

const decode = Schema.decodeUnknownResult(Schema.Array(ForwardRuleEntry), { onExcessProperty: "error" })

const rulesOf = (toml: string) =>
  Result.getOrThrow(decode(Reflect.get(Object(Result.getOrThrow(parse(toml))), "rules"))).map((entry) =>
    Result.getOrThrow(toForwardRule(entry))
  )

describe("rules in the config", () => {
  it("are tables, or texts", () => {
    const rules = rulesOf(`rules = [
      "deny *:25",
      { allow = "10.0.0.0/8:22-23", peers = ["laptop"] },
      { allow = "[::1]:*", scopes = ["ssh:shell"] },
      "allow *.example.com:443"
    ]`)
    assert.deepStrictEqual(
      rules.map(({ host, peers, ports, scopes, verdict }) => [
        verdict,
        host._tag,
        ports.first,
        ports.last,
        peers,
        scopes
      ]),
      [
        ["deny", "Every", 25, 25, undefined, undefined],
        ["allow", "Block", 22, 23, ["laptop"], undefined],
        ["allow", "Block", 1, 65_535, undefined, ["ssh:shell"]],
        ["allow", "Name", 443, 443, undefined, undefined]
      ]
    )
  })

  it.each([
    '"allow"',
    '"permit *:1"',
    '"allow *:0"',
    '"allow a:1 b:2"',
    "{}",
    '{ allow = "*:1", deny = "*:2" }',
    '{ allow = "*" }',
    '{ allow = "*:1", peer = ["x"] }',
    '{ allow = "*:1", scopes = ["ssh:*"] }',
    "1"
  ])("are not %s", (entry) => {
    assert.throws(() => rulesOf(`rules = [${entry}]`))
  })
})
