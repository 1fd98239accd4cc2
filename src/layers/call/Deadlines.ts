/**
 * All timers of a connection behind one sleeping fiber.
 *
 * A call sets a timer and nearly always cancels it; so both must cost next to nothing. Timers of equal length stand in a
 * linked list, which is in order by itself; the fiber sleeps until the earliest head of a list, and where that one was
 * cancelled meanwhile it looks again. Time is the Effect Clock's monotonic time, in milliseconds.
 */
import { type Clock, Duration, Effect, type Fiber } from "effect"

export interface Deadline {
  readonly at: number
  readonly fire: () => void
  readonly line: Line
  next: Deadline | undefined
  previous: Deadline | undefined
  isSet: boolean
}

interface Line {
  readonly length: number
  head: Deadline | undefined
  tail: Deadline | undefined
}

/** Starts an effect in a fiber of its own. */
export type Fork = <A, E>(effect: Effect.Effect<A, E>) => Fiber.Fiber<A, E>

export class Deadlines {
  readonly #clock: Clock.Clock
  readonly #fork: Fork
  readonly #lines = new Map<number, Line>()
  #sleeper: Fiber.Fiber<void> | undefined = undefined
  #wakeAt = Number.POSITIVE_INFINITY
  #isClosed = false

  constructor(clock: Clock.Clock, fork: Fork) {
    this.#clock = clock
    this.#fork = fork
  }

  /** Milliseconds; only differences mean something. */
  now(): number {
    return Number(this.#clock.monotonicTimeNanosUnsafe()) / 1e6
  }

  /** Calls `fire` once, in `length` milliseconds, unless cancelled. */
  add(length: number, fire: () => void, now = this.now()): Deadline {
    let line = this.#lines.get(length)
    if (line === undefined) {
      line = { length, head: undefined, tail: undefined }
      this.#lines.set(length, line)
    }
    const deadline: Deadline = { at: now + length, fire, line, next: undefined, previous: line.tail, isSet: true }
    if (line.tail === undefined) line.head = deadline
    else line.tail.next = deadline
    line.tail = deadline
    if (deadline.at < this.#wakeAt) this.#sleepUntil(deadline.at)
    return deadline
  }

  cancel(deadline: Deadline): void {
    if (!deadline.isSet) return
    deadline.isSet = false
    const { line, next, previous } = deadline
    if (previous === undefined) line.head = next
    else previous.next = next
    if (next === undefined) line.tail = previous
    else next.previous = previous
    deadline.next = undefined
    deadline.previous = undefined
    // Lengths of the defaults come back all the time; odd ones must not pile up.
    if (line.head === undefined && this.#lines.size > LINES_KEPT) this.#lines.delete(line.length)
  }

  /** Nothing fires any more. */
  close(): void {
    this.#isClosed = true
    this.#lines.clear()
    this.#sleeper?.interruptUnsafe()
    this.#sleeper = undefined
  }

  #sleepUntil(at: number): void {
    if (this.#isClosed) return
    this.#sleeper?.interruptUnsafe()
    this.#wakeAt = at
    const sleep = this.#clock.sleep(Duration.millis(Math.max(0, Math.ceil(at - this.now()))))
    this.#sleeper = this.#fork(
      Effect.andThen(
        sleep,
        Effect.sync(() => this.#wake())
      )
    )
  }

  #wake(): void {
    this.#sleeper = undefined
    this.#wakeAt = Number.POSITIVE_INFINITY
    const now = this.now()
    let earliest = Number.POSITIVE_INFINITY
    for (const line of this.#lines.values()) {
      while (line.head !== undefined && line.head.at <= now) {
        const due = line.head
        this.cancel(due)
        due.fire()
      }
      if (line.head !== undefined) earliest = Math.min(earliest, line.head.at)
    }
    if (earliest < this.#wakeAt) this.#sleepUntil(earliest)
  }
}

const LINES_KEPT = 16
