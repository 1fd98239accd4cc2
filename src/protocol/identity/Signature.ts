/**
 * Strict Ed25519 verification (RFC 8032) with the key of a node.
 *
 * The key is a canonical point that is not of small order (ID-R01, checked wherever bytes become a NodeId), S is below the
 * group order, and the signature is 64 bytes. So a signature has one form, and none is valid without the private key.
 */
import { createPublicKey, verify } from "node:crypto"
import { concatBytes, hexToBytes } from "@noble/hashes/utils.js"
import { type NodeId, nodeIdToBytes } from "./NodeId.ts"

export const SIGNATURE_BYTES = 64

/** Ed25519 SubjectPublicKeyInfo up to the key (RFC 8410 section 4). */
const SPKI_PREFIX = hexToBytes("302a300506032b6570032100")
/** The order L of the group, little-endian, as S is. */
const ORDER = hexToBytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")

/** Whether the node signed `context`, a zero byte and `payload`. */
export const verifySignature = (
  nodeId: NodeId,
  context: string,
  payload: Uint8Array,
  signature: Uint8Array
): boolean => {
  if (signature.length !== SIGNATURE_BYTES || !isBelowOrder(signature.subarray(32))) return false
  const key = createPublicKey({
    key: Buffer.concat([SPKI_PREFIX, nodeIdToBytes(nodeId)]),
    format: "der",
    type: "spki"
  })
  return verify(null, signatureInput(context, payload), key, signature)
}

/** What is signed: ASCII context, a zero byte, payload. */
export const signatureInput = (context: string, payload: Uint8Array): Uint8Array =>
  concatBytes(new TextEncoder().encode(`${context}\0`), payload)

const isBelowOrder = (scalar: Uint8Array): boolean => {
  for (let index = 31; index >= 0; index--) {
    if (scalar[index] !== ORDER[index]) return scalar[index]! < ORDER[index]!
  }
  return false
}
