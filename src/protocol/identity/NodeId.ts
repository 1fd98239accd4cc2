/**
 * NodeId: the public Ed25519 key of a node, and its text form (identity.md section 1).
 *
 * Text is z-base-32 (alphabet `ybndrfg8ejkmcpqxot1uwisza345h769`, first bit first): 52 characters, the last of which
 * carries one bit and is `y` or `o`. Nothing else parses: no upper case, no spaces, no other last character.
 *
 * The 32 bytes are a canonical encoding of a curve point that is not of small order (ID-R01). With a small-order key both
 * TLS stacks accept a signature that was made without any private key, so this check stands wherever bytes become a NodeId.
 */
import { ed25519 } from "@noble/curves/ed25519.js"
import { Result, Schema } from "effect"
import { decodeZBase32, encodeZBase32 } from "../ZBase32.ts"

/** z-base-32 text of a checked public key. */
export const NodeId = Schema.String.check(
  Schema.makeFilter((text) => isNodeKey(fromText(text) ?? new Uint8Array(0)) || "not a node id")
).pipe(Schema.brand("NodeId"))
export type NodeId = typeof NodeId.Type

/** The NodeId that the other side of a connection has proven in the handshake. */
export type PeerKey = NodeId

export class NodeIdInvalid extends Schema.TaggedError<NodeIdInvalid>()("NodeIdInvalid", {
  reason: Schema.Literals(["length", "text", "key"])
}) {
  override get message() {
    return this.reason === "key" ? "not a usable Ed25519 public key" : "not a node id (52 characters of z-base-32)"
  }
}

const fromText = (text: string): Uint8Array | undefined => (text.length === 52 ? decodeZBase32(text) : undefined)

/** The NodeId of a 32-byte public key. */
export const nodeIdFromBytes = (key: Uint8Array): Result.Result<NodeId, NodeIdInvalid> => {
  if (key.length !== 32) return Result.fail(new NodeIdInvalid({ reason: "length" }))
  if (!isNodeKey(key)) return Result.fail(new NodeIdInvalid({ reason: "key" }))
  return Result.succeed(encodeZBase32(key) as NodeId)
}

/** Reads the text form. */
export const nodeIdFromText = (text: string): Result.Result<NodeId, NodeIdInvalid> => {
  const key = fromText(text)
  return key === undefined ? Result.fail(new NodeIdInvalid({ reason: "text" })) : nodeIdFromBytes(key)
}

/** The 32 bytes of the public key. */
export const nodeIdToBytes = (nodeId: NodeId): Uint8Array => decodeZBase32(nodeId)!

/** Keys that passed, by latin-1 text: the same few peers come again and again, and the point check costs 0.1 ms. */
const checked = new Set<string>()
const CHECKED_MAX = 16_384

/** Whether the bytes are a canonical encoding of a point that is not of small order (ID-R01). */
export const isNodeKey = (key: Uint8Array): boolean => {
  if (key.length !== 32) return false
  const text = String.fromCharCode(...key)
  if (checked.has(text)) return true
  try {
    if (ed25519.Point.fromBytes(key, false).isSmallOrder()) return false
  } catch {
    return false
  }
  if (checked.size >= CHECKED_MAX) checked.clear()
  checked.add(text)
  return true
}
