/**
 * The known peers, the API keys and the grants of a node, with live changes (identity.md sections 4, 6 and 9).
 *
 * Layers: SQLite (the default, shared by several processes) and memory, in src/layers/store. Every write is one
 * transaction; a reader sees whole snapshots only. Beside what identity.md names, an entry keeps hints: where a peer was
 * last reached, and when. Hints never decide anything.
 */
import { Context, type Effect, Schema, type Stream, type SubscriptionRef } from "effect"
import { Fingerprint } from "../protocol/identity/Fingerprint.ts"
import { NodeId } from "../protocol/identity/NodeId.ts"

export class PeerEntry extends Schema.Class<PeerEntry>("PeerEntry")({
  /** `^[a-z0-9][a-z0-9.-]{0,62}$`, not starting with `grant-`; stable over key rotation (ID-R21). */
  peerId: Schema.String,
  fingerprints: Schema.Array(Fingerprint),
  /** `sha256:` and 64 hex digits; the token itself is never kept. */
  authTokenHash: Schema.optionalKey(Schema.String),
  scopes: Schema.Array(Schema.String),
  resources: Schema.Record(Schema.String, Schema.Array(Schema.String)),
  displayName: Schema.optionalKey(Schema.String),
  enabled: Schema.Boolean,
  /** Hint: `HOST:PORT` texts where it may be reached, best first; at most 16. */
  addresses: Schema.Array(Schema.String),
  /** Hint: Unix seconds of the last connection, in either direction. */
  lastSeen: Schema.optionalKey(Schema.Int)
}) {}

export class ApiKey extends Schema.Class<ApiKey>("ApiKey")({
  /** The first 8 characters of the token; public. */
  prefix: Schema.String,
  sha256: Schema.String,
  scopes: Schema.Array(Schema.String),
  /** Unix seconds; from this second on it is dead. */
  expiresAt: Schema.optionalKey(Schema.Int)
}) {}

export class Grant extends Schema.Class<Grant>("Grant")({
  /** 16 random bytes. */
  id: Schema.Uint8Array,
  kind: Schema.Literals(["invite", "access"]),
  scopes: Schema.Array(Schema.String),
  audience: Schema.optionalKey(NodeId),
  issuedAt: Schema.Int,
  expiresAt: Schema.Int,
  redeemedBy: Schema.optionalKey(NodeId),
  revoked: Schema.Boolean
}) {}

/** Everything at one moment, never half of a transaction. */
export interface Snapshot {
  /** Grows with every change that this process sees; hints alone do not change it. */
  readonly revision: number
  readonly peers: ReadonlyArray<PeerEntry>
  readonly apiKeys: ReadonlyArray<ApiKey>
  readonly grants: ReadonlyArray<Grant>
}

export class StoreError extends Schema.TaggedError<StoreError>()("StoreError", {
  /** The field, file or table it is about; never a secret. */
  field: Schema.String,
  reason: Schema.Literals([
    "Exists",
    "NotFound",
    "FingerprintTaken",
    "TokenTaken",
    "PrefixTaken",
    "Invalid",
    "Insecure",
    "Version",
    "Io"
  ]),
  hint: Schema.String
}) {
  override get message() {
    return `peer store: ${this.field}: ${this.hint}`
  }
}

export class RedeemError extends Schema.TaggedError<RedeemError>()("RedeemError", {
  reason: Schema.Literals(["Rejected", "Expired", "Used", "AlreadyPeer"])
}) {}

export class PeerStore extends Context.Service<
  PeerStore,
  {
    readonly add: (peer: PeerEntry) => Effect.Effect<void, StoreError>
    readonly update: (peerId: string, f: (peer: PeerEntry) => PeerEntry) => Effect.Effect<void, StoreError>
    readonly enable: (peerId: string, enabled: boolean) => Effect.Effect<void, StoreError>
    readonly remove: (peerId: string) => Effect.Effect<void, StoreError>
    readonly list: Effect.Effect<Snapshot, StoreError>
    readonly addKey: (key: ApiKey) => Effect.Effect<void, StoreError>
    readonly removeKey: (prefix: string) => Effect.Effect<void, StoreError>
    readonly issueGrant: (grant: Grant) => Effect.Effect<void, StoreError>
    readonly revokeGrant: (id: Uint8Array) => Effect.Effect<void, StoreError>
    /** Uses an invite up and adds the joiner as a peer, in one transaction (ID-R50 to ID-R52). */
    readonly redeem: (
      id: Uint8Array,
      joiner: NodeId,
      suggestedName: string
    ) => Effect.Effect<PeerEntry, StoreError | RedeemError>
    /** Remembers where and when a peer was reached; no error where the peer is unknown. Not a change of `revision`. */
    readonly seen: (peerId: string, at: number, address: string | undefined) => Effect.Effect<void, StoreError>
    /** Succeeds where a write would be possible now; changes nothing. */
    readonly checkWritable: Effect.Effect<void, StoreError>
    /** The newest snapshot, read without input or output; what this process wrote is in it before the write returns. */
    readonly snapshot: SubscriptionRef.SubscriptionRef<Snapshot>
    /** The current snapshot first, then every new one; not those in which only hints differ. */
    readonly changes: Stream.Stream<Snapshot>
  }
>()("alknet/PeerStore") {}
