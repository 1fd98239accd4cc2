/**
 * A bounded quantity that many share: requests in flight, bytes of input. Plain synchronous code; those for whom nothing is
 * left wait first in, first out, and can give up.
 */
export interface Waiter {
  readonly amount: number
  readonly granted: () => void
}

export class Allowance {
  #max: number
  #used = 0
  readonly #waiters = new Set<Waiter>()

  constructor(max: number) {
    this.#max = max
  }

  get used(): number {
    return this.#used
  }

  get waiting(): number {
    return this.#waiters.size
  }

  /** Takes an amount if it fits and nobody waits. One that is larger than everything fits when nothing is taken. */
  take(amount: number): boolean {
    if (this.#waiters.size > 0 || !this.#fits(amount)) return false
    this.#used += amount
    return true
  }

  /** Calls `granted` once, later, when the amount has been taken. */
  wait(amount: number, granted: () => void): Waiter {
    const waiter = { amount, granted }
    this.#waiters.add(waiter)
    return waiter
  }

  /** Gives up waiting. What stands behind may fit now. */
  leave(waiter: Waiter): void {
    if (this.#waiters.delete(waiter)) this.#serve()
  }

  give(amount: number): void {
    this.#used -= amount
    if (this.#waiters.size > 0) this.#serve()
  }

  raise(max: number): void {
    this.#max = Math.max(this.#max, max)
    this.#serve()
  }

  #fits(amount: number): boolean {
    return this.#used + amount <= this.#max || this.#used === 0
  }

  #serve(): void {
    for (const waiter of this.#waiters) {
      if (!this.#fits(waiter.amount)) return
      this.#waiters.delete(waiter)
      this.#used += waiter.amount
      waiter.granted()
    }
  }
}
