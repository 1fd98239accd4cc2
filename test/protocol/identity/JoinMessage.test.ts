import { assert, it } from "@effect/vitest"
import { Redacted, Result } from "effect"
import * as fc from "fast-check"
import {
  decodeJoinRequest,
  decodeJoinResponse,
  encodeJoinRequest,
  encodeJoinResponse,
  JOIN_FRAME_MAX,
  JoinFrameDecoder,
  type JoinResponse
} from "../../../src/protocol/identity/JoinMessage.ts"

const json = (text: string) => new TextEncoder().encode(text)
const frame = (length: number, body: Uint8Array) => {
  const bytes = Buffer.alloc(4 + body.length)
  bytes.writeUInt32BE(length)
  bytes.set(body, 4)
  return bytes
}
const reasonOf = (result: Result.Result<unknown, { readonly reason: string }>) =>
  Result.match(result, { onSuccess: () => "ok", onFailure: (error) => error.reason })

it("a request comes back as it was, cut into any chunks", () => {
  const bytes = Result.getOrThrow(encodeJoinRequest({ ticket: Redacted.make("alk1x"), name: "laptop é" }))
  assert.strictEqual(new TextDecoder().decode(bytes.subarray(4)), '{"v":1,"ticket":"alk1x","name":"laptop é"}')
  fc.assert(
    fc.property(fc.nat(bytes.length), fc.nat(bytes.length), (a, b) => {
      const [first, second] = [Math.min(a, b), Math.max(a, b)]
      const decoder = new JoinFrameDecoder()
      const chunks = [bytes.subarray(0, first), bytes.subarray(first, second), bytes.subarray(second)]
      const results = chunks.map((chunk) => Result.getOrThrow(decoder.push(chunk)))
      const request = Result.getOrThrow(decodeJoinRequest(results.at(-1)!))
      assert.strictEqual(Redacted.value(request.ticket), "alk1x")
      assert.strictEqual(request.name, "laptop é")
    })
  )
})

it("responses come back as they were", () => {
  const responses: ReadonlyArray<JoinResponse> = [
    { v: 1, ok: true, peerId: "laptop", label: "desk", scopes: ["msg:send"] },
    { v: 1, ok: true, peerId: "laptop", scopes: [] },
    { v: 1, ok: false, code: "REJECTED" }
  ]
  for (const response of responses) {
    const bytes = Result.getOrThrow(encodeJoinResponse(response))
    assert.deepStrictEqual(Result.getOrThrow(decodeJoinResponse(bytes.subarray(4))), response)
  }
})

it("ID-038 a frame of length 0 or 8193, and bytes after it, are refused at once", () => {
  assert.strictEqual(reasonOf(new JoinFrameDecoder().push(frame(0, new Uint8Array(0)))), "length")
  assert.strictEqual(reasonOf(new JoinFrameDecoder().push(frame(JOIN_FRAME_MAX + 1, new Uint8Array(0)))), "length")
  assert.strictEqual(reasonOf(new JoinFrameDecoder().push(frame(0xffffffff, new Uint8Array(0)))), "length")
  assert.strictEqual(reasonOf(new JoinFrameDecoder().push(frame(1, new Uint8Array(2)))), "trailing")
  assert.strictEqual(reasonOf(new JoinFrameDecoder().push(new Uint8Array(100_000))), "trailing")
  const largest = new JoinFrameDecoder().push(frame(JOIN_FRAME_MAX, new Uint8Array(JOIN_FRAME_MAX)))
  assert.strictEqual(Result.getOrThrow(largest)?.length, JOIN_FRAME_MAX)
  assert.strictEqual(reasonOf(encodeJoinRequest({ ticket: Redacted.make("x".repeat(9000)), name: "" })), "length")
})

it("ID-038 bad JSON, another version, missing members and __proto__ do no harm", () => {
  const cases: ReadonlyArray<readonly [Uint8Array, string]> = [
    [json("{"), "text"],
    [json(""), "text"],
    [Uint8Array.of(0x22, 0xff, 0x22), "text"],
    [json("null"), "message"],
    [json("[]"), "message"],
    [json('{"v":2,"ticket":"a","name":"b"}'), "message"],
    [json('{"v":"1","ticket":"a","name":"b"}'), "message"],
    [json('{"v":1,"name":"b"}'), "message"],
    [json('{"v":1,"ticket":{},"name":"b"}'), "message"],
    [json('{"__proto__":{"v":1,"ticket":"a","name":"b"}}'), "message"],
    [json('{"v":1,"ticket":"a","name":"b","__proto__":{"admin":true},"more":1}'), "ok"]
  ]
  for (const [body, expected] of cases) assert.strictEqual(reasonOf(decodeJoinRequest(body)), expected)
  assert.isFalse("admin" in {})
  assert.strictEqual(reasonOf(decodeJoinResponse(json('{"v":1,"ok":false,"code":"OTHER"}'))), "message")
  assert.strictEqual(reasonOf(decodeJoinResponse(json('{"v":1,"ok":true,"code":"USED"}'))), "message")
})
