/** The workloads on streams over the Effect API of a connection: what a handler and a client of ours look like. */
import { Effect } from "effect"
import type { BiStream, Connection } from "../src/services/Transport.ts"
import {
  CHUNK,
  type Client,
  count64,
  Deframer,
  ECHO,
  FRAMED,
  FramedClient,
  frame,
  UPLOAD,
  withMode
} from "./Adapter.ts"

/** `Effect.forever` gives way to the event loop after each round unless told not to, which would part what belongs into one packet. */
const repeat = <A, E, R>(effect: Effect.Effect<A, E, R>) => Effect.forever(effect, { disableYield: true })

/** Reads to the end. */
const readAll = (stream: BiStream, onChunk: (chunk: Uint8Array) => void) =>
  repeat(Effect.map(stream.read, onChunk)).pipe(Effect.catchTag("EndOfStream", () => Effect.void))

const answer = Effect.fnUntraced(function* (stream: BiStream) {
  const first = yield* stream.read
  const rest = first.subarray(1)
  if (first[0] === ECHO) {
    const parts = [rest]
    yield* readAll(stream, (chunk) => parts.push(chunk))
    yield* stream.writeLast(parts.length === 1 ? rest : Buffer.concat(parts))
  } else if (first[0] === UPLOAD) {
    let counted = rest.length
    yield* readAll(stream, (chunk) => {
      counted += chunk.length
    })
    yield* stream.writeLast(count64(counted))
  } else {
    const ready: Array<Buffer> = []
    const deframer = new Deframer((payload) => ready.push(frame(payload)))
    deframer.push(rest)
    for (;;) {
      if (ready.length > 0) yield* stream.write(Buffer.concat(ready.splice(0)))
      deframer.push(yield* stream.read)
    }
  }
})

export const accept = (connection: Connection) =>
  repeat(
    Effect.flatMap(connection.accept, (stream) =>
      Effect.forkChild(Effect.ignore(answer(stream)), { startImmediately: true })
    )
  )

const run = <A, E>(effect: Effect.Effect<A, E>) => Effect.runPromise(effect)

export const clientOf = (connection: Connection): Pick<Client, "echo" | "upload" | "openFramed"> => ({
  echo: (bytes) =>
    run(
      Effect.gen(function* () {
        const stream = yield* connection.open
        yield* stream.writeLast(withMode(ECHO, bytes))
        let length = 0
        yield* readAll(stream, (chunk) => {
          length += chunk.length
        })
        return length
      })
    ),
  upload: (bytes) =>
    run(
      Effect.gen(function* () {
        const stream = yield* connection.open
        yield* stream.write(Buffer.of(UPLOAD))
        for (let left = bytes; left > 0; left -= CHUNK.length) {
          yield* stream.write(left >= CHUNK.length ? CHUNK : CHUNK.subarray(0, left))
        }
        yield* stream.finish
        const parts: Array<Uint8Array> = []
        yield* readAll(stream, (chunk) => parts.push(chunk))
        return Number(Buffer.concat(parts).readBigUInt64BE())
      })
    ),
  openFramed: async () => {
    const stream = await run(connection.open)
    const framed = new FramedClient((bytes) => void Effect.runFork(stream.write(bytes)))
    Effect.runFork(stream.write(Buffer.of(FRAMED)))
    Effect.runFork(readAll(stream, (chunk) => framed.data(chunk)))
    return (bytes) => framed.call(bytes)
  }
})
