/** Which key pairs the thread has: each crosses once, and the ones that were used longest ago are forgotten. */
import type { TlsIdentity } from "../Contexts.ts"
import type { ToThread } from "./Wire.ts"

const IDENTITIES_MAX = 16

export class Identities {
  readonly #tell: (message: ToThread) => void
  /** In the order of their last use. */
  readonly #numbers = new Map<TlsIdentity, number>()
  #last = 0

  constructor(tell: (message: ToThread) => void) {
    this.#tell = tell
  }

  /** The number of an identity that the thread knows, after this. */
  number(tls: TlsIdentity): number {
    const known = this.#numbers.get(tls)
    const number = known ?? ++this.#last
    this.#numbers.delete(tls)
    this.#numbers.set(tls, number)
    if (known !== undefined) return known
    this.#tell({
      type: "identity",
      identity: number,
      // Of their own memory: a view would take along what lies beside it.
      tls: { certificate: Uint8Array.from(tls.certificate), key: Uint8Array.from(tls.key) }
    })
    for (const [oldest, identity] of this.#numbers) {
      if (this.#numbers.size <= IDENTITIES_MAX) break
      this.#numbers.delete(oldest)
      this.#tell({ type: "forgetIdentity", identity })
    }
    return number
  }

  /** There is a new thread, which knows nobody. */
  clear(): void {
    this.#numbers.clear()
  }
}
