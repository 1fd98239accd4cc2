/**
 * An Ed25519 private key in the text form of OpenSSH (PROTOCOL.key), without a passphrase: what ssh2 takes as a host key.
 *
 * ```
 * "openssh-key-v1" 00 ‖ "none" ‖ "none" ‖ "" ‖ 1 (4) ‖ public key ‖ section
 * section = check (4) ‖ check (4) ‖ "ssh-ed25519" ‖ public (32) ‖ seed and public (64) ‖ comment ‖ 01 02 03 … to 8 bytes
 * ```
 */
import { encodeStrings } from "./Fields.ts"

const BLOCK = 8

/** The wire form of an Ed25519 public key. */
export const encodeEd25519Key = (publicKey: Uint8Array): Uint8Array => encodeStrings("ssh-ed25519", publicKey)

/** The text; whoever has it wipes it. */
export const encodeEd25519PrivateKey = (publicKey: Uint8Array, seed: Uint8Array): Buffer => {
  const pair = Buffer.concat([seed, publicKey])
  const fields = encodeStrings("ssh-ed25519", publicKey, pair, "")
  // The two numbers tell whether a passphrase was right; without one they only have to be equal.
  const checks = Buffer.alloc(8)
  const padding = BLOCK - ((checks.length + fields.length) % BLOCK)
  const section = Buffer.concat([checks, fields, Buffer.from(Array.from({ length: padding }, (_, index) => index + 1))])
  const all = Buffer.concat([
    Buffer.from("openssh-key-v1\0", "latin1"),
    encodeStrings("none", "none", ""),
    Buffer.from([0, 0, 0, 1]),
    encodeStrings(encodeEd25519Key(publicKey), section)
  ])
  const lines = all.toString("base64").replaceAll(/.{1,70}/g, "$&\n")
  const text = Buffer.from(`-----BEGIN OPENSSH PRIVATE KEY-----\n${lines}-----END OPENSSH PRIVATE KEY-----\n`, "latin1")
  for (const secret of [pair, fields, section, all]) secret.fill(0)
  return text
}
