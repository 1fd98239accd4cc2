import { assert, it } from "@effect/vitest"
import { Effect, Fiber, Layer, type Scope, Stream, SubscriptionRef } from "effect"
import { TestClock } from "effect/testing"
import { fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import type { NodeId } from "../../../src/protocol/identity/NodeId.ts"
import { PeerEntry, PeerStore, type StoreError } from "../../../src/services/PeerStore.ts"
import { apiKeyOf, grantOf, hashOf, newNodeId, peerOf } from "./PeerFixtures.ts"

/** Opens a new, empty store for a node. */
export type MakePeerStore = (local: NodeId) => Effect.Effect<Layer.Layer<PeerStore, StoreError>, never, Scope.Scope>

const ids = Array.from({ length: 4 }, newNodeId)
const [local, alice, bob, carol] = [ids[0]!, ids[1]!, ids[2]!, ids[3]!]

/** What every layer of the peer store does alike (ID-023). */
export const peerStoreContract = (name: string, make: MakePeerStore): void => {
  const test = (
    title: string,
    body: (store: PeerStore["Service"]) => Effect.Effect<void, unknown, Scope.Scope>,
    { startSeconds = 0 } = {}
  ) =>
    it.effect(`${title} (${name})`, () =>
      Effect.gen(function* () {
        yield* TestClock.setTime(startSeconds * 1000)
        const context = yield* Layer.build(yield* make(local))
        yield* Effect.flatMap(
          PeerStore.use((store) => Effect.succeed(store)),
          body
        ).pipe(Effect.provide(context))
      })
    )
  const reasonOf = <A>(effect: Effect.Effect<A, { readonly reason: string }>) =>
    effect.pipe(Effect.match({ onSuccess: () => "ok", onFailure: (error) => error.reason }))

  test("ID-023 what is added is listed whole, in order, and is in the snapshot when the write returns", (store) =>
    Effect.gen(function* () {
      const full = peerOf("alice", alice, {
        authTokenHash: hashOf("t"),
        resources: { repository: ["site", "blog"] },
        displayName: "Alice é",
        addresses: ["203.0.113.7:4433", "[::1]:1"],
        lastSeen: 12,
        fingerprints: [fingerprintOfNode(alice), fingerprintOfNode(carol)]
      })
      yield* store.add(full)
      yield* store.add(peerOf("bob", bob, { enabled: false, scopes: [] }))
      yield* store.addKey(apiKeyOf("alk_aaaa", { expiresAt: 99 }))
      yield* store.issueGrant(grantOf(1, { audience: carol }))
      const snapshot = yield* SubscriptionRef.get(store.snapshot)
      assert.deepStrictEqual({ ...snapshot.peers[0] }, { ...full })
      assert.instanceOf(snapshot.peers[0], PeerEntry)
      assert.deepStrictEqual({ ...snapshot.peers[1] }, { ...peerOf("bob", bob, { enabled: false, scopes: [] }) })
      assert.deepStrictEqual({ ...snapshot.apiKeys[0] }, { ...apiKeyOf("alk_aaaa", { expiresAt: 99 }) })
      assert.deepStrictEqual({ ...snapshot.grants[0] }, { ...grantOf(1, { audience: carol }) })
      assert.deepStrictEqual(yield* store.list, snapshot)
    }))

  test("ID-015 a name that is no peerId is Invalid", (store) =>
    Effect.gen(function* () {
      for (const peerId of ["", "A", "-a", "a_b", "a".repeat(64), "grant-x", "é"]) {
        assert.strictEqual(yield* reasonOf(store.add(peerOf(peerId, alice))), "Invalid", peerId)
      }
    }))

  test("ID-016 a key, a token or a name is there once, in disabled entries too", (store) =>
    Effect.gen(function* () {
      yield* store.add(peerOf("alice", alice, { enabled: false, authTokenHash: hashOf("t") }))
      yield* store.addKey(apiKeyOf("alk_aaaa"))
      const attempts: ReadonlyArray<readonly [Effect.Effect<void, StoreError>, string]> = [
        [store.add(peerOf("alice", bob)), "Exists"],
        [store.add(peerOf("bob", alice)), "FingerprintTaken"],
        [store.add(peerOf("bob", bob, { authTokenHash: hashOf("t") })), "TokenTaken"],
        [store.add(peerOf("bob", bob, { authTokenHash: hashOf("alk_aaaa") })), "TokenTaken"],
        [store.add(peerOf("self", local)), "Invalid"],
        [store.addKey(apiKeyOf("alk_aaaa", { sha256: hashOf("other") })), "PrefixTaken"],
        [store.addKey(apiKeyOf("alk_bbbb", { sha256: hashOf("alk_aaaa") })), "TokenTaken"],
        [store.addKey(apiKeyOf("alk_bbbb", { sha256: hashOf("t") })), "TokenTaken"]
      ]
      for (const [attempt, reason] of attempts) assert.strictEqual(yield* reasonOf(attempt), reason)
      const { peers, apiKeys } = yield* store.list
      assert.deepStrictEqual([peers.length, apiKeys.length], [1, 1])
      // An entry does not stand in its own way.
      assert.strictEqual(yield* reasonOf(store.update("alice", (peer) => ({ ...peer, scopes: ["a"] }))), "ok")
    }))

  test("ID-R23 what is over a limit is Invalid and names the field", (store) =>
    Effect.gen(function* () {
      const many = (count: number) => Array.from({ length: count }, (_, index) => `s${index}`)
      const keys = Array.from({ length: 17 }, () => fingerprintOfNode(newNodeId()))
      const small = `ed25519:${"00".repeat(32)}` as PeerEntry["fingerprints"][number]
      const cases: ReadonlyArray<readonly [Partial<PeerEntry>, string]> = [
        [{ fingerprints: keys }, "fingerprints"],
        [{ fingerprints: [small] }, "fingerprints"],
        [{ fingerprints: [keys[0]!, keys[0]!] }, "fingerprints"],
        [{ scopes: many(257) }, "scopes"],
        [{ scopes: ["not a scope"] }, "scopes"],
        [{ resources: Object.fromEntries(many(65).map((type) => [type, []])) }, "resources"],
        [{ resources: { a: many(257) } }, "resources"],
        [{ resources: { a: ["é".repeat(129)] } }, "resources"],
        [{ resources: { ["x".repeat(257)]: [] } }, "resources"],
        [{ displayName: "x".repeat(65) }, "displayName"],
        [{ authTokenHash: "SHA256:00" }, "authTokenHash"],
        [{ addresses: many(17).map((host) => `${host}:1`) }, "addresses"],
        [{ addresses: ["nowhere"] }, "addresses"]
      ]
      for (const [changes, field] of cases) {
        const error = yield* Effect.flip(store.add(peerOf("alice", alice, changes)))
        assert.deepStrictEqual([error.reason, error.field], ["Invalid", field])
      }
      const largest = peerOf("alice", alice, {
        fingerprints: keys.slice(0, 16),
        scopes: many(256),
        resources: { a: many(256) },
        displayName: "😀".repeat(64)
      })
      assert.strictEqual(yield* reasonOf(store.add(largest)), "ok")
      assert.deepStrictEqual({ ...(yield* store.list).peers[0] }, { ...largest })
      for (const key of [
        { prefix: "alk_" },
        { prefix: "alk_aa\n" },
        { sha256: "x" },
        { expiresAt: -1 },
        { scopes: [""] }
      ]) {
        assert.strictEqual(yield* reasonOf(store.addKey(apiKeyOf("alk_aaaa", key))), "Invalid")
      }
      for (const grant of [{ id: new Uint8Array(15) }, { scopes: [] }, { expiresAt: 0 }, { scopes: many(65) }]) {
        assert.strictEqual(yield* reasonOf(store.issueGrant(grantOf(1, grant))), "Invalid")
      }
    }))

  test("ID-017 an entry is changed, disabled and removed; its name stays", (store) =>
    Effect.gen(function* () {
      yield* store.add(peerOf("alice", alice))
      yield* store.update("alice", (peer) => ({ ...peer, fingerprints: [fingerprintOfNode(bob)] }))
      yield* store.enable("alice", false)
      const { peers } = yield* store.list
      assert.deepStrictEqual({ ...peers[0] }, { ...peerOf("alice", bob, { enabled: false }) })
      assert.strictEqual(yield* reasonOf(store.add(peerOf("other", alice))), "ok")
      assert.strictEqual(yield* reasonOf(store.update("alice", (peer) => ({ ...peer, peerId: "x" }))), "Invalid")
      yield* store.remove("alice")
      assert.deepStrictEqual(
        (yield* store.list).peers.map((peer) => peer.peerId),
        ["other"]
      )
      for (const missing of [store.remove("x"), store.enable("x", true), store.update("x", (peer) => peer)]) {
        assert.strictEqual(yield* reasonOf(missing), "NotFound")
      }
      assert.strictEqual(yield* reasonOf(store.removeKey("alk_zzzz")), "NotFound")
      assert.strictEqual(yield* reasonOf(store.revokeGrant(new Uint8Array(16))), "NotFound")
    }))

  test("API keys are removed, grants are revoked", (store) =>
    Effect.gen(function* () {
      yield* store.addKey(apiKeyOf("alk_aaaa"))
      yield* store.removeKey("alk_aaaa")
      yield* store.issueGrant(grantOf(1))
      assert.strictEqual(yield* reasonOf(store.issueGrant(grantOf(1))), "Exists")
      yield* store.revokeGrant(grantOf(1).id)
      yield* store.revokeGrant(grantOf(1).id)
      const { apiKeys, grants } = yield* store.list
      assert.strictEqual(apiKeys.length, 0)
      assert.deepStrictEqual({ ...grants[0] }, { ...grantOf(1, { revoked: true }) })
    }))

  test(
    "a grant is forgotten a month after its end",
    (store) =>
      Effect.gen(function* () {
        yield* store.issueGrant(grantOf(1))
        yield* store.issueGrant(grantOf(2, { expiresAt: 3602 }))
        yield* store.issueGrant(grantOf(3))
        assert.deepStrictEqual(
          (yield* store.list).grants.map((grant) => grant.id[0]),
          [2, 3]
        )
      }),
    { startSeconds: 3601 + 30 * 86_400 }
  )

  test("ID-035 an invite adds its joiner once; a second joiner gets Used, the same one the same answer", (store) =>
    Effect.gen(function* () {
      yield* store.issueGrant(grantOf(1))
      const { id } = grantOf(1)
      const peer = yield* store.redeem(id, alice, "Anna's laptop")
      assert.deepStrictEqual(
        { ...peer },
        { ...peerOf("anna-s-laptop", alice, { scopes: ["msg:send", "git:read:*"], displayName: "Anna's laptop" }) }
      )
      assert.deepStrictEqual({ ...(yield* store.redeem(id, alice, "other name")) }, { ...peer })
      assert.strictEqual(yield* reasonOf(store.redeem(id, bob, "bob")), "Used")
      const { grants, peers } = yield* store.list
      assert.strictEqual(grants[0]?.redeemedBy, alice)
      assert.strictEqual(peers.length, 1)
      yield* store.enable("anna-s-laptop", false)
      assert.strictEqual(yield* reasonOf(store.redeem(id, alice, "x")), "Rejected")
      yield* store.remove("anna-s-laptop")
      assert.strictEqual(yield* reasonOf(store.redeem(id, alice, "x")), "Rejected")
      assert.strictEqual((yield* store.list).peers.length, 0)
    }))

  test("ID-035 of 50 joiners at once one wins", (store) =>
    Effect.gen(function* () {
      yield* store.issueGrant(grantOf(1))
      const answers = yield* Effect.forEach(
        Array.from({ length: 50 }, newNodeId),
        (joiner) => reasonOf(store.redeem(grantOf(1).id, joiner, "joiner")),
        { concurrency: "unbounded" }
      )
      assert.deepStrictEqual(answers.filter((answer) => answer === "ok").length, 1)
      assert.deepStrictEqual(answers.filter((answer) => answer === "Used").length, 49)
      assert.strictEqual((yield* store.list).peers.length, 1)
    }))

  test("ID-035 an enabled peer gets AlreadyPeer, a disabled one Rejected, and the invite stays open", (store) =>
    Effect.gen(function* () {
      yield* store.issueGrant(grantOf(1))
      yield* store.add(peerOf("alice", alice))
      yield* store.add(peerOf("bob", bob, { enabled: false }))
      const { id } = grantOf(1)
      assert.strictEqual(yield* reasonOf(store.redeem(id, alice, "x")), "AlreadyPeer")
      assert.strictEqual(yield* reasonOf(store.redeem(id, bob, "x")), "Rejected")
      assert.strictEqual(yield* reasonOf(store.redeem(id, local, "x")), "Rejected")
      const { grants, peers } = yield* store.list
      assert.isUndefined(grants[0]?.redeemedBy)
      assert.deepStrictEqual(peers[0]?.scopes, ["msg:send"])
      assert.strictEqual((yield* store.redeem(id, carol, "Alice")).peerId, "alice-2")
    }))

  test("ID-036 an invite that is over, revoked, unknown, for another, or no invite gives no peer", (store) =>
    Effect.gen(function* () {
      yield* store.issueGrant(grantOf(1))
      yield* store.issueGrant(grantOf(2))
      yield* store.revokeGrant(grantOf(2).id)
      yield* store.issueGrant(grantOf(3, { audience: bob }))
      yield* store.issueGrant(grantOf(4, { kind: "access" }))
      const redeem = (first: number) => reasonOf(store.redeem(grantOf(first).id, alice, "x"))
      for (const first of [2, 3, 4, 5]) assert.strictEqual(yield* redeem(first), "Rejected")
      yield* TestClock.setTime(3_600_000)
      assert.strictEqual(yield* redeem(1), "Expired")
      assert.strictEqual((yield* store.list).peers.length, 0)
      yield* TestClock.setTime(3_599_999)
      assert.strictEqual(yield* redeem(1), "ok")
    }))

  test("ID-036 an audience lets the one joiner in", (store) =>
    Effect.gen(function* () {
      yield* store.issueGrant(grantOf(1, { audience: alice }))
      assert.strictEqual((yield* store.redeem(grantOf(1).id, alice, "\u0007")).peerId, "peer")
      assert.strictEqual((yield* store.list).peers[0]?.displayName, "\ufffd")
    }))

  test("hints are kept, newest first and at most 16, without a new revision", (store) =>
    Effect.gen(function* () {
      yield* store.add(peerOf("alice", alice))
      const { revision } = yield* SubscriptionRef.get(store.snapshot)
      for (let port = 1; port <= 20; port++) yield* store.seen("alice", 1000, `10.0.0.1:${port}`)
      yield* store.seen("alice", 1059, undefined)
      yield* store.seen("alice", 1060, "10.0.0.1:10")
      yield* store.seen("nobody", 1000, undefined)
      yield* store.seen("alice", 1000, "not an address")
      const after = yield* SubscriptionRef.get(store.snapshot)
      assert.strictEqual(after.revision, revision)
      assert.strictEqual(after.peers[0]?.lastSeen, 1060)
      assert.strictEqual(after.peers[0]?.addresses.length, 16)
      assert.deepStrictEqual(after.peers[0]?.addresses.slice(0, 3), ["10.0.0.1:10", "10.0.0.1:20", "10.0.0.1:19"])
      yield* store.update("alice", (peer) => ({ ...peer, scopes: [] }))
      assert.deepStrictEqual((yield* store.list).peers[0]?.addresses, after.peers[0]?.addresses)
    }))

  test("ID-R36 changes gives the current snapshot, then each new one whole", (store) =>
    Effect.gen(function* () {
      yield* store.add(peerOf("alice", alice))
      const collected = yield* store.changes.pipe(
        Stream.take(3),
        Stream.runCollect,
        Effect.forkChild({ startImmediately: true })
      )
      yield* store.seen("alice", 5, undefined)
      yield* store.add(peerOf("bob", bob))
      yield* store.remove("alice")
      const names = (yield* Fiber.join(collected)).map(({ peers }) => peers.map((peer) => peer.peerId).join())
      assert.deepStrictEqual(names, ["alice", "alice,bob", "bob"])
    }))

  test("a failed write changes nothing, and gives no new snapshot", (store) =>
    Effect.gen(function* () {
      yield* store.add(peerOf("alice", alice))
      const before = yield* SubscriptionRef.get(store.snapshot)
      assert.strictEqual(yield* reasonOf(store.add(peerOf("bob", alice))), "FingerprintTaken")
      assert.strictEqual(yield* SubscriptionRef.get(store.snapshot), before)
    }))
}
