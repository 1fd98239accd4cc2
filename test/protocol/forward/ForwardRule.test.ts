import { isIP } from "node:net"
import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { addressBytes, classOfAddress, isInBlock, parseBlock } from "../../../src/protocol/forward/AddressClass.ts"
import { type ForwardRule, isForwardAllowed, parseForwardTarget } from "../../../src/protocol/forward/ForwardRule.ts"

const rule = (verdict: "allow" | "deny", target: string, more: Partial<ForwardRule> = {}): ForwardRule => ({
  verdict,
  peers: undefined,
  scopes: undefined,
  ...Result.getOrThrow(parseForwardTarget(target)),
  ...more
})
const asks = (rules: ReadonlyArray<ForwardRule>, address: string, port = 443, host = address, peerId?: string) =>
  isForwardAllowed(rules, { host, address, port, peerId, holds: (scope) => scope === "held:one" })

describe("addresses", () => {
  it("are classed, also inside other addresses", () => {
    const classes = {
      "8.8.8.8": "public",
      "127.1.2.3": "loopback",
      "0.0.0.0": "loopback",
      "169.254.169.254": "link-local",
      "10.1.2.3": "private",
      "172.31.255.255": "private",
      "172.32.0.0": "public",
      "192.168.0.1": "private",
      "100.64.0.1": "private",
      "224.0.0.251": "multicast",
      "255.255.255.255": "reserved",
      "2606:4700::1111": "public",
      "::1": "loopback",
      "::": "loopback",
      "::ffff:127.0.0.1": "loopback",
      "::ffff:7f00:1": "loopback",
      "::127.0.0.1": "loopback",
      "64:ff9b::10.0.0.1": "private",
      "2002:7f00:1::": "loopback",
      "2002:a00:1::1": "private",
      "2001:0:4136:e378::1": "reserved",
      "fe80::1": "link-local",
      "fd00::1": "private",
      "ff02::1": "multicast",
      "2001:db8::1": "reserved",
      "4000::1": "reserved"
    }
    for (const [text, wanted] of Object.entries(classes)) {
      assert.strictEqual(classOfAddress(addressBytes(text)!), wanted, text)
    }
  })

  it("are read exactly as the system reads them", () => {
    const part = fc.oneof(
      fc.nat(300).map(String),
      fc.constantFrom("", "::", ":", ".", "/", "0", "00", "ffff", "g", "%e")
    )
    fc.assert(
      fc.property(
        fc.oneof(
          fc.ipV4(),
          fc.ipV6(),
          fc.array(part, { maxLength: 12 }).map((all) => all.join(":")),
          fc.array(part, { maxLength: 6 }).map((all) => all.join("."))
        ),
        (text) => {
          const family = text.includes("%") ? 0 : isIP(text)
          assert.strictEqual(addressBytes(text)?.length, family === 0 ? undefined : family === 4 ? 4 : 16, text)
        }
      ),
      { numRuns: 3000 }
    )
  })

  it("lie in blocks by their leading bits", () => {
    const inside = (address: string, block: string) => isInBlock(addressBytes(address)!, parseBlock(block)!)
    assert.isTrue(inside("10.255.0.1", "10.0.0.0/8"))
    assert.isFalse(inside("11.0.0.0", "10.0.0.0/8"))
    assert.isTrue(inside("192.168.1.129", "192.168.1.128/25"))
    assert.isFalse(inside("192.168.1.127", "192.168.1.128/25"))
    assert.isTrue(inside("1.2.3.4", "0.0.0.0/0"))
    assert.isTrue(inside("::ffff:10.0.0.1", "10.0.0.0/8"))
    assert.isFalse(inside("10.0.0.1", "::/0"))
    for (const bad of ["10.0.0.1/8", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "::1/129", "10.0.0.0/8/8", "x"]) {
      assert.strictEqual(parseBlock(bad), undefined, bad)
    }
  })
})

describe("forwarding rules", () => {
  it("none says no, the first that matches decides", () => {
    assert.isFalse(asks([], "8.8.8.8"))
    assert.isTrue(asks([rule("allow", "*:*")], "8.8.8.8"))
    assert.isFalse(asks([rule("deny", "8.8.8.8:*"), rule("allow", "*:*")], "8.8.8.8"))
    assert.isTrue(asks([rule("allow", "8.8.8.8:443"), rule("deny", "*:*")], "8.8.8.8"))
    assert.isFalse(asks([rule("allow", "*:80-442")], "8.8.8.8"))
  })

  it("special addresses need a rule that names them, whatever name leads there", () => {
    for (const address of ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.5", "169.254.169.254", "fd00::1"]) {
      assert.isFalse(asks([rule("allow", "*:*")], address))
      assert.isFalse(asks([rule("allow", "db.example.com:*")], address, 443, "db.example.com"))
    }
    assert.isTrue(asks([rule("allow", "127.0.0.1:5432")], "127.0.0.1", 5432))
    assert.isTrue(asks([rule("allow", "[fd00::/8]:*")], "fd00::1"))
    assert.isTrue(asks([rule("allow", "10.0.0.0/8:*")], "10.0.0.5", 443, "db.example.com"))
  })

  it("globs stand for one label, names have no case and no last dot", () => {
    const rules = [rule("allow", "*.Example.com:443")]
    for (const [host, isAllowed] of [
      ["a.example.com", true],
      ["A.EXAMPLE.COM.", true],
      ["example.com", false],
      ["a.b.example.com", false],
      ["a.example.com.evil.org", false],
      ["aXexample.com", false]
    ] as const) {
      assert.strictEqual(asks(rules, "8.8.8.8", 443, host), isAllowed, host)
    }
  })

  it("are for some peers and some scopes where they say so", () => {
    const forOne = [rule("allow", "*:*", { peers: ["one"] })]
    assert.deepStrictEqual(
      [asks(forOne, "8.8.8.8", 1, "x", "one"), asks(forOne, "8.8.8.8", 1, "x", "two"), asks(forOne, "8.8.8.8")],
      [true, false, false]
    )
    assert.isTrue(asks([rule("allow", "*:*", { scopes: ["held:one"] })], "8.8.8.8"))
    assert.isFalse(asks([rule("allow", "*:*", { scopes: ["held:two"] })], "8.8.8.8"))
  })

  it("targets that are none say what is wrong", () => {
    for (const text of [
      "",
      "host",
      "host:",
      ":80",
      "host:0",
      "host:99999",
      "host:90-80",
      "1.2.3:80",
      "10.0.0.1/8:*",
      "a b:80",
      "[::1:80",
      "[x]:80",
      "fc00::/7:*",
      "a..b:80"
    ]) {
      assert.isTrue(Result.isFailure(parseForwardTarget(text)), text)
    }
  })
})
