import { assert, describe, it } from "@effect/vitest"
import { ADDRESSES_MAX, Admission, addressGroup } from "../../../../src/layers/transport/tls/Admission.ts"

const limits = { newPerSecondPerAddress: 1_000, halfOpenPerAddress: 3, halfOpen: 5, established: 4 }

describe("Admission", () => {
  it("TR-019 half-open handshakes of one address are bounded, others still get in", () => {
    const admission = new Admission(limits)
    const slots = Array.from({ length: 5 }, () => admission.admit("192.0.2.1", 0))
    assert.deepStrictEqual(
      slots.map((slot) => slot !== undefined),
      [true, true, true, false, false]
    )
    assert.isDefined(admission.admit("192.0.2.2", 0))
    assert.isDefined(admission.admit("192.0.2.2", 0))
    assert.isUndefined(admission.admit("192.0.2.3", 0), "five in all")
    slots[0]?.leave()
    slots[0]?.leave()
    assert.isDefined(admission.admit("192.0.2.3", 0))
    assert.isUndefined(admission.admit("192.0.2.3", 0))
  })

  it("established connections are bounded in all and give their place back", () => {
    const admission = new Admission(limits)
    const slots = Array.from({ length: 5 }, (_, index) => admission.admit(`192.0.2.${index}`, 0))
    assert.deepStrictEqual(
      slots.map((slot) => slot?.establish()),
      [true, true, true, true, false]
    )
    assert.strictEqual(admission.halfOpen, 0)
    slots[0]?.leave()
    assert.strictEqual(admission.established, 3)
    slots[4]?.leave()
    assert.strictEqual(admission.established, 3)
    assert.isTrue(admission.admit("192.0.2.9", 0)?.establish())
  })

  it("new connections of one address are bounded in each second", () => {
    const admission = new Admission({ ...limits, newPerSecondPerAddress: 2, halfOpenPerAddress: 100, halfOpen: 100 })
    const admitted = [0, 10, 20, 999, 1_000, 1_001, 1_002].map((now) => admission.admit("192.0.2.1", now) !== undefined)
    assert.deepStrictEqual(admitted, [true, true, false, false, true, true, false])
    assert.isDefined(admission.admit("192.0.2.2", 1_002))
  })

  it("a flood from many addresses does not grow the memory of them without end", () => {
    const admission = new Admission({ ...limits, halfOpen: 0 })
    let admitted = 0
    for (let index = 0; index < ADDRESSES_MAX + 1_000; index++) {
      if (admission.admit(`10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`, 0) !== undefined) admitted++
    }
    assert.strictEqual(admitted, 0)
    assert.strictEqual(admission.remembered, ADDRESSES_MAX)
    assert.isUndefined(admission.admit("192.0.2.1", 1_000))
    assert.strictEqual(admission.remembered, 1, "those of an earlier second are forgotten")
  })

  it("an IPv6 /64 and an IPv4 address count as one", () => {
    assert.strictEqual(addressGroup("2001:db8:1:2:3:4:5:6"), addressGroup("2001:db8:1:2::9"))
    assert.notStrictEqual(addressGroup("2001:db8:1:2::1"), addressGroup("2001:db8:1:3::1"))
    assert.strictEqual(addressGroup("2001:0db8::1"), addressGroup("2001:db8:0:0:ffff::"))
    assert.strictEqual(addressGroup("::ffff:192.0.2.1"), "192.0.2.1")
    assert.strictEqual(addressGroup("fe80::1%eth0"), addressGroup("fe80::2"))
    assert.strictEqual(addressGroup("::1"), "0:0:0:0")
  })
})
