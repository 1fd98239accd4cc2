import { assert, describe, it } from "@effect/vitest"
import { AccessControl, refusalOf } from "../../../src/protocol/call/AccessControl.ts"

const who = (scopes: ReadonlyArray<string>, resources: Readonly<Record<string, ReadonlyArray<string>>> = {}) => ({
  scopes,
  resources
})

describe("access control", () => {
  it("CALL-073 no restriction lets everybody in; anonymous callers meet `authentication required` at every other", () => {
    assert.isUndefined(refusalOf(AccessControl.open, undefined))
    for (const access of [
      AccessControl.scopes("a:b"),
      AccessControl.anyScope("a:b"),
      AccessControl.anyScope(),
      AccessControl.resource("repo"),
      AccessControl.resource("repo", "read"),
      AccessControl.resourceAction("read")
    ]) {
      assert.strictEqual(refusalOf(access, undefined), "authentication required")
    }
  })

  it("CALL-074 requiredScopes is AND, requiredScopesAny is OR, patterns cover, and the messages are as written", () => {
    const both = AccessControl.scopes("a:read", "b:write")
    assert.strictEqual(refusalOf(both, who(["a:*"])), "missing required scope: b:write")
    assert.strictEqual(refusalOf(both, who([])), "missing required scope: a:read")
    assert.isUndefined(refusalOf(both, who(["a:*", "b:write"])))
    const either = AccessControl.anyScope("a:read", "b:write")
    assert.isUndefined(refusalOf(either, who(["b:*"])))
    assert.strictEqual(refusalOf(either, who(["c"])), "missing required scope (any of: a:read, b:write)")
    assert.strictEqual(refusalOf(AccessControl.anyScope(), who(["*"])), "missing required scope (any of: )")
  })

  it("CALL-074 resources: type and action, type only, action only, combined with scopes", () => {
    const typed = AccessControl.resource("repo", "read")
    assert.strictEqual(refusalOf(typed, who(["*"], { repo: ["write"] })), "missing resource: repo/read")
    assert.isUndefined(refusalOf(typed, who([], { repo: ["read"] })))
    const any = AccessControl.resource("repo")
    assert.strictEqual(refusalOf(any, who([], { repo: [] })), "missing resource: repo")
    assert.strictEqual(refusalOf(any, who([], { other: ["x"] })), "missing resource: repo")
    assert.strictEqual(refusalOf(AccessControl.resource("constructor"), who([])), "missing resource: constructor")
    assert.isUndefined(refusalOf(any, who([], { repo: ["x"] })))
    const action = AccessControl.resourceAction("admin")
    assert.strictEqual(refusalOf(action, who([], { repo: ["read"] })), "missing resource action: admin")
    assert.isUndefined(refusalOf(action, who([], { repo: ["read"], site: ["admin"] })))
    const combined = AccessControl.scopes("a:b").and(typed)
    assert.strictEqual(refusalOf(combined, who([], { repo: ["read"] })), "missing required scope: a:b")
    assert.strictEqual(refusalOf(combined, who(["a:b"])), "missing resource: repo/read")
    assert.isUndefined(refusalOf(combined, who(["a:b"], { repo: ["read"] })))
  })
})
