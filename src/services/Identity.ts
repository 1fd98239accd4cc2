/**
 * Who this node is, and who a fingerprint or a token is (identity.md sections 4, 5 and 12).
 *
 * Look-ups read one immutable snapshot of the peer store: no input or output, never a failure. A change of the store
 * counts from the next look-up on, without a restart or a reconnect (ID-R27).
 */
import { Context, type Effect, type Option, type Redacted, Schema, type SubscriptionRef } from "effect"
import type { Alpn } from "../protocol/Alpn.ts"
import type { Fingerprint } from "../protocol/identity/Fingerprint.ts"
import type { NodeId, PeerKey } from "../protocol/identity/NodeId.ts"
import type { SocketAddress } from "../protocol/SocketAddress.ts"
import type { Snapshot } from "./PeerStore.ts"

/** Somebody with rights: a peer, an API key or an access grant. "No principal" means anonymous. */
export interface Principal {
  /** The `peerId`, an API key's prefix, or `grant-` and 16 hex digits. */
  readonly id: string
  /** Scope patterns held. Empty: may do nothing. */
  readonly scopes: ReadonlyArray<string>
  readonly resources: Readonly<Record<string, ReadonlyArray<string>>>
}

/** The key pair of this node, as the transports need it. Built by the assembly from the vault key; wiped with its scope. */
export interface LocalIdentity {
  readonly nodeId: NodeId
  readonly fingerprint: Fingerprint
  /** The self-signed certificate of this start (ID-R07, ID-R08), PEM. */
  readonly certPem: string
  /** PKCS#8 PEM bytes. */
  readonly keyPem: Redacted.Redacted<Uint8Array>
  /** Ed25519 signature over context, a zero byte and payload; 64 bytes. */
  readonly sign: (context: "alknet-ticket-v1", payload: Uint8Array) => Effect.Effect<Uint8Array>
}

/** What is known about the other side of a connection when it is accepted. Decisions use `resolveRequest` (ID-R59). */
export interface AuthContext {
  /** State at accept, for logs and as the default. */
  readonly identity: Principal | undefined
  readonly alpn: Alpn
  readonly remoteAddress: SocketAddress | undefined
  readonly peerKey: PeerKey | undefined
}

/** A token was shown that resolves to nobody. The request has no identity; it does not fall back to the connection's. */
export class TokenRejected extends Schema.TaggedError<TokenRejected>()("TokenRejected", { prefix: Schema.String }) {
  override get message() {
    return "the token is not valid"
  }
}

export class Identity extends Context.Service<
  Identity,
  {
    readonly local: LocalIdentity
    readonly snapshot: SubscriptionRef.SubscriptionRef<Snapshot>
    /** The enabled peer that lists exactly this fingerprint. */
    readonly resolveFromFingerprint: (fingerprint: Fingerprint) => Effect.Effect<Option.Option<Principal>>
    /** A peer, an API key or an access grant; `peerKey` is the holder where the connection proved one. */
    readonly resolveFromToken: (
      token: Redacted.Redacted<string>,
      peerKey?: NodeId
    ) => Effect.Effect<Option.Option<Principal>>
    /** Without a token the connection's peer key counts, looked up now; with one, it alone. */
    readonly resolveRequest: (
      auth: AuthContext,
      token?: Redacted.Redacted<string>
    ) => Effect.Effect<Option.Option<Principal>, TokenRejected>
  }
>()("alknet/Identity") {}
