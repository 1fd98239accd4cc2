/**
 * The timer of one connection: loss detection, idle time and draining of the stack.
 *
 * The stack wants another time after nearly every flush. An earlier timer stays: it fires, sees that nothing is due, and is
 * armed again, which is cheaper than a reset at each flush.
 */
import type { QuicheConnection } from "./Binding.ts"

export class StackTimer {
  readonly #q: QuicheConnection
  readonly #due: () => void
  #timer: NodeJS.Timeout | undefined = undefined
  #at = 0

  /** `due` is called when a time of the stack has come. */
  constructor(q: QuicheConnection, due: () => void) {
    this.#q = q
    this.#due = due
  }

  /** Asks the stack for its next time. */
  arm(): void {
    const timeout = this.#q.timeout()
    if (timeout === null) {
      this.clear()
      return
    }
    const at = performance.now() + timeout + 1
    if (this.#timer !== undefined) {
      if (this.#at <= at) return
      clearTimeout(this.#timer)
    }
    this.#at = at
    this.#timer = setTimeout(this.#fired, timeout + 1)
  }

  clear(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
  }

  readonly #fired = (): void => {
    this.#timer = undefined
    const timeout = this.#q.timeout()
    if (timeout !== null && timeout > 0) this.arm()
    else this.#due()
  }
}
