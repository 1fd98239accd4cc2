/**
 * Keys that were derived, so that a busy node does not derive them anew for every use (VAULT-R36).
 *
 * At most 64, the least recently used goes first, and each lives 1 hour from its insertion, however often it is used. What
 * leaves is wiped. The cache owns its buffers: whoever needs one for longer than a synchronous step copies it.
 */

export const CACHE_ENTRIES = 64
export const CACHE_MILLIS = 3_600_000

interface Entry {
  readonly key: Uint8Array
  readonly expiresAt: number
}

export class KeyCache {
  /** In order of use, the least recent first. */
  readonly #entries = new Map<string, Entry>()

  /** The key under this name; where there is none, `make` gives it. Times are in milliseconds. */
  getOrMake(name: string, now: number, make: () => Uint8Array): Uint8Array {
    this.expire(now)
    const known = this.#entries.get(name)
    if (known !== undefined) {
      this.#entries.delete(name)
      this.#entries.set(name, known)
      return known.key
    }
    const key = make()
    const [oldest] = this.#entries.keys()
    if (this.#entries.size === CACHE_ENTRIES && oldest !== undefined) this.#drop(oldest)
    this.#entries.set(name, { key, expiresAt: now + CACHE_MILLIS })
    return key
  }

  /** Wipes what has lived its time. */
  expire(now: number): void {
    for (const [name, entry] of this.#entries) if (now >= entry.expiresAt) this.#drop(name)
  }

  /** Wipes everything. */
  clear(): void {
    for (const name of this.#entries.keys()) this.#drop(name)
  }

  /** When the next key expires; undefined while there is none. */
  get nextExpiry(): number | undefined {
    let next: number | undefined
    for (const { expiresAt } of this.#entries.values()) next = Math.min(expiresAt, next ?? expiresAt)
    return next
  }

  get size(): number {
    return this.#entries.size
  }

  #drop(name: string): void {
    this.#entries.get(name)?.key.fill(0)
    this.#entries.delete(name)
  }
}
