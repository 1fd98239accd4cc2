import { createHash, generateKeyPairSync } from "node:crypto"
import { Result } from "effect"
import { fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import { type NodeId, nodeIdFromBytes } from "../../../src/protocol/identity/NodeId.ts"
import { ApiKey, Grant, PeerEntry } from "../../../src/services/PeerStore.ts"

/** The key of a node that nobody runs. */
export const newNodeId = (): NodeId => {
  const { publicKey } = generateKeyPairSync("ed25519")
  return Result.getOrThrow(nodeIdFromBytes(Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url")))
}

export const peerOf = (peerId: string, nodeId: NodeId, changes: Partial<PeerEntry> = {}): PeerEntry => ({
  ...new PeerEntry({
    peerId,
    fingerprints: [fingerprintOfNode(nodeId)],
    scopes: ["msg:send"],
    resources: {},
    enabled: true,
    addresses: []
  }),
  ...changes
})

export const hashOf = (text: string): string => `sha256:${createHash("sha256").update(text).digest("hex")}`

export const apiKeyOf = (prefix: string, changes: Partial<ApiKey> = {}): ApiKey => ({
  ...new ApiKey({ prefix, sha256: hashOf(prefix), scopes: ["call:*"] }),
  ...changes
})

export const grantOf = (first: number, changes: Partial<Grant> = {}): Grant => ({
  ...new Grant({
    id: new Uint8Array(16).fill(first),
    kind: "invite",
    scopes: ["msg:send", "git:read:*"],
    issuedAt: 0,
    expiresAt: 3600,
    revoked: false
  }),
  ...changes
})
