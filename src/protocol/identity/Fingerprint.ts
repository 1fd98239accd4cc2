/**
 * Fingerprints: the two text forms in which a credential is pinned (identity.md section 1).
 *
 * - `ed25519:` and 64 lower-case hex digits of an Ed25519 public key, wherever the key came from (ID-R04);
 * - `SHA256:` and 64 lower-case hex digits: of the leaf certificate's DER, or of another SSH key's wire form (ID-R05).
 *
 * Parsing is strict and case-sensitive; printing gives the same text. `sha256:` in lower case marks the hash of a token
 * and is never a fingerprint.
 */
import { bytesToHex } from "@noble/hashes/utils.js"
import { Schema } from "effect"
import { type NodeId, nodeIdToBytes } from "./NodeId.ts"

export const Fingerprint = Schema.String.check(Schema.isPattern(/^(?:ed25519|SHA256):[0-9a-f]{64}$/)).pipe(
  Schema.brand("Fingerprint")
)
export type Fingerprint = typeof Fingerprint.Type

/** The fingerprint of a node's key. */
export const fingerprintOfNode = (nodeId: NodeId): Fingerprint =>
  `ed25519:${bytesToHex(nodeIdToBytes(nodeId))}` as Fingerprint
