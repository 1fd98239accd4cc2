import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import fc from "fast-check"
import { encodeFrame, FrameDecoder, MAX_BODY_BYTES } from "../../../src/protocol/call/Frame.ts"

const LIMIT = MAX_BODY_BYTES

/** What a decoder makes of chunks: the bodies as text, and the error that ended it. */
const decodeAll = (chunks: Iterable<Uint8Array>, limit = LIMIT) => {
  const decoder = new FrameDecoder()
  const bodies: Array<string> = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    for (let next = decoder.next(limit); next !== undefined; next = decoder.next(limit)) {
      if (Result.isFailure(next)) return { bodies, error: next.failure, decoder }
      bodies.push(Buffer.from(next.success).toString("utf8"))
    }
  }
  return { bodies, error: undefined, decoder }
}

const header = (length: number) => {
  const bytes = Buffer.alloc(4)
  bytes.writeUInt32BE(length)
  return bytes
}

const bytewise = (bytes: Uint8Array) => Array.from(bytes, (_, index) => bytes.subarray(index, index + 1))

describe("frames", () => {
  it.effect("CALL-003 frames in a row decode alike however they are cut, and bytes after a frame stay", () =>
    Effect.sync(() => {
      const texts = ["{}", '{"é":1}', `{"long":"${"x".repeat(65_536)}"}`, '{"a":[1,2,3]}']
      const all = Buffer.concat(texts.map(encodeFrame))
      assert.deepStrictEqual(decodeAll([all]).bodies, texts)
      assert.deepStrictEqual(decodeAll(bytewise(all)).bodies, texts)
      for (const at of [1, 3, 4, 5, 6, 7, 11, 12, 100, 65_000, all.length - 1]) {
        assert.deepStrictEqual(decodeAll([all.subarray(0, at), all.subarray(at)]).bodies, texts, `cut at ${at}`)
      }
    })
  )

  it("CALL-003 property: any frames, cut anywhere, come out whole and in order", () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ minLength: 1, maxLength: 3000, unit: "grapheme" }), { maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 700 }), { minLength: 1 }),
        (texts, sizes) => {
          const all = Buffer.concat(texts.map(encodeFrame))
          const chunks: Array<Uint8Array> = []
          for (let at = 0, turn = 0; at < all.length; turn++) {
            const size = sizes[turn % sizes.length]!
            chunks.push(all.subarray(at, at + size))
            at += size
          }
          const { bodies, decoder, error } = decodeAll(chunks)
          assert.isUndefined(error)
          assert.deepStrictEqual(bodies, texts)
          assert.isFalse(decoder.end().partial)
        }
      )
    )
  })

  it("property: random bytes never throw, and what is wrong is said once and for all", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 10 }), (chunks) => {
        const { decoder, error } = decodeAll(chunks, 64)
        if (error === undefined) return
        decoder.push(encodeFrame("{}"))
        const again = decoder.next(64)
        assert.isTrue(again !== undefined && Result.isFailure(again))
      })
    )
  })

  it.effect("CALL-004 an end before a header is clean, one inside a header or a body is partial", () =>
    Effect.sync(() => {
      const frame = encodeFrame('{"type":"x"}')
      assert.isFalse(decodeAll([]).decoder.end().partial)
      assert.isFalse(decodeAll([frame]).decoder.end().partial)
      for (const length of [1, 2, 3, 4, 5, frame.length - 1]) {
        const { bodies, decoder, error } = decodeAll([frame.subarray(0, length)])
        assert.isUndefined(error)
        assert.deepStrictEqual(bodies, [])
        assert.isTrue(decoder.end().partial, `after ${length} bytes`)
      }
    })
  )

  it.effect("CALL-005 a length of 0 or above the limit is refused from the header alone, the limit itself is not", () =>
    Effect.sync(() => {
      assert.strictEqual(decodeAll([header(0)]).error?.reason, "InvalidFrame")
      assert.strictEqual(decodeAll([header(101)], 100).error?.reason, "TooLarge")
      assert.strictEqual(decodeAll([header(MAX_BODY_BYTES + 1)], MAX_BODY_BYTES * 2).error?.reason, "TooLarge")
      assert.strictEqual(decodeAll([header(0xffffffff)]).error?.reason, "TooLarge")
      assert.isUndefined(decodeAll([header(MAX_BODY_BYTES)]).error)
      assert.deepStrictEqual(decodeAll([encodeFrame("x".repeat(100))], 100).bodies, ["x".repeat(100)])
    })
  )

  it.effect("an error names the byte at which its frame began", () =>
    Effect.sync(() => {
      const { error } = decodeAll([Buffer.concat([encodeFrame("{}"), encodeFrame("[1]"), header(0)])])
      assert.strictEqual(error?.offset, 6 + 7)
    })
  )

  it.effect("CALL-006 a header of 64 MiB without its body costs less than 1 MiB", () =>
    Effect.sync(() => {
      const used = () => {
        globalThis.gc?.()
        const { arrayBuffers, heapUsed } = process.memoryUsage()
        return arrayBuffers + heapUsed
      }
      const before = used()
      const decoders = Array.from({ length: 8 }, () => decodeAll([header(MAX_BODY_BYTES), new Uint8Array(10)]).decoder)
      const after = used()
      assert.isBelow((after - before) / decoders.length, 1024 * 1024)
      assert.isTrue(decoders.every((decoder) => decoder.isPartial))
    })
  )

  it.effect("a body that comes byte by byte is held in about its own size", () =>
    Effect.sync(() => {
      const text = "y".repeat(200_000)
      assert.deepStrictEqual(decodeAll(bytewise(encodeFrame(text))).bodies, [text])
    })
  )
})
