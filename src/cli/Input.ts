/**
 * Standard input, whole or chunk by chunk.
 */
import { Effect } from "effect"
import { failed } from "./Failure.ts"

/** Largest input that is read whole: the largest frame of a call. */
const INPUT_MAX_BYTES = 64 * 1024 * 1024

/** The next chunk of standard input; undefined at its end. Nothing is read ahead but what the stream itself holds. */
export const makeInputReader = (): Effect.Effect<Uint8Array | undefined> => {
  const iterator: AsyncIterator<unknown> = process.stdin[Symbol.asyncIterator]()
  return Effect.map(
    Effect.promise(() => iterator.next()),
    ({ done, value }) => {
      if (done === true) return undefined
      return value instanceof Uint8Array ? value : new TextEncoder().encode(String(value))
    }
  )
}

/** All of standard input. */
export const readStandardInput = Effect.gen(function* () {
  const next = makeInputReader()
  const chunks: Array<Uint8Array> = []
  let length = 0
  while (true) {
    const chunk = yield* next
    if (chunk === undefined) return new Uint8Array(Buffer.concat(chunks))
    length += chunk.length
    if (length > INPUT_MAX_BYTES) return yield* failed("INPUT_TOO_LARGE", "the input has more than 64 MiB", "send less")
    chunks.push(chunk)
  }
})
