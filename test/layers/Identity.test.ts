import { assert, it } from "@effect/vitest"
import { Effect, Option, Redacted } from "effect"
import { TestClock } from "effect/testing"
import { issueApiKey } from "../../src/layers/ApiKeyIssue.ts"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { issueAccess, issueInvite } from "../../src/layers/Invite.ts"
import { Alpn } from "../../src/protocol/Alpn.ts"
import { type Fingerprint, fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import { expandScopes } from "../../src/protocol/identity/Presets.ts"
import { scopesMatch } from "../../src/protocol/identity/Scope.ts"
import { hashToken, isToken, makeToken } from "../../src/protocol/identity/Token.ts"
import { type AuthContext, Identity } from "../../src/services/Identity.ts"
import { makeTestIdentity, makeTestIdentityWith, provideIdentity, secret } from "./IdentityFixtures.ts"
import { apiKeyOf, newNodeId, peerOf } from "./store/PeerFixtures.ts"

const alice = newNodeId()
const bob = newNodeId()
let drawn = 0
const token = (): string => makeToken((size) => new Uint8Array(size).fill(drawn++ % 62))

const authOf = (peerKey: AuthContext["peerKey"]): AuthContext => ({
  identity: undefined,
  alpn: Alpn.make("alknet/call"),
  remoteAddress: undefined,
  peerKey
})
const idOf = <E>(effect: Effect.Effect<Option.Option<{ readonly id: string }>, E>) =>
  Effect.map(effect, (found) => Option.getOrUndefined(Option.map(found, ({ id }) => id)))

it.effect("ID-017 a new fingerprint counts from the next look-up on, the old one no more", () =>
  Effect.gen(function* () {
    const { identity, store } = yield* makeTestIdentity
    const who = (nodeId: typeof alice) => idOf(identity.resolveFromFingerprint(fingerprintOfNode(nodeId)))
    assert.isUndefined(yield* who(alice))
    yield* store.add(peerOf("alice", alice))
    assert.strictEqual(yield* who(alice), "alice")
    yield* store.update("alice", (peer) => ({ ...peer, fingerprints: [fingerprintOfNode(bob)] }))
    assert.isUndefined(yield* who(alice))
    assert.strictEqual(yield* who(bob), "alice")
    yield* store.enable("alice", false)
    assert.isUndefined(yield* who(bob))
    yield* store.enable("alice", true)
    assert.strictEqual(yield* who(bob), "alice")
    assert.isUndefined(
      yield* idOf(identity.resolveFromFingerprint(fingerprintOfNode(bob).toUpperCase() as Fingerprint))
    )
    yield* store.remove("alice")
    assert.isUndefined(yield* who(bob))
  })
)

it.effect("ID-R22 this node is no peer of itself, whatever the store says", () =>
  Effect.gen(function* () {
    const { local, identity } = yield* makeTestIdentityWith(({ nodeId }) => ({
      initial: { peers: [peerOf("self", nodeId, { scopes: ["*"] })] }
    }))
    assert.isUndefined(yield* idOf(identity.resolveFromFingerprint(local.fingerprint)))
    assert.isUndefined(yield* idOf(identity.resolveRequest(authOf(local.nodeId))))
  })
)

it.effect("ID-019 a token is the enabled peer that has it, or an API key that has not ended", () =>
  Effect.gen(function* () {
    const { identity, store } = yield* makeTestIdentity
    const who = (text: string) => idOf(identity.resolveFromToken(secret(text)))
    const [peerToken, keyToken] = [token(), token()]
    yield* store.add(peerOf("alice", alice, { authTokenHash: hashToken(peerToken) }))
    yield* store.addKey(apiKeyOf(keyToken.slice(0, 8), { sha256: hashToken(keyToken), expiresAt: 100 }))
    assert.strictEqual(yield* who(peerToken), "alice")
    yield* TestClock.setTime(99_999)
    const key = Option.getOrThrow(yield* identity.resolveFromToken(secret(keyToken)))
    assert.deepStrictEqual({ ...key }, { id: keyToken.slice(0, 8), scopes: ["call:*"], resources: {} })
    yield* TestClock.setTime(100_000)
    assert.isUndefined(yield* who(keyToken))
    yield* store.enable("alice", false)
    assert.isUndefined(yield* who(peerToken))
  })
)

it.effect("ID-019 the token of a disabled peer is nobody's, even where an API key has it too", () =>
  Effect.gen(function* () {
    const peerToken = token()
    const sha256 = hashToken(peerToken)
    const { identity } = yield* makeTestIdentityWith(() => ({
      initial: {
        peers: [peerOf("alice", alice, { authTokenHash: sha256, enabled: false })],
        apiKeys: [apiKeyOf(peerToken.slice(0, 8), { sha256 })]
      }
    }))
    assert.isUndefined(yield* idOf(identity.resolveFromToken(secret(peerToken))))
  })
)

it.effect("ID-020 text that is no token is nobody's, without an exception", () =>
  Effect.gen(function* () {
    const { identity, store } = yield* makeTestIdentity
    yield* store.add(peerOf("alice", alice))
    const broken = [
      "",
      "alk_",
      "alk1",
      "alk1qqqqqqq",
      "ALK1X",
      `alk_${"😀".repeat(20)}`,
      `${token()}\n`,
      `alk_${"a".repeat(1_000_000)}`
    ]
    for (const text of broken) assert.isUndefined(yield* idOf(identity.resolveFromToken(secret(text))))
  })
)

it.effect("ID-022 without a token the connection counts, with one it alone, and a bad one is no way back", () =>
  Effect.gen(function* () {
    const { identity, store } = yield* makeTestIdentity
    const good = token()
    yield* store.add(peerOf("alice", alice))
    yield* store.addKey(apiKeyOf(good.slice(0, 8), { sha256: hashToken(good) }))
    const auth = authOf(alice)
    assert.strictEqual(yield* idOf(identity.resolveRequest(auth)), "alice")
    assert.isUndefined(yield* idOf(identity.resolveRequest(authOf(undefined))))
    assert.isUndefined(yield* idOf(identity.resolveRequest(authOf(bob))))
    const asKey = Option.getOrThrow(yield* identity.resolveRequest(auth, secret(good)))
    assert.deepStrictEqual([asKey.id, asKey.scopes], [good.slice(0, 8), ["call:*"]])
    const bad = token()
    const both = yield* Effect.all(
      [
        idOf(identity.resolveRequest(auth, secret(good))),
        Effect.flip(identity.resolveRequest(auth, secret(bad))),
        idOf(identity.resolveRequest(auth))
      ],
      { concurrency: "unbounded" }
    )
    assert.strictEqual(both[0], good.slice(0, 8))
    assert.deepStrictEqual([both[1]._tag, both[1].prefix], ["TokenRejected", bad.slice(0, 8)])
    assert.strictEqual(both[2], "alice")
    assert.strictEqual((yield* Effect.flip(identity.resolveRequest(auth, secret("secret!")))).prefix, "-")
  })
)

it.effect("ID-029 a preset is expanded when it is written: an entry holds plain scopes", () =>
  Effect.gen(function* () {
    const { identity, store } = yield* makeTestIdentity
    yield* store.add(peerOf("alice", alice, { scopes: expandScopes("guest") }))
    yield* store.add(peerOf("bob", bob, { scopes: [] }))
    const { peers } = yield* store.list
    assert.deepStrictEqual(peers[0]?.scopes, ["msg:send", "fs:read"])
    const nothing = Option.getOrThrow(yield* identity.resolveRequest(authOf(bob)))
    assert.isFalse(scopesMatch(nothing.scopes, "msg:send"))
  })
)

const operator = { issuer: "operator", scopes: ["git:read:site"], addresses: [] } as const

it.effect("ID-040 an access grant resolves for its holder, until it ends or is revoked, and at its issuer only", () =>
  Effect.gen(function* () {
    const node = yield* makeTestIdentity
    const other = yield* makeTestIdentity
    const issue = (options: Partial<Parameters<typeof issueAccess>[0]>) =>
      issueAccess({ ...operator, ...options }).pipe(provideIdentity(node))
    const { ticket, grant } = yield* issue({ audience: alice, life: "1 minute" })
    const who = (at: typeof node, holder: typeof alice | undefined, text = ticket) =>
      idOf(at.identity.resolveFromToken(text, holder))
    const id = `grant-${Buffer.from(grant.id).toString("hex").slice(0, 16)}`
    const principal = Option.getOrThrow(yield* node.identity.resolveRequest(authOf(alice), ticket))
    assert.deepStrictEqual({ ...principal }, { id, scopes: ["git:read:site"], resources: {} })
    assert.isUndefined(yield* who(node, bob))
    assert.isUndefined(yield* who(node, undefined))
    assert.isUndefined(yield* who(other, alice))
    yield* other.store.issueGrant(grant)
    assert.isUndefined(yield* who(other, alice))

    const open = yield* issue({})
    assert.match(`${yield* who(node, undefined, open.ticket)}`, /^grant-[0-9a-f]{16}$/)
    assert.match(`${yield* who(node, bob, open.ticket)}`, /^grant-/)
    yield* node.store.revokeGrant(open.grant.id)
    assert.isUndefined(yield* who(node, bob, open.ticket))

    const invite = yield* issueInvite(operator).pipe(provideIdentity(node))
    assert.isUndefined(yield* who(node, alice, invite.ticket))

    yield* TestClock.setTime(59_999)
    assert.strictEqual(yield* who(node, alice), id)
    yield* TestClock.setTime(60_000)
    assert.isUndefined(yield* who(node, alice))
    assert.strictEqual((yield* node.store.list).peers.length, 0)
    const error = yield* Effect.flip(node.identity.resolveRequest(authOf(alice), ticket))
    assert.match(error.prefix, /^grant:[0-9a-f]{8}$/)
  })
)

it.effect("ID-R48 a grant whose row is missing or differs from the text is worth nothing", () =>
  Effect.gen(function* () {
    const node = yield* makeTestIdentity
    const lost = yield* makeTestIdentity
    const { ticket, grant } = yield* issueAccess(operator).pipe(provideIdentity(node))
    // The same key with another store: what a backup of the key alone can do.
    const again = yield* Effect.provide(
      Identity.use((identity) => Effect.succeed(identity)),
      IdentityLayer.layer(node.local)
    ).pipe(provideIdentity(lost))
    const who = idOf(again.resolveFromToken(ticket))
    assert.isUndefined(yield* who)
    yield* lost.store.issueGrant({ ...grant, scopes: ["*"] })
    assert.isUndefined(yield* who)
  })
)

it.effect("ID-039 a grant never exceeds who asks for it, and never lives too long", () =>
  Effect.gen(function* () {
    const node = yield* makeTestIdentity
    const manager = { id: "alice", scopes: ["node:admin", "git:read:*"], resources: {} }
    const reasonOf = <A, E extends { readonly reason: string }>(effect: Effect.Effect<A, E>) =>
      Effect.match(effect, { onSuccess: () => "ok", onFailure: ({ reason }) => reason })
    const invite = (options: Partial<Parameters<typeof issueInvite>[0]>) =>
      reasonOf(issueInvite({ ...operator, ...options }).pipe(provideIdentity(node)))
    const access = (options: Partial<Parameters<typeof issueAccess>[0]>) =>
      reasonOf(issueAccess({ ...operator, ...options }).pipe(provideIdentity(node)))
    assert.strictEqual(yield* invite({ issuer: manager, scopes: ["git:write:*"] }), "Exceeds")
    assert.strictEqual(yield* invite({ issuer: manager, scopes: ["git:read:*", "*"] }), "Exceeds")
    assert.strictEqual(yield* invite({ issuer: manager, scopes: ["git:read:site"] }), "ok")
    assert.strictEqual(yield* invite({ scopes: ["*"] }), "ok")
    assert.strictEqual(yield* invite({ life: "31 days" }), "Life")
    assert.strictEqual(yield* invite({ life: "30 days" }), "ok")
    assert.strictEqual(yield* invite({ life: 0 }), "Life")
    assert.strictEqual(yield* access({ life: "25 hours" }), "Life")
    assert.strictEqual(yield* access({ life: "30 days", audience: alice }), "ok")
    assert.strictEqual(yield* access({ life: "31 days", audience: alice }), "Life")
    assert.strictEqual(yield* invite({ scopes: [] }), "Invalid")
    assert.strictEqual(yield* invite({ scopes: ["not a scope"] }), "Invalid")
    assert.strictEqual(yield* invite({ label: "x".repeat(65) }), "Invalid")
    assert.strictEqual((yield* node.store.list).grants.length, 4)
  })
)

it.effect("ID-R57 a ticket does not show in what is printed of it", () =>
  Effect.gen(function* () {
    const node = yield* makeTestIdentity
    const issued = yield* issueInvite(operator).pipe(provideIdentity(node))
    assert.notInclude(JSON.stringify(issued) + String(issued.ticket), "alk1")
    assert.match(Redacted.value(issued.ticket), /^alk1/)
  })
)

it.effect("a new API key resolves by its token; only its hash is kept", () =>
  Effect.gen(function* () {
    const node = yield* makeTestIdentity
    const { token, key } = yield* issueApiKey({ scopes: ["call:*"], life: "1 hour" }).pipe(provideIdentity(node))
    const text = Redacted.value(token)
    assert.isTrue(isToken(text))
    assert.strictEqual(yield* idOf(node.identity.resolveFromToken(token)), key.prefix)
    assert.strictEqual(key.expiresAt, 3600)
    assert.notInclude(JSON.stringify(yield* node.store.list), text)
  })
)

it.effect("the test layer lets everybody who shows a key or a token hold its scopes", () =>
  Effect.gen(function* () {
    const identity = yield* Identity
    const found = Option.getOrThrow(yield* identity.resolveRequest(authOf(alice)))
    assert.deepStrictEqual(found.scopes, ["msg:send"])
    assert.isTrue(Option.isNone(yield* identity.resolveRequest(authOf(undefined))))
  }).pipe(Effect.provide(IdentityLayer.layerTest(["msg:send"])))
)
