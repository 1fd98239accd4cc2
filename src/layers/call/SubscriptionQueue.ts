/**
 * Items of a subscription that have come and that its consumer has not taken, and how the subscription ends (call.md section
 * 15). Plain synchronous code between the reader of a stream and one consumer.
 *
 * The consumer takes what is there as one array, and that array counts as long as the consumer is busy with it: what this
 * node holds for a consumer never exceeds the bound. When the queue is full the reader of the subscription's own stream waits
 * (CALL-R120). On a stream that carries other requests too it may not, so there the rest goes to an overflow with bounds of
 * its own (CALL-R121). An end comes after the items before it.
 */
import { Array as Arr, Effect, type Exit, type Schema } from "effect"
import type { CallLimits } from "../../services/CallLimits.ts"

export type QueueLimits = Pick<CallLimits, "sharedOverflow" | "subscriptionQueue">

type Items = Arr.NonEmptyReadonlyArray<Schema.Json>

/** `E` is what the subscription may end with, its normal end included. */
export class SubscriptionQueue<E> {
  readonly #limits: QueueLimits
  #items: Array<Schema.Json> = []
  /** Of the items. */
  #bytes: Array<number> = []
  /** Of those beyond the queue. */
  #overflowBytes = 0
  /** Items that the consumer is busy with. */
  #taken = 0
  #end: Exit.Exit<never, E> | undefined = undefined
  #consumer: ((next: Effect.Effect<Items, E>) => void) | undefined = undefined
  #isWaking = false
  #reader: (() => void) | undefined = undefined

  constructor(limits: QueueLimits) {
    this.#limits = limits
  }

  /** An item of the subscription's own stream: what its reader has to wait for before the next one. */
  offer(item: Schema.Json, bytes: number): Effect.Effect<void> | undefined {
    this.#push(item, bytes)
    return this.#isFull ? this.#room : undefined
  }

  /** An item of another stream. False: there is no place for it. */
  offerShared(item: Schema.Json, bytes: number): boolean {
    const { items, bytes: bytesMax } = this.#limits.sharedOverflow
    const overflow = this.#held + 1 - this.#limits.subscriptionQueue
    if (overflow > items || (overflow > 0 && this.#overflowBytes + bytes > bytesMax)) return false
    this.#push(item, bytes)
    return true
  }

  /** The end, after what is there. The first one counts. */
  end(exit: Exit.Exit<never, E>): void {
    if (this.#end !== undefined) return
    this.#end = exit
    this.#letRead()
    this.#wake()
  }

  /** Nobody takes anything any more. */
  close(): void {
    this.#items = []
    this.#bytes = []
    this.#taken = 0
    this.#letRead()
  }

  /** What is there, at least one item; waits for it. Fails with the end. For one consumer, who is done with the items before. */
  readonly take: Effect.Effect<Items, E> = Effect.suspend(() => {
    this.#taken = 0
    // Bytes that have arrived already become items on the spot.
    this.#letRead()
    const next = this.#next()
    if (next !== undefined) return next
    return Effect.callback<Items, E>((resume) => {
      this.#consumer = resume
      return Effect.sync(() => {
        this.#consumer = undefined
      })
    })
  })

  get #held(): number {
    return this.#taken + this.#items.length
  }

  get #isFull(): boolean {
    return this.#held >= this.#limits.subscriptionQueue
  }

  readonly #room: Effect.Effect<void> = Effect.callback((resume) => {
    if (!this.#isFull || this.#end !== undefined) return resume(Effect.void)
    this.#reader = () => resume(Effect.void)
  })

  #push(item: Schema.Json, bytes: number): void {
    if (this.#held >= this.#limits.subscriptionQueue) this.#overflowBytes += bytes
    this.#items.push(item)
    this.#bytes.push(bytes)
    if (this.#consumer === undefined) return
    // A consumer that waits gets what one chunk of bytes brings in one go, or as much as the queue holds.
    if (this.#isFull) {
      this.#wake()
    } else if (!this.#isWaking) {
      this.#isWaking = true
      queueMicrotask(this.#wake)
    }
  }

  readonly #wake = (): void => {
    this.#isWaking = false
    const consumer = this.#consumer
    if (consumer === undefined) return
    const next = this.#next()
    if (next === undefined) return
    this.#consumer = undefined
    consumer(next)
  }

  #letRead(): void {
    const reader = this.#reader
    if (reader === undefined || (this.#isFull && this.#end === undefined)) return
    this.#reader = undefined
    reader()
  }

  #next(): Effect.Effect<Items, E> | undefined {
    const items = this.#items
    const queue = this.#limits.subscriptionQueue
    // What stays stands beyond the queue, which the items that are taken fill.
    this.#items = items.length > queue ? items.splice(queue) : []
    this.#bytes = this.#bytes.slice(items.length)
    this.#overflowBytes = this.#bytes.reduce((sum, bytes) => sum + bytes, 0)
    this.#taken = items.length
    return Arr.isArrayNonEmpty(items) ? Effect.succeed(items) : this.#end
  }
}
