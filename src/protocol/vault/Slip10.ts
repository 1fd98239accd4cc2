/**
 * SLIP-0010 derivation for Ed25519 (github.com/satoshilabs/slips, slip-0010.md; VAULT-R10).
 *
 * | step | I = HMAC-SHA512 of |
 * |---|---|
 * | master | key `ed25519 seed`, data = the seed |
 * | child i | key = the chain code, data = 00, the key (32), big-endian u32 of i + 2^31 |
 *
 * The left half of I is the key, the right half the chain code. Only hardened children exist. Every buffer on the way is
 * wiped; the caller owns the result.
 */
import { createHmac } from "node:crypto"

export interface ExtendedKey {
  /** 32 bytes. */
  readonly key: Uint8Array
  /** 32 bytes. */
  readonly chainCode: Uint8Array
}

export const HARDENED = 0x80000000

/** The key at the end of a path of indexes below 2^31. */
export const deriveSlip10 = (seed: Uint8Array, path: ReadonlyArray<number>): ExtendedKey => {
  let node = split(MASTER_KEY, seed)
  const data = new Uint8Array(37)
  const view = new DataView(data.buffer)
  for (const index of path) {
    data.set(node.key, 1)
    view.setUint32(33, index + HARDENED)
    const parent = node
    node = split(parent.chainCode, data)
    wipe(parent)
  }
  data.fill(0)
  return node
}

const MASTER_KEY = new TextEncoder().encode("ed25519 seed")

const split = (key: Uint8Array, data: Uint8Array): ExtendedKey => {
  const digest = createHmac("sha512", key).update(data).digest()
  const node = { key: new Uint8Array(digest.subarray(0, 32)), chainCode: new Uint8Array(digest.subarray(32)) }
  digest.fill(0)
  return node
}

const wipe = ({ key, chainCode }: ExtendedKey): void => {
  key.fill(0)
  chainCode.fill(0)
}
