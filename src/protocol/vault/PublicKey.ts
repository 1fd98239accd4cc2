/**
 * The public key of a 32-byte secret: Ed25519 (RFC 8032 section 5.1.5) or X25519 (RFC 7748 section 6.1).
 *
 * `node:crypto` takes the secret as PKCS#8 (RFC 8410 section 7): a fixed prefix of 16 bytes that names the algorithm, then the
 * secret. The last 32 bytes of the SubjectPublicKeyInfo it gives are the public key.
 */
import { createPrivateKey, createPublicKey } from "node:crypto"

export type PublicScheme = "ed25519" | "x25519"

const PREFIX: Record<PublicScheme, Uint8Array> = {
  ed25519: Uint8Array.from([
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20
  ]),
  x25519: Uint8Array.from([
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x6e, 0x04, 0x22, 0x04, 0x20
  ])
}

export const publicKeyOf = (scheme: PublicScheme, secret: Uint8Array): Uint8Array => {
  const der = Buffer.alloc(48)
  der.set(PREFIX[scheme])
  der.set(secret, 16)
  const spki = createPublicKey(createPrivateKey({ key: der, format: "der", type: "pkcs8" })).export({
    format: "der",
    type: "spki"
  })
  der.fill(0)
  return new Uint8Array(spki.subarray(-32))
}
