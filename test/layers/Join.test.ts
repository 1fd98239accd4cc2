import { assert, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Redacted, Result, type Scope } from "effect"
import { TestClock } from "effect/testing"
import * as MemoryTransport from "../../src/layers/transport/MemoryTransport.ts"
import { decodeTicket, encodeTicket } from "../../src/protocol/identity/Ticket.ts"
import { formatSocketAddress } from "../../src/protocol/SocketAddress.ts"
import { makeJoinNode } from "./JoinFixtures.ts"
import { newNodeId, peerOf } from "./store/PeerFixtures.ts"

const run = <A, E>(test: Effect.Effect<A, E, Scope.Scope | MemoryTransport.MemoryNetwork>) =>
  Effect.provide(Effect.scoped(test), MemoryTransport.MemoryNetwork.layer)

const pair = Effect.all([
  makeJoinNode({ host: "10.0.0.1", label: "desk" }),
  makeJoinNode({ host: "10.0.0.2", label: "laptop" })
])

const reasonOf = <A, E extends { readonly reason: unknown }>(effect: Effect.Effect<A, E>) =>
  Effect.match(effect, { onSuccess: () => "ok", onFailure: ({ reason }) => reason })

it.effect("ID-034 after a join each store holds the other's key; only the joiner has rights", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const { ticket } = yield* desk.inviteWith({ scopes: ["msg:send", "git:read:*"] })
      const joined = yield* laptop.joinWith({ ticket })
      assert.deepStrictEqual([joined.peerId, joined.scopes], ["laptop", ["msg:send", "git:read:*"]])
      const { peers: ofDesk } = yield* desk.store.list
      assert.deepStrictEqual(
        ofDesk.map(({ peerId, fingerprints, scopes, enabled }) => ({ peerId, fingerprints, scopes, enabled })),
        [
          {
            peerId: "laptop",
            fingerprints: [laptop.local.fingerprint],
            scopes: ["msg:send", "git:read:*"],
            enabled: true
          }
        ]
      )
      const { peers: ofLaptop } = yield* laptop.store.list
      assert.strictEqual(ofLaptop.length, 1)
      assert.deepStrictEqual({ ...ofLaptop[0] }, { ...joined.inviter })
      assert.deepStrictEqual(
        { ...joined.inviter },
        {
          ...peerOf("desk", desk.local.nodeId, {
            scopes: [],
            addresses: desk.endpoint.addresses.map(formatSocketAddress)
          })
        }
      )
    })
  )
)

it.effect("a name and scopes for the inviter are taken where they are given", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const { ticket } = yield* desk.inviteWith()
      const { inviter } = yield* laptop.joinWith({ ticket, name: "home", scopes: ["fs:read"] })
      assert.deepStrictEqual([inviter.peerId, inviter.scopes], ["home", ["fs:read"]])
    })
  )
)

it.effect("a join works over a connection with a single stream", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const laptop = yield* makeJoinNode({ host: "10.0.0.2", transport: { multiStream: false } })
      const { ticket } = yield* desk.inviteWith()
      assert.strictEqual((yield* laptop.joinWith({ ticket })).peerId, "laptop")
    })
  )
)

it.effect("ID-035 a second joiner gets USED, the same one the same answer and one entry", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const other = yield* makeJoinNode({ host: "10.0.0.3" })
      const { ticket } = yield* desk.inviteWith()
      const first = yield* laptop.joinWith({ ticket })
      assert.strictEqual(yield* reasonOf(other.joinWith({ ticket })), "Used")
      assert.deepStrictEqual((yield* other.store.list).peers, [])
      const again = yield* laptop.joinWith({ ticket, ownName: "renamed" })
      assert.deepStrictEqual([again.peerId, again.scopes], [first.peerId, first.scopes])
      assert.strictEqual((yield* desk.store.list).peers.length, 1)
      assert.strictEqual((yield* laptop.store.list).peers.length, 1)
      yield* desk.store.enable("laptop", false)
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket })), "Rejected")
      yield* desk.store.remove("laptop")
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket })), "Rejected")
    })
  )
)

it.effect("ID-035 of 50 joiners at once one wins", () =>
  run(
    Effect.gen(function* () {
      const desk = yield* makeJoinNode()
      const joiners = yield* Effect.forEach(Array.from({ length: 50 }), (_, index) =>
        makeJoinNode({ host: `10.0.1.${index}` })
      )
      const { ticket } = yield* desk.inviteWith()
      const answers = yield* Effect.forEach(joiners, (joiner) => reasonOf(joiner.joinWith({ ticket })), {
        concurrency: "unbounded"
      })
      assert.strictEqual(answers.filter((answer) => answer === "ok").length, 1)
      assert.strictEqual(answers.filter((answer) => answer === "Used").length, 49)
      assert.strictEqual((yield* desk.store.list).peers.length, 1)
    })
  )
)

it.effect("ID-035 a known peer stores the inviter and leaves the invite open; a disabled one is rejected", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      yield* desk.store.add(peerOf("old", laptop.local.nodeId, { scopes: ["fs:read"] }))
      const { ticket } = yield* desk.inviteWith()
      const joined = yield* laptop.joinWith({ ticket })
      assert.deepStrictEqual([joined.peerId, joined.scopes, joined.inviter.peerId], [undefined, undefined, "desk"])
      const { grants, peers } = yield* desk.store.list
      assert.isUndefined(grants[0]?.redeemedBy)
      assert.deepStrictEqual(peers[0]?.scopes, ["fs:read"])
      yield* desk.store.enable("old", false)
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket })), "Rejected")
    })
  )
)

it.effect("ID-036 an invite that is over, revoked, unknown, for another, or no invite gives no peer", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const revoked = yield* desk.inviteWith()
      yield* desk.store.revokeGrant(revoked.grant.id)
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket: revoked.ticket })), "Rejected")
      const forOther = yield* desk.inviteWith({ audience: newNodeId() })
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket: forOther.ticket })), "Rejected")
      const short = yield* desk.inviteWith({ life: "1 minute" })
      yield* TestClock.setTime(60_000)
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket: short.ticket })), "Expired")
      const reasons = desk.audit.flatMap((line) => / auth\.reject .* reason=(\w+)$/.exec(line)?.[1] ?? [])
      assert.deepStrictEqual(reasons, ["revoked", "mismatch", "expired"])
      assert.deepStrictEqual((yield* desk.store.list).peers, [])
      assert.deepStrictEqual((yield* laptop.store.list).peers, [])
      assert.match(desk.audit.join("\n"), / method=invite credential=grant:[0-9a-f]{8} /)
      assert.notInclude(desk.audit.join("\n"), "alk1")
    })
  )
)

it.effect("ID-R53 what the joiner can see itself is refused before anything is dialed", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const { ticket } = yield* desk.inviteWith()
      const text = Redacted.value(ticket)
      const decoded = Result.getOrThrow(decodeTicket(text))
      const change = (changes: Partial<typeof decoded>) =>
        Redacted.make(Result.getOrThrow(encodeTicket({ ...decoded, ...changes })))
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket: Redacted.make(`${text}q`) })), "Ticket")
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket: change({ label: "forged" }) })), "Ticket")
      const { grant: _, ...plain } = decoded
      const unsigned = Redacted.make(Result.getOrThrow(encodeTicket(plain)))
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket: unsigned })), "Ticket")
      assert.strictEqual(yield* reasonOf(desk.joinWith({ ticket })), "Own")
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket, name: "NO" })), "Invalid")
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket, scopes: ["not a scope"] })), "Invalid")
      yield* laptop.store.add(peerOf("taken", newNodeId()))
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket, name: "taken" })), "Exists")
      yield* TestClock.setTime((3600 + 300) * 1000)
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket })), "Expired")
      assert.deepStrictEqual(desk.audit, [])
    })
  )
)

it.effect("ID-R53 a clock that is 5 minutes ahead does not stop the joiner: the inviter's clock decides", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const { ticket } = yield* desk.inviteWith()
      yield* TestClock.setTime((3600 + 299) * 1000)
      assert.strictEqual(yield* reasonOf(laptop.joinWith({ ticket })), "Expired")
      assert.match(desk.audit.join("\n"), / auth\.reject .* reason=expired/)
    })
  )
)

it.effect(
  "ID-037 a join whose answer was lost, and one whose last write was lost, are finished by running it again",
  () =>
    run(
      Effect.gen(function* () {
        const [desk, laptop] = yield* pair
        const network = yield* MemoryTransport.MemoryNetwork
        const lost = yield* desk.inviteWith()
        // The joiner's machine goes away after the invite was redeemed and before the answer arrived.
        yield* desk.store.redeem(lost.grant.id, laptop.local.nodeId, "laptop")
        assert.strictEqual((yield* laptop.joinWith({ ticket: lost.ticket })).peerId, "laptop")
        yield* laptop.store.remove("desk")
        assert.strictEqual((yield* laptop.joinWith({ ticket: lost.ticket })).inviter.peerId, "desk")
        assert.strictEqual((yield* desk.store.list).peers.length, 1)

        // The inviter is gone before it could redeem: the invite is open, and no peer is there.
        const third = yield* makeJoinNode({ host: "10.0.0.3" })
        const open = yield* desk.inviteWith()
        yield* network.cut(desk.local.nodeId)
        const attempt = yield* Effect.forkChild(Effect.exit(third.joinWith({ ticket: open.ticket })))
        yield* TestClock.adjust("30 seconds")
        assert.isTrue(Exit.isFailure(yield* Fiber.join(attempt)))
        assert.strictEqual((yield* desk.store.list).peers.length, 1)
        assert.isUndefined((yield* desk.store.list).grants[1]?.redeemedBy)
        assert.deepStrictEqual((yield* third.store.list).peers, [])
        yield* network.heal(desk.local.nodeId)
        assert.strictEqual((yield* third.joinWith({ ticket: open.ticket })).peerId, "laptop-2")
      })
    )
)

it.effect("an inviter that is known already only gets the ticket's addresses", () =>
  run(
    Effect.gen(function* () {
      const [desk, laptop] = yield* pair
      const entry = peerOf("kept", desk.local.nodeId, { scopes: ["fs:read"], addresses: ["10.9.9.9:1"] })
      yield* laptop.store.add(entry)
      const { ticket } = yield* desk.inviteWith()
      yield* laptop.joinWith({ ticket, name: "ignored", scopes: ["*"] })
      const addresses = [...desk.endpoint.addresses.map(formatSocketAddress), "10.9.9.9:1"]
      assert.deepStrictEqual(
        (yield* laptop.store.list).peers.map((peer) => ({ ...peer })),
        [{ ...entry, addresses }]
      )
    })
  )
)
