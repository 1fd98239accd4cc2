import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, Result } from "effect"
import { TestClock } from "effect/testing"
import * as ForwardPolicyLayer from "../../src/layers/ForwardPolicy.ts"
import { type ForwardRule, parseForwardTarget } from "../../src/protocol/forward/ForwardRule.ts"
import { ForwardPolicy } from "../../src/services/ForwardPolicy.ts"
import type { Principal } from "../../src/services/Identity.ts"

const rule = (verdict: ForwardRule["verdict"], target: string): ForwardRule => ({
  verdict,
  peers: undefined,
  scopes: undefined,
  ...Result.getOrThrow(parseForwardTarget(target))
})
const peer = (...scopes: ReadonlyArray<string>): Principal => ({ id: "laptop", scopes, resources: {} })
const EVERYTHING = peer("*")

const names: Readonly<Record<string, ReadonlyArray<string>>> = {
  "public.example": ["8.8.8.8", "2606:4700::1111"],
  "mixed.example": ["127.0.0.1", "8.8.8.8", "::ffff:10.0.0.1", "fe80::1%eth0"],
  "inside.example": ["10.0.0.1"],
  "many.example": Array.from({ length: 20 }, (_, index) => `8.8.8.${index}`)
}

const connect = (
  rules: ReadonlyArray<ForwardRule>,
  host: string,
  port = 443,
  who: Principal | undefined = EVERYTHING,
  asked: Array<string> = []
) =>
  Effect.gen(function* () {
    const policy = yield* ForwardPolicy
    return yield* policy.connect(who, { host, port })
  }).pipe(
    Effect.map((addresses) => addresses.map(({ host }) => host)),
    Effect.catch(({ reason }) => Effect.succeed(reason)),
    Effect.provide(
      ForwardPolicyLayer.layer({
        rules,
        lookup: (name) =>
          Effect.sync(() => {
            asked.push(name)
            return names[name] ?? []
          })
      })
    )
  )

describe("the forwarding policy", () => {
  it.effect("without rules lets nobody through, whatever they hold, and asks no resolver", () =>
    Effect.gen(function* () {
      const asked: Array<string> = []
      assert.strictEqual(yield* connect([], "public.example", 443, EVERYTHING, asked), "Policy")
      assert.strictEqual(yield* connect([rule("allow", "*:*")], "public.example", 443, peer(), asked), "Policy")
      const anonymous = Effect.flatMap(ForwardPolicy, (policy) =>
        Effect.flip(policy.connect(undefined, { host: "8.8.8.8", port: 443 }))
      )
      const { reason } = yield* Effect.provide(anonymous, ForwardPolicyLayer.layer({ rules: [rule("allow", "*:*")] }))
      assert.strictEqual(reason, "Policy")
      assert.deepStrictEqual(asked, [])
    })
  )

  it.effect("gives the addresses that were judged, in their order, and of a name only those that may be reached", () =>
    Effect.gen(function* () {
      const all = [rule("allow", "*:*")]
      assert.deepStrictEqual(yield* connect(all, "public.example"), ["8.8.8.8", "2606:4700::1111"])
      assert.deepStrictEqual(yield* connect(all, "mixed.example"), ["8.8.8.8"])
      assert.strictEqual(yield* connect(all, "inside.example"), "Policy")
      assert.strictEqual(yield* connect(all, "nowhere.example"), "Unresolved")
      assert.deepStrictEqual(yield* connect([...all, rule("allow", "10.0.0.0/8:*")], "inside.example"), ["10.0.0.1"])
      assert.strictEqual(yield* connect([rule("deny", "8.8.8.8:*"), ...all], "mixed.example"), "Policy")
      const many = yield* connect(all, "many.example")
      assert.strictEqual(many.length, ForwardPolicyLayer.FORWARD_ADDRESSES_MAX)
    })
  )

  it.effect("knows a host by one spelling, and an address by none that only a resolver would understand", () =>
    Effect.gen(function* () {
      const all = [rule("allow", "*:*"), rule("allow", "127.0.0.0/8:*"), rule("allow", "[::1]:*")]
      const asked: Array<string> = []
      const as = (host: string, ...scopes: ReadonlyArray<string>) => connect(all, host, 443, peer(...scopes), asked)
      assert.isArray(yield* as("PUBLIC.Example.", "ssh:forward:public.example:443"))
      assert.isArray(yield* as("0:0:0:0:0:0:0:1", "ssh:forward:[::1]:443"))
      assert.strictEqual(yield* as("::ffff:127.0.0.1", "ssh:forward:127.0.0.1:443"), "Policy")
      asked.length = 0
      for (const host of ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "localhost%00", "a b", "", "-a"]) {
        assert.notDeepEqual<unknown>(yield* as(host, "*"), ["127.0.0.1"], host)
      }
      assert.deepStrictEqual(asked, [])
    })
  )

  it.effect("a name that never resolves is given up", () =>
    Effect.gen(function* () {
      const policy = yield* ForwardPolicy
      const asking = yield* Effect.forkChild(
        Effect.flip(policy.connect(EVERYTHING, { host: "slow.example", port: 443 })),
        { startImmediately: true }
      )
      yield* TestClock.adjust("5 seconds")
      assert.strictEqual((yield* Fiber.join(asking)).reason, "Unresolved")
    }).pipe(Effect.provide(ForwardPolicyLayer.layer({ rules: [rule("allow", "*:*")], lookup: () => Effect.never })))
  )

  it.effect("listening and sockets are matters of scopes alone", () =>
    Effect.gen(function* () {
      const policy = yield* ForwardPolicy
      const says = <E>(verdict: Effect.Effect<void, E>) => Effect.map(Effect.exit(verdict), ({ _tag }) => _tag)
      const at = { host: "127.0.0.1", port: 8080 }
      assert.strictEqual(yield* says(policy.listen(peer("ssh:listen:127.0.0.1:8080"), at)), "Success")
      assert.strictEqual(yield* says(policy.listen(peer("ssh:listen:*:8081", "ssh:forward:*"), at)), "Failure")
      assert.strictEqual(yield* says(policy.listen(undefined, at)), "Failure")
      assert.strictEqual(yield* says(policy.socket(peer("ssh:socket:/run/a.sock"), "/run/a.sock")), "Success")
      assert.strictEqual(yield* says(policy.socket(peer("ssh:socket:/run/a.sock"), "/run/b.sock")), "Failure")
      assert.strictEqual(yield* says(policy.socket(peer("ssh:socket:*"), `/${"x".repeat(200)}`)), "Failure")
    }).pipe(Effect.provide(ForwardPolicyLayer.layer({ rules: [] })))
  )
})
