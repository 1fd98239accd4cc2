import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Result } from "effect"
import { FrameWriter, type WriteError } from "../../../src/layers/call/FrameWriter.ts"
import { encodeFrame, FrameDecoder, MAX_BODY_BYTES } from "../../../src/protocol/call/Frame.ts"
import { type BiStream, StreamReset } from "../../../src/services/Transport.ts"
import { turns } from "../../conformance/transport/provider.ts"

/** A stream that keeps what is written; a write waits while `hold` is set. */
const recorder = () => {
  const writes: Array<string> = []
  const bytes: Array<Uint8Array> = []
  const state: { hold: Deferred.Deferred<void, WriteError> | undefined; finished: number } = {
    hold: undefined,
    finished: 0
  }
  const take = (chunk: Uint8Array) =>
    Effect.suspend((): Effect.Effect<void, WriteError> => {
      bytes.push(chunk.slice())
      writes.push(bodiesOf([chunk]).join(" "))
      return state.hold === undefined ? Effect.void : Deferred.await(state.hold)
    })
  const finish = Effect.sync(() => void state.finished++)
  const stream: BiStream = {
    id: 1,
    read: Effect.never,
    write: take,
    finish,
    writeLast: (chunk) => Effect.andThen(take(chunk), finish),
    reset: () => Effect.void,
    stop: () => Effect.void
  }
  return { stream, writes, bytes, state }
}

const bodiesOf = (chunks: ReadonlyArray<Uint8Array>): ReadonlyArray<string> => {
  const decoder = new FrameDecoder()
  const bodies: Array<string> = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    for (let next = decoder.next(MAX_BODY_BYTES); next !== undefined; next = decoder.next(MAX_BODY_BYTES)) {
      bodies.push(Buffer.from(Result.getOrThrow(next)).toString("utf8"))
    }
  }
  return bodies
}

const make = () => {
  const failures: Array<WriteError> = []
  return { writer: new FrameWriter(Effect.runFork, (error) => failures.push(error)), failures }
}

describe("the writer of a stream", () => {
  it.effect("frames of one turn leave in one write, in order; what came before the stream was open too", () =>
    Effect.gen(function* () {
      const { writer } = make()
      const { state, stream, writes } = recorder()
      writer.push(encodeFrame("1"))
      writer.start(stream)
      writer.push(encodeFrame("2"))
      writer.push(encodeFrame("3"))
      yield* turns(1)
      assert.deepStrictEqual(writes, ["1 2 3"])
      writer.push(encodeFrame("4"))
      writer.finish()
      yield* turns(1)
      assert.deepStrictEqual(writes, ["1 2 3", "4"])
      assert.strictEqual(state.finished, 1)
      assert.isFalse(writer.isOpen)
    })
  )

  it.effect("CALL-013 64 producers never interleave inside a frame, however large their frames are", () =>
    Effect.gen(function* () {
      const { writer } = make()
      const { bytes, stream } = recorder()
      writer.start(stream)
      const bodies = Array.from({ length: 64 }, (_, index) => String(index).repeat(1 + index * 500))
      yield* Effect.forEach(bodies, (body) => Effect.sync(() => writer.push(encodeFrame(body))), {
        concurrency: "unbounded"
      })
      yield* turns(50)
      assert.deepStrictEqual(bodiesOf(bytes), bodies)
    })
  )

  it.effect("a frame that waits behind a slow write can be taken back, one that is being written cannot", () =>
    Effect.gen(function* () {
      const { writer } = make()
      const { state, stream, writes } = recorder()
      const hold = yield* Deferred.make<void, WriteError>()
      state.hold = hold
      writer.start(stream)
      const [first, second, third] = [encodeFrame("1"), encodeFrame("2"), encodeFrame("3")]
      writer.push(first)
      yield* turns(1)
      writer.push(second)
      writer.push(third)
      assert.isFalse(writer.drop(first))
      assert.isTrue(writer.drop(second))
      assert.isFalse(writer.isIdle)
      yield* Deferred.succeed(hold, undefined)
      yield* turns(2)
      assert.deepStrictEqual(writes, ["1", "3"])
    })
  )

  it.effect("CALL-014 a write that fails ends the writer: the frames are named as never written, nothing follows", () =>
    Effect.gen(function* () {
      const { failures, writer } = make()
      const { state, stream, writes } = recorder()
      const hold = yield* Deferred.make<void, WriteError>()
      state.hold = hold
      writer.start(stream)
      const [first, second] = [encodeFrame("1"), encodeFrame("2")]
      writer.push(first)
      yield* turns(1)
      writer.push(second)
      yield* Deferred.fail(hold, new StreamReset({ side: "write", code: 7 }))
      yield* turns(2)
      assert.deepStrictEqual(writes, ["1"])
      assert.strictEqual(failures.length, 1)
      assert.isTrue(writer.hasDropped(first) && writer.hasDropped(second))
      assert.isFalse(writer.isOpen)
    })
  )

  it.effect(
    "an owner hears of its frame once, after the transport took it; the second of two first answers overtakes",
    () =>
      Effect.gen(function* () {
        const { writer } = make()
        const { stream, writes } = recorder()
        const heard: Array<string> = []
        const owner = (name: string) => ({ written: () => void heard.push(name) })
        writer.start(stream)
        for (const name of ["a", "b", "c"]) writer.push(encodeFrame(name), owner(name))
        assert.deepStrictEqual(heard, [])
        yield* turns(1)
        for (const name of ["d", "e"]) writer.push(encodeFrame(name), owner(name))
        yield* turns(1)
        assert.deepStrictEqual(writes, ["b a c", "d e"])
        assert.deepStrictEqual(heard, ["b", "a", "c", "d", "e"])
      })
  )
})
