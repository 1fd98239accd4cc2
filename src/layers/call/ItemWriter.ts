/**
 * The items of one subscription of the other side, on their way from its handler to the writer of its stream (call.md
 * section 15).
 *
 * A handler's stream gives its items in chunks: what it made in one go. The items of a chunk leave as blocks of whole frames,
 * one block at a time, and the next chunk is pulled when the transport has taken the last block. So the handler is never
 * asked for an item while one that it made before is not accepted (CALL-R117), and a subscription has one piece waiting at
 * the writer, like every other producer (CALL-R38); that a piece may hold several frames saves a write for each.
 */
import { Effect, Exit, Result, type Schema } from "effect"
import { type CallError, internal } from "../../protocol/call/CallError.ts"
import { respondedFormat } from "../../protocol/call/Envelope.ts"
import { encodeFrames } from "../../protocol/call/Frame.ts"
import type { FrameOwner, FrameWriter } from "./FrameWriter.ts"

/** A block is closed when its bodies have this many bytes. What else waits for the stream waits for one block at most. */
const BLOCK_BYTES = 32 * 1024

export interface ItemWriterOptions {
  readonly writer: FrameWriter
  readonly requestId: string
  readonly operation: string
  /** Body bytes of the largest item. */
  readonly maxFrame: number
}

/** Gives the JSON of an item, or the error that ends the subscription. */
export type EncodeItem = (item: unknown) => Effect.Effect<Schema.Json, CallError>

export class ItemWriter implements FrameOwner {
  readonly #options: ItemWriterOptions
  readonly #format: ReturnType<typeof respondedFormat>
  #texts: Array<string> = []
  #bytes = 0
  /** At the writer, not taken by the transport. */
  #block: Uint8Array | undefined = undefined
  #accepted: ((done: Effect.Effect<void>) => void) | undefined = undefined

  constructor(options: ItemWriterOptions) {
    this.#options = options
    this.#format = respondedFormat(options.requestId)
  }

  /** Completes when the transport has taken all; fails at the first item that cannot be sent, after those before it. */
  write(items: ReadonlyArray<unknown>, encode: EncodeItem): Effect.Effect<void, CallError> {
    let index = 0
    const next = (): Effect.Effect<void, CallError> => {
      while (index < items.length) {
        if (this.#bytes >= BLOCK_BYTES) return Effect.flatMap(this.#send, next)
        const encoded = encode(items[index++])
        if (!Exit.isExit(encoded)) return Effect.flatMap(Effect.exit(encoded), (exit) => this.#add(exit) ?? next())
        const refusal = this.#add(encoded as Exit.Exit<Schema.Json, CallError>)
        if (refusal !== undefined) return refusal
      }
      return this.#send
    }
    return Effect.suspend(next)
  }

  /** Takes back what the transport has not begun to take. */
  drop(): void {
    if (this.#block !== undefined) this.#options.writer.drop(this.#block)
  }

  written(): void {
    const accepted = this.#accepted
    this.#block = undefined
    this.#accepted = undefined
    accepted?.(Effect.void)
  }

  /** Adds an item to the block; where it is none, what ends the subscription. */
  #add(encoded: Exit.Exit<Schema.Json, CallError>): Effect.Effect<never, CallError> | undefined {
    if (Exit.isFailure(encoded)) return this.#endWith(Effect.failCause(encoded.cause))
    const { maxFrame, operation } = this.#options
    const text = this.#format(encoded.value)
    if (Result.isFailure(text)) {
      const details = { operation, hint: text.failure.hint }
      const error = internal("internal error", operation)
      return this.#endWith(Effect.andThen(Effect.logError("an item is not JSON", details), Effect.fail(error)))
    }
    const length = Buffer.byteLength(text.success)
    if (length > maxFrame) return this.#endWith(Effect.fail(internal("response too large", operation)))
    this.#texts.push(text.success)
    this.#bytes += length
    return undefined
  }

  #endWith(failure: Effect.Effect<never, CallError>): Effect.Effect<never, CallError> {
    return Effect.andThen(this.#send, failure)
  }

  /** Hands the block over, and waits until it is taken. */
  readonly #send: Effect.Effect<void> = Effect.callback((resume) => {
    if (this.#texts.length === 0) return resume(Effect.void)
    this.#block = encodeFrames(this.#texts, this.#bytes)
    this.#texts = []
    this.#bytes = 0
    this.#accepted = resume
    this.#options.writer.push(this.#block, this)
  })
}
