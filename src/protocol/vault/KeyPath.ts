/**
 * Derivation paths: their text, and the table that gives every role its path and scheme (vault.md section 3).
 *
 * | role | path | scheme |
 * |---|---|---|
 * | Node | m/74'/0'/0'/0' | ed25519 |
 * | Device n, n from 1 | m/74'/0'/0'/n' | ed25519 |
 * | SshHost | m/74'/0'/1'/0' | ed25519 |
 * | (retired, never used) | m/74'/1'/... | |
 * | sealing key of version v, v from 2 | m/74'/2'/0'/(v-2)' | aes-256-gcm |
 * | (left to the Rust alknet, never used) | m/74'/3'/... to m/74'/9'/... | |
 * | SshUser i | m/74'/10'/0'/i' | ed25519 |
 * | GitSigning i | m/74'/11'/0'/i' | ed25519 |
 * | PkarrZone i | m/74'/12'/0'/i' | ed25519 |
 * | MessagingSigning i | m/74'/13'/0'/i' | ed25519 |
 * | MessagingAgreement i | m/74'/13'/1'/i' | x25519 |
 * | Mixnet i | m/74'/14'/0'/i' | x25519 |
 * | BlobTicket i | m/74'/15'/0'/i' | ed25519 |
 * | Pseudonym i for a peer | m/74'/16'/h0'/.../h7'/i' | ed25519 |
 *
 * A row never changes once released, and no number is used twice (VAULT-R14). h0 to h7 are the first eight groups of 31 bits
 * of SHA-256(`alknet/pairwise/v1`, 00, the peer's public key); the last 8 bits are dropped (VAULT-R17).
 *
 * Text is `m` and at most 16 steps `/NUMBER'`, all hardened, numbers below 2^31 without leading zeros; `h` is read for `'`.
 */
import { createHash } from "node:crypto"
import { Result } from "effect"
import type { IndexedRole, KeyRole } from "./KeyRole.ts"
import type { PublicScheme } from "./PublicKey.ts"
import { InvalidIndex, InvalidKeyVersion, InvalidPath } from "./VaultError.ts"

/** A path and how its 32 bytes are used. */
export interface KeySpec<Scheme extends PublicScheme | "aes-256-gcm"> {
  readonly path: ReadonlyArray<number>
  readonly scheme: Scheme
}

export const MAX_INDEX = 2 ** 31 - 1
export const MIN_KEY_VERSION = 2
export const MAX_KEY_VERSION = MIN_KEY_VERSION + MAX_INDEX
export const MAX_STEPS = 16

/** First number of every path of this project. */
const PURPOSE = 74
const PAIRWISE_TAG = "alknet/pairwise/v1\0"
const PEER_KEY_BYTES = 32

const INDEXED: Record<IndexedRole, readonly [number, number, PublicScheme]> = {
  SshUser: [10, 0, "ed25519"],
  GitSigning: [11, 0, "ed25519"],
  PkarrZone: [12, 0, "ed25519"],
  MessagingSigning: [13, 0, "ed25519"],
  MessagingAgreement: [13, 1, "x25519"],
  Mixnet: [14, 0, "x25519"],
  BlobTicket: [15, 0, "ed25519"]
}

/** Reads the text of a path. The bare `m` is the empty path. */
export const parsePath = (text: string): Result.Result<ReadonlyArray<number>, InvalidPath> => {
  if (!/^m(?:\/(?:0|[1-9][0-9]{0,9})['h])*$/.test(text)) return Result.fail(new InvalidPath({ reason: "text" }))
  const path = text
    .split("/")
    .slice(1)
    .map((step) => Number(step.slice(0, -1)))
  if (path.length > MAX_STEPS) return Result.fail(new InvalidPath({ reason: "depth" }))
  if (path.some((index) => index > MAX_INDEX)) return Result.fail(new InvalidPath({ reason: "index" }))
  return Result.succeed(path)
}

/** The text of a path, hardened steps marked with `'`. */
export const printPath = (path: ReadonlyArray<number>): string => ["m", ...path.map((index) => `${index}'`)].join("/")

/** The path and scheme of a role. */
export const specOfRole = (role: KeyRole): Result.Result<KeySpec<PublicScheme>, InvalidIndex> => {
  switch (role._tag) {
    case "Node":
      return spec("ed25519", 0, 0, 0)
    case "SshHost":
      return spec("ed25519", 0, 1, 0)
    case "Device":
      return isIndex(role.n) && role.n > 0 ? spec("ed25519", 0, 0, role.n) : invalid("n")
    case "Pseudonym":
      if (role.peer.length !== PEER_KEY_BYTES) return invalid("peer")
      return isIndex(role.index) ? spec("ed25519", 16, ...pairwise(role.peer), role.index) : invalid("index")
    default: {
      const [branch, sub, scheme] = INDEXED[role._tag]
      return isIndex(role.index) ? spec(scheme, branch, sub, role.index) : invalid("index")
    }
  }
}

/** The path of the key that seals credentials under a version. */
export const specOfKeyVersion = (version: number): Result.Result<KeySpec<"aes-256-gcm">, InvalidKeyVersion> =>
  Number.isInteger(version) && version >= MIN_KEY_VERSION && version <= MAX_KEY_VERSION
    ? Result.succeed({ path: [PURPOSE, 2, 0, version - MIN_KEY_VERSION], scheme: "aes-256-gcm" })
    : Result.fail(new InvalidKeyVersion({ version }))

const spec = (scheme: PublicScheme, ...steps: ReadonlyArray<number>): Result.Result<KeySpec<PublicScheme>> =>
  Result.succeed({ path: [PURPOSE, ...steps], scheme })

const invalid = (field: InvalidIndex["field"]) => Result.fail(new InvalidIndex({ field }))

const isIndex = (value: number): boolean => Number.isInteger(value) && value >= 0 && value <= MAX_INDEX

const pairwise = (peer: Uint8Array): ReadonlyArray<number> => {
  const bits = BigInt(`0x${createHash("sha256").update(PAIRWISE_TAG).update(peer).digest("hex")}`)
  return Array.from({ length: 8 }, (_, group) => Number((bits >> BigInt(256 - 31 * (group + 1))) & 0x7fffffffn))
}
