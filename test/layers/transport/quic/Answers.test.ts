/** How many datagrams an answer takes. */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import type { QuicStream } from "../../../../src/layers/transport/quic/QuicStream.ts"
import { dialerRaw, dialRaw, listenRaw } from "./fixture.ts"

const ROUNDS = 50

/** Gives back what comes, a moment after it was read: as a reader does that runs in a fiber. */
const answer = (stream: QuicStream): void => {
  const pump = () => {
    for (let chunk = stream.read(); chunk !== undefined; chunk = stream.read()) {
      const bytes = chunk
      queueMicrotask(() => stream.write(bytes, false))
    }
    stream.onReadable = pump
  }
  pump()
}

const question = (stream: QuicStream): Effect.Effect<void> =>
  Effect.callback((resume) => {
    stream.onReadable = () => {
      stream.read()
      resume(Effect.void)
    }
    stream.write(Buffer.from("question"), false)
  })

it.live("an answer that is there at once travels with the acknowledgement of its question", () =>
  Effect.gen(function* () {
    const node = yield* listenRaw({
      onConnection: (connection) => {
        connection.onIncoming = () => {
          const stream = connection.accept()
          if (stream !== undefined) answer(stream)
        }
      }
    })
    const connection = yield* dialRaw(yield* dialerRaw(), node)
    const stream = connection.open()!
    yield* question(stream)
    const before = node.driver.counters.sentDatagrams
    for (let round = 0; round < ROUNDS; round++) yield* question(stream)
    // One a round, and room for what a busy machine sends twice.
    assert.isBelow(node.driver.counters.sentDatagrams - before, ROUNDS * 1.5)
  })
)
