/**
 * Identity over the peer store: who a fingerprint, a token or a request is (identity.md section 5).
 *
 * Every look-up reads the newest snapshot and nothing else, so that a change counts from the next one on. Hashes of tokens
 * are compared in constant time over all candidates; text that cannot be a token is not hashed.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { Clock, Effect, Layer, Option, Redacted, Result, SubscriptionRef } from "effect"
import { nameOfCredential } from "../protocol/identity/Credential.ts"
import { fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import type { NodeId } from "../protocol/identity/NodeId.ts"
import { isTicketText } from "../protocol/identity/Ticket.ts"
import { hashToken, isToken, tokenPrefix } from "../protocol/identity/Token.ts"
import { Identity, type LocalIdentity, type Principal, TokenRejected } from "../services/Identity.ts"
import { PeerStore, type Snapshot, type StoreError } from "../services/PeerStore.ts"
import { checkGrantTicket } from "./GrantCheck.ts"
import { makeEphemeralIdentity } from "./LocalIdentity.ts"
import { indexOf, peerOfFingerprint, principalOf, type Tokens } from "./PeerIndex.ts"

/** Who is who by the peer store; `local` is made from the vault's key by the assembly. */
export const layer = (local: LocalIdentity): Layer.Layer<Identity, StoreError, PeerStore> =>
  Layer.effect(
    Identity,
    Effect.map(PeerStore, ({ snapshot }) => {
      const now = Effect.map(Clock.currentTimeMillis, (millis) => Math.floor(millis / 1000))

      const resolveFromFingerprint: Identity["Service"]["resolveFromFingerprint"] = (fingerprint) =>
        Effect.map(SubscriptionRef.get(snapshot), (current) => {
          // A store that was filled without knowing this node may list it; nobody is a peer of itself (ID-R22).
          const peer = fingerprint === local.fingerprint ? undefined : peerOfFingerprint(current, fingerprint)
          return Option.fromUndefinedOr(peer === undefined ? undefined : principalOf(current, peer))
        })

      const resolveFromToken: Identity["Service"]["resolveFromToken"] = Effect.fnUntraced(function* (token, peerKey) {
        const text = Redacted.value(token)
        const question = { text, holder: peerKey, now: yield* now, snapshot: yield* SubscriptionRef.get(snapshot) }
        return Option.fromUndefinedOr(
          isTicketText(text) ? ofGrant({ ...question, local: local.nodeId }) : ofToken(question)
        )
      })

      return Identity.of({
        local,
        snapshot,
        resolveFromFingerprint,
        resolveFromToken,
        resolveRequest: ({ peerKey }, token) => {
          if (token !== undefined) return resolveOrReject(resolveFromToken(token, peerKey), token)
          return peerKey === undefined ? nobody : resolveFromFingerprint(fingerprintOfNode(peerKey))
        }
      })
    })
  )

/** For tests: a node with a key of its own to which everybody who shows a key or a token is one peer with these scopes. */
export const layerTest = (scopes: ReadonlyArray<string>): Layer.Layer<Identity> =>
  Layer.effect(
    Identity,
    Effect.gen(function* () {
      const local = yield* makeEphemeralIdentity
      const empty: Snapshot = { revision: 0, peers: [], apiKeys: [], grants: [] }
      const somebody = Effect.succeed(Option.some<Principal>({ id: "test", scopes, resources: {} }))
      return Identity.of({
        local,
        snapshot: yield* SubscriptionRef.make(empty),
        resolveFromFingerprint: () => somebody,
        resolveFromToken: () => somebody,
        resolveRequest: ({ peerKey }, token) => (peerKey === undefined && token === undefined ? nobody : somebody)
      })
    })
  )

const nobody = Effect.succeed(Option.none<Principal>())

const resolveOrReject = (
  resolved: Effect.Effect<Option.Option<Principal>>,
  token: Redacted.Redacted<string>
): Effect.Effect<Option.Option<Principal>, TokenRejected> =>
  Effect.flatMap(resolved, (principal) =>
    Option.isSome(principal)
      ? Effect.succeed(principal)
      : new TokenRejected({ prefix: nameOfCredential(Redacted.value(token)).credential })
  )

interface Question {
  readonly text: string
  readonly holder: NodeId | undefined
  readonly now: number
  readonly snapshot: Snapshot
}

/** An access grant: rights without a peer (ID-R58). */
const ofGrant = (question: Question & { readonly local: NodeId }): Principal | undefined => {
  const grant = Result.getOrUndefined(checkGrantTicket({ ...question, kind: "access" }))
  return grant === undefined
    ? undefined
    : { id: `grant-${bytesToHex(grant.row.id).slice(0, 16)}`, scopes: grant.row.scopes, resources: {} }
}

const ofToken = ({ text, now, snapshot }: Question): Principal | undefined => {
  if (!isToken(text)) return undefined
  const { peerTokens, keysByPrefix } = indexOf(snapshot)
  const hash = hashToken(text)
  const peer = ownerOf(peerTokens, hash)
  if (peer !== undefined) return principalOf(snapshot, peer)
  const keys = keysByPrefix.get(tokenPrefix(text))
  const key = keys === undefined ? undefined : ownerOf(keys, hash)
  if (key === undefined || (key.expiresAt !== undefined && now >= key.expiresAt)) return undefined
  return { id: key.prefix, scopes: key.scopes, resources: {} }
}

const ownerOf = <A>({ hashes, owners }: Tokens<A>, hash: string): A | undefined => owners[hashes.indexOf(hash)]
