/** What a child reads: a write is over when the child has taken it, or will not any more. */
import type { Writable } from "node:stream"
import { Effect } from "effect"

export class Input {
  readonly #writable: Writable
  readonly #waiting = new Set<() => void>()
  #isOver = false

  constructor(writable: Writable) {
    this.#writable = writable
    writable.on("error", this.finish)
    writable.once("close", this.finish)
  }

  /** Nothing more is taken. */
  readonly finish = (): void => {
    this.#isOver = true
    for (const resume of [...this.#waiting]) resume()
  }

  readonly write = (bytes: Uint8Array): Effect.Effect<void> =>
    Effect.callback((resume) => {
      if (this.#isOver || !this.#writable.writable) return resume(Effect.void)
      const done = () => {
        this.#waiting.delete(done)
        resume(Effect.void)
      }
      this.#waiting.add(done)
      this.#writable.write(bytes, done)
      return Effect.sync(() => this.#waiting.delete(done))
    })

  readonly end: Effect.Effect<void> = Effect.sync(() => {
    if (!this.#isOver) this.#writable.end()
  })
}
