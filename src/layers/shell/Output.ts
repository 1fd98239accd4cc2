/** What a child writes, pulled: nothing is read ahead beyond the buffer of the Readable. */
import type { Readable } from "node:stream"
import { type Effect, Exit } from "effect"
import { Waitable } from "../transport/Waitable.ts"

export class Output {
  /** The next bytes; undefined at the end. */
  readonly next: Effect.Effect<Uint8Array | undefined>
  readonly #readable: Readable
  readonly #reader: Waitable<Uint8Array | undefined, never>
  #isOver = false

  constructor(readable: Readable) {
    this.#readable = readable
    this.#reader = new Waitable(() => this.#take())
    this.next = this.#reader.effect
    const wake = () => this.#reader.wake()
    const over = () => {
      this.#isOver = true
      wake()
    }
    readable.on("readable", wake)
    readable.once("end", over)
    // A terminal whose last program has ended reports an error; both are the end.
    readable.on("error", over)
    readable.once("close", over)
  }

  /** What is not here now will not come. */
  readonly finish = (): void => {
    this.#isOver = true
    this.#reader.wake()
  }

  #take(): Exit.Exit<Uint8Array | undefined> | undefined {
    const chunk: Uint8Array | null = this.#readable.read()
    if (chunk !== null) return Exit.succeed(chunk)
    return this.#isOver ? Exit.succeed(undefined) : undefined
  }
}
