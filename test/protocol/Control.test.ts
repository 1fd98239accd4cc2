import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import {
  type ControlFrame,
  ControlFrameDecoder,
  dataHeader,
  encodeEnd,
  encodeMessage,
  encodeReset,
  encodeStop,
  PAYLOAD_MAX
} from "../../src/protocol/Control.ts"

const encode = (frame: ControlFrame): Uint8Array => {
  switch (frame._tag) {
    case "Message":
      return Result.getOrThrow(encodeMessage(frame.value))
    case "Data":
      return Buffer.concat([dataHeader(frame.bytes.length), frame.bytes])
    case "End":
      return encodeEnd()
    case "Reset":
      return encodeReset(frame.code)
    case "Stop":
      return encodeStop(frame.code)
  }
}

const code = fc.maxSafeNat()
const frames = fc.array(
  fc.oneof(
    fc
      .dictionary(fc.string(), fc.jsonValue())
      .map((value): ControlFrame => ({ _tag: "Message", value: JSON.parse(JSON.stringify(value)) })),
    fc.uint8Array({ minLength: 1, maxLength: 300 }).map((bytes): ControlFrame => ({ _tag: "Data", bytes })),
    fc.constant<ControlFrame>({ _tag: "End" }),
    code.map((one): ControlFrame => ({ _tag: "Reset", code: one })),
    code.map((one): ControlFrame => ({ _tag: "Stop", code: one }))
  ),
  { maxLength: 8 }
)

describe("control frames", () => {
  it("come back as they were, however the bytes are cut", () => {
    fc.assert(
      fc.property(frames, fc.infiniteStream(fc.integer({ min: 1, max: 40 })), (sent, cuts) => {
        const bytes = Buffer.concat(sent.map(encode))
        const decoder = new ControlFrameDecoder()
        const got: Array<ControlFrame> = []
        for (let offset = 0; offset < bytes.length; ) {
          const size = cuts.next().value ?? 1
          got.push(...Result.getOrThrow(decoder.push(bytes.subarray(offset, offset + size))))
          offset += size
        }
        const plain = (all: ReadonlyArray<ControlFrame>) =>
          all.map((frame) => (frame._tag === "Data" ? [...frame.bytes] : { ...frame }))
        assert.deepEqual(plain(got), plain(sent))
      })
    )
  })

  it("never throw, whatever arrives, and stay refused after a bad one", () => {
    fc.assert(
      fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 6 }), (chunks) => {
        const decoder = new ControlFrameDecoder()
        let refused = false
        for (const chunk of chunks) {
          const result = decoder.push(chunk)
          if (refused) assert.isTrue(Result.isFailure(result))
          refused ||= Result.isFailure(result)
        }
      })
    )
  })

  it("are refused from their header: unknown type, wrong length, code above 2^53-1, no object", () => {
    const reasonOf = (...bytes: ReadonlyArray<number>) => {
      const result = new ControlFrameDecoder().push(Uint8Array.from(bytes))
      return Result.isFailure(result) ? result.failure.reason : "accepted"
    }
    assert.strictEqual(reasonOf(0, 0, 0, 0, 0), "type")
    assert.strictEqual(reasonOf(6, 0, 0, 0, 0), "type")
    assert.strictEqual(reasonOf(1, 0, 1, 0, 1), "length")
    assert.strictEqual(reasonOf(2, 0, 0, 0, 0), "length")
    assert.strictEqual(reasonOf(3, 0, 0, 0, 1), "length")
    assert.strictEqual(reasonOf(4, 0, 0, 0, 8, 0xff, 0, 0, 0, 0, 0, 0, 0), "code")
    assert.strictEqual(reasonOf(1, 0, 0, 0, 2, 0x5b, 0x5d), "json")
    assert.strictEqual(reasonOf(1, 0, 0, 0, 2, 0xff, 0xfe), "json")
  })

  it("a message above the limit is not sent", () => {
    assert.isTrue(Result.isSuccess(encodeMessage({ a: "x".repeat(PAYLOAD_MAX - 8) })))
    assert.isTrue(Result.isFailure(encodeMessage({ a: "x".repeat(PAYLOAD_MAX) })))
  })
})
