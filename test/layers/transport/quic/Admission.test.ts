import { assert, describe, it } from "@effect/vitest"
import { Admission } from "../../../../src/layers/transport/quic/Admission.ts"
import { DEFAULT_LIMITS } from "../../../../src/layers/transport/quic/Limits.ts"
import { addressPrefix } from "../../../../src/layers/transport/quic/Packets.ts"
import { RetryTokens } from "../../../../src/layers/transport/quic/RetryToken.ts"

const NOW = 1_700_000_000_000

describe("addressPrefix", () => {
  it("an IPv4 address counts alone, an IPv6 address with its /64", () => {
    assert.strictEqual(addressPrefix("192.0.2.7"), "192.0.2.7")
    assert.strictEqual(addressPrefix("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2")
    assert.strictEqual(addressPrefix("2001:db8:1:2::9"), "2001:db8:1:2")
    assert.strictEqual(addressPrefix("::1"), "0:0:0:0")
    assert.strictEqual(addressPrefix("fe80::1%eth0"), "fe80:0:0:0")
    assert.notStrictEqual(addressPrefix("2001:db8:1:3::9"), addressPrefix("2001:db8:1:2::9"))
  })
})

describe("Admission", () => {
  it("an address with half of its half-open places taken must prove itself, and gets no more than all", () => {
    const admission = new Admission({ ...DEFAULT_LIMITS, newPerSecond: 1000, newPerSecondWithRetry: 1000 })
    for (let count = 0; count < 32; count++) {
      assert.strictEqual(admission.judge("192.0.2.1", false, NOW), "accept")
      admission.begin("192.0.2.1")
    }
    assert.strictEqual(admission.judge("192.0.2.1", false, NOW), "retry")
    for (let count = 0; count < 32; count++) {
      assert.strictEqual(admission.judge("192.0.2.1", true, NOW), "accept")
      admission.begin("192.0.2.1")
    }
    assert.strictEqual(admission.judge("192.0.2.1", true, NOW), "drop")
    assert.strictEqual(admission.judge("192.0.2.2", false, NOW), "accept")
    admission.end("192.0.2.1")
    assert.strictEqual(admission.judge("192.0.2.1", true, NOW), "accept")
  })

  it("above the threshold in all everybody must prove the address, and at the limit nobody gets in", () => {
    const admission = new Admission({ ...DEFAULT_LIMITS, halfOpenBeforeRetry: 2, halfOpen: 3 })
    admission.begin("192.0.2.1")
    admission.begin("192.0.2.2")
    assert.strictEqual(admission.judge("192.0.2.3", false, NOW), "retry")
    assert.strictEqual(admission.judge("192.0.2.3", true, NOW), "accept")
    admission.begin("192.0.2.3")
    assert.strictEqual(admission.judge("192.0.2.4", true, NOW), "drop")
  })

  it("new connections a second: first free, then with a token, then none; the next second is another", () => {
    const admission = new Admission({ ...DEFAULT_LIMITS, newPerSecond: 2, newPerSecondWithRetry: 3 })
    const host = "2001:db8::1"
    assert.strictEqual(admission.judge(host, false, NOW), "accept")
    assert.strictEqual(admission.judge("2001:db8::2", false, NOW), "accept")
    assert.strictEqual(admission.judge(host, false, NOW), "retry")
    assert.strictEqual(admission.judge(host, true, NOW), "accept")
    assert.strictEqual(admission.judge(host, true, NOW), "drop")
    assert.strictEqual(admission.judge(host, false, NOW + 1000), "accept")
  })

  it("a peer has a limit of connections, and everybody together; anonymous clients count in the total", () => {
    const admission = new Admission({ ...DEFAULT_LIMITS, connectionsPerPeer: 2, connections: 3 })
    assert.isTrue(admission.establish("a"))
    assert.isTrue(admission.establish("a"))
    assert.isFalse(admission.establish("a"))
    assert.isTrue(admission.establish(undefined))
    assert.isFalse(admission.establish("b"))
    admission.release("a")
    assert.isTrue(admission.establish("b"))
    assert.strictEqual(admission.established, 3)
  })

  it("answers without state are bounded a second", () => {
    const admission = new Admission({ ...DEFAULT_LIMITS, statelessPerSecond: 2 })
    assert.deepStrictEqual(
      [0, 1, 2, 1000].map((after) => admission.mayAnswer(NOW + after)),
      [true, true, false, true]
    )
  })
})

describe("RetryTokens", () => {
  const client = { host: "192.0.2.1", port: 1000 }
  const firstId = Buffer.from("first-id")
  const newId = Buffer.alloc(20, 2)
  const tokens = new RetryTokens()
  const token = tokens.issue(client, firstId, newId, NOW)

  it("gives the first connection id back to who got the token", () => {
    assert.deepStrictEqual(tokens.open(client, token, newId, NOW + 9999), firstId)
  })

  it("opens for nobody else, not later, not with another id, and not for another driver", () => {
    assert.isUndefined(tokens.open({ ...client, port: 1001 }, token, newId, NOW))
    assert.isUndefined(tokens.open({ ...client, host: "192.0.2.2" }, token, newId, NOW))
    assert.isUndefined(tokens.open(client, token, Buffer.alloc(20, 3), NOW))
    assert.isUndefined(tokens.open(client, token, newId, NOW + 10_001))
    assert.isUndefined(tokens.open(client, token, newId, NOW - 1))
    assert.isUndefined(new RetryTokens().open(client, token, newId, NOW))
  })

  it("any changed, cut or lengthened token is refused", () => {
    for (let at = 0; at < token.length; at++) {
      const changed = Buffer.from(token)
      changed[at]! ^= 1
      assert.isUndefined(tokens.open(client, changed, newId, NOW))
      assert.isUndefined(tokens.open(client, token.subarray(0, at), newId, NOW))
    }
    assert.isUndefined(tokens.open(client, Buffer.concat([token, Buffer.alloc(1)]), newId, NOW))
    assert.isUndefined(tokens.open(client, Buffer.alloc(10_000), newId, NOW))
  })
})
