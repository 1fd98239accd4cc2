/**
 * What an unlocked vault holds: the 64-byte seed and the cache of derived keys, nothing else that is secret (VAULT-R34).
 *
 * Plain and synchronous, so that no lock can come in the middle of a step. It gives out copies, never its own buffers.
 */

import { Result } from "effect"
import type { KeySpec } from "../../protocol/vault/KeyPath.ts"
import { printPath, specOfRole } from "../../protocol/vault/KeyPath.ts"
import { type PublicScheme, publicKeyOf } from "../../protocol/vault/PublicKey.ts"
import { deriveSlip10 } from "../../protocol/vault/Slip10.ts"
import { encodeZBase32 } from "../../protocol/ZBase32.ts"
import { KeyCache } from "./KeyCache.ts"

type AnySpec = KeySpec<PublicScheme | "aes-256-gcm">

export class OpenVault {
  readonly #seed: Uint8Array
  readonly #cache = new KeyCache()
  /** z-base-32 of the node key. */
  readonly nodeId: string
  /** Milliseconds since the epoch of the last use of a key. */
  lastUse: number
  weakKdf: boolean

  /** Takes the seed over and wipes it in the end. */
  constructor(seed: Uint8Array, weakKdf: boolean, now: number) {
    this.#seed = seed
    this.weakKdf = weakKdf
    this.lastUse = now
    this.nodeId = nodeIdOfSeed(seed)
  }

  /** A copy of the key, for the caller to wipe. */
  copyKey(spec: AnySpec, now: number): Uint8Array {
    return this.withKey(spec, now, (key) => key.slice())
  }

  /** Runs a synchronous step with the key, which the step must not keep. */
  withKey<A>(spec: AnySpec, now: number, use: (key: Uint8Array) => A): A {
    const name = `${spec.scheme} ${printPath(spec.path)}`
    return use(this.#cache.getOrMake(name, now, () => deriveKeyOf(this.#seed, spec)))
  }

  /** Wipes keys that have lived their time. */
  expire(now: number): void {
    this.#cache.expire(now)
  }

  /** When the next cached key expires. */
  get nextExpiry(): number | undefined {
    return this.#cache.nextExpiry
  }

  /** Wipes everything; the object is of no use afterwards. */
  wipe(): void {
    this.#seed.fill(0)
    this.#cache.clear()
  }
}

/** z-base-32 of the public key of role Node. */
export const nodeIdOfSeed = (seed: Uint8Array): string => {
  const key = deriveKeyOf(seed, NODE)
  const nodeId = encodeZBase32(publicKeyOf("ed25519", key))
  key.fill(0)
  return nodeId
}

const NODE = Result.getOrThrow(specOfRole({ _tag: "Node" }))

const deriveKeyOf = (seed: Uint8Array, spec: AnySpec): Uint8Array => {
  const { key, chainCode } = deriveSlip10(seed, spec.path)
  chainCode.fill(0)
  return key
}
