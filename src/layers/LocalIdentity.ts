/**
 * The key pair of this node in the forms that the transports need: NodeId, certificate, private key, signatures.
 *
 * Everything is made in memory from the one key pair that the vault gave out (ID-R06, ID-R07). The PEM bytes of the
 * private key are wiped when the scope closes; copies inside the TLS stacks live as long as their contexts.
 */
import { createPrivateKey, randomBytes, sign } from "node:crypto"
import { Effect, Redacted, type Scope } from "effect"
import { encodeNodeCertificate, toPem } from "../protocol/identity/Certificate.ts"
import { fingerprintOfNode } from "../protocol/identity/Fingerprint.ts"
import { type NodeIdInvalid, nodeIdFromBytes } from "../protocol/identity/NodeId.ts"
import type { LocalIdentity } from "../services/Identity.ts"

/** PKCS#8 header of an Ed25519 private key; the 32-byte seed follows (RFC 8410 section 7). */
const PKCS8_PREFIX = Buffer.from("302e020100300506032b657004220420", "hex")

/** An Ed25519 key pair: 32-byte public key and RFC 8032 seed. What `Vault.key` gives. */
export interface NodeKeyPair {
  readonly publicKey: Uint8Array
  readonly secret: Redacted.Redacted<Uint8Array>
}

export const makeLocalIdentity = Effect.fn("LocalIdentity.make")(function* (
  pair: NodeKeyPair
): Effect.fn.Return<LocalIdentity, NodeIdInvalid, Scope.Scope> {
  const nodeId = yield* Effect.fromResult(nodeIdFromBytes(pair.publicKey))
  const pkcs8 = Buffer.concat([PKCS8_PREFIX, Redacted.value(pair.secret)])
  const key = createPrivateKey({ key: pkcs8, format: "der", type: "pkcs8" })
  const keyPem = new TextEncoder().encode(toPem("PRIVATE KEY", pkcs8))
  pkcs8.fill(0)
  yield* Effect.addFinalizer(() => Effect.sync(() => keyPem.fill(0)))
  const certificate = encodeNodeCertificate({
    nodeId,
    serial: randomBytes(16),
    sign: (toBeSigned) => sign(null, toBeSigned, key)
  })
  return {
    nodeId,
    fingerprint: fingerprintOfNode(nodeId),
    certPem: toPem("CERTIFICATE", certificate),
    keyPem: Redacted.make(keyPem, { label: "node key" }),
    sign: (context, payload) =>
      Effect.sync(() => new Uint8Array(sign(null, Buffer.concat([Buffer.from(`${context}\0`, "ascii"), payload]), key)))
  }
})

/** A node of its own with a random key: for tests, benches and throw-away dialers. */
export const makeEphemeralIdentity: Effect.Effect<LocalIdentity, never, Scope.Scope> = Effect.suspend(() => {
  const secret = randomBytes(32)
  const key = createPrivateKey({ key: Buffer.concat([PKCS8_PREFIX, secret]), format: "der", type: "pkcs8" })
  const publicKey = Buffer.from(key.export({ format: "jwk" }).x ?? "", "base64url")
  return makeLocalIdentity({ publicKey, secret: Redacted.make(secret) })
}).pipe(Effect.orDie)
