/**
 * Something that can be had now, or waited for: the base of `read`, `open` and `accept` in the transports that are plain
 * synchronous code inside.
 *
 * `effect` asks `now` and answers at once where it can, without a fiber or a promise; otherwise the caller waits in line
 * until the owner calls `wake`. Waiters are served in the order in which they came; an interrupted one leaves the line.
 */
import { Effect, type Exit } from "effect"

export class Waitable<A, E> {
  readonly effect: Effect.Effect<A, E>
  readonly #now: () => Exit.Exit<A, E> | undefined
  readonly #line: Array<(exit: Exit.Exit<A, E>) => void> = []

  /** `now` takes what is there, or answers undefined; it is asked again at each `wake`. */
  constructor(now: () => Exit.Exit<A, E> | undefined) {
    this.#now = now
    const wait = Effect.callback<A, E>((resume) => {
      // Asked again: the scheduler may have run somebody else since the first question.
      const exit = this.#line.length === 0 ? now() : undefined
      if (exit !== undefined) return resume(exit)
      this.#line.push(resume)
      return Effect.sync(() => {
        const index = this.#line.indexOf(resume)
        if (index >= 0) this.#line.splice(index, 1)
      })
    })
    this.effect = Effect.suspend(() => (this.#line.length === 0 ? now() : undefined) ?? wait)
  }

  /** Whether somebody waits. */
  get isAwaited(): boolean {
    return this.#line.length > 0
  }

  /** Serves the waiters while there is something to have. Call it last: a waiter runs on before this returns. */
  wake(): void {
    while (this.#line.length > 0) {
      // The waiter leaves the line first: `now` may run others who come back here.
      const waiter = this.#line.shift()!
      const exit = this.#now()
      if (exit === undefined) {
        this.#line.unshift(waiter)
        return
      }
      waiter(exit)
    }
  }
}
