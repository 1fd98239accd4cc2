import { assert, describe, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import fc from "fast-check"
import {
  decodeEnvelope,
  formatAborted,
  formatCompleted,
  formatError,
  formatRequested,
  formatResponded,
  readError,
  readRequested,
  readResponded
} from "../../../src/protocol/call/Envelope.ts"
import { encodeFrame } from "../../../src/protocol/call/Frame.ts"
import vectors from "../../vectors/call.json" with { type: "json" }

const decode = (text: string | Uint8Array) => decodeEnvelope(typeof text === "string" ? Buffer.from(text) : text)
const decoded = (text: string) => Result.getOrThrow(decode(text))
const reasonOf = (text: string | Uint8Array) => {
  const result = decode(text)
  return Result.isFailure(result) ? result.failure.reason : "accepted"
}

const ID = vectors.id

/** The text of each golden frame, made by our encoder. */
const golden: Readonly<Record<string, () => string>> = {
  G1: () => Result.getOrThrow(formatRequested(ID, { name: "fs/readFile", input: { path: "/etc/hosts" } })),
  G2: () => Result.getOrThrow(formatResponded(ID, { text: "é" })),
  G3: () =>
    Result.getOrThrow(
      formatError(ID, { code: "NOT_FOUND", message: "operation not found: fs/readFile", retryable: false })
    ),
  G4: () => formatCompleted(ID),
  G5: () => formatAborted(ID)
}

describe("envelopes", () => {
  for (const frame of vectors.frames) {
    it(`CALL-002 golden frame ${frame.name} encodes byte for byte and decodes to the same values`, () => {
      const bytes = encodeFrame(golden[frame.name]!())
      assert.strictEqual(bytes.subarray(0, 4).toString(), Buffer.from(frame.header, "hex").toString())
      assert.strictEqual(bytes.length - 4, frame.length)
      if (frame.hex !== undefined) assert.strictEqual(Buffer.from(bytes).toString("hex"), frame.hex)
      assert.deepStrictEqual(Result.getOrThrow(decodeEnvelope(bytes.subarray(4))), {
        type: frame.type,
        id: ID,
        payload: frame.payload
      })
    })
  }

  it("CALL-001 each event encodes to an envelope whose first member is `type`", () => {
    for (const make of Object.values(golden)) {
      const text = make()
      assert.isTrue(text.startsWith('{"type":"call.'))
      assert.deepStrictEqual(Object.keys(JSON.parse(text)), ["type", "id", "payload"])
    }
  })

  it("CALL-007 invalid UTF-8, a byte order mark, broken JSON and a top-level array are refused", () => {
    const good = '{"type":"t","id":"i","payload":null}'
    assert.strictEqual(reasonOf(good), "accepted")
    assert.strictEqual(reasonOf(Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), Buffer.from(good)])), "BadJson")
    assert.strictEqual(reasonOf(Buffer.from('{"type":"t","id":"\xff","payload":null}', "latin1")), "BadJson")
    assert.strictEqual(reasonOf(good.slice(0, -1)), "BadJson")
    assert.strictEqual(reasonOf("[1]"), "BadEnvelope")
    assert.strictEqual(reasonOf('"text"'), "BadEnvelope")
    assert.strictEqual(reasonOf("null"), "BadEnvelope")
  })

  it("CALL-008 a missing `type`, `id` or `payload` and a number as `id` are refused", () => {
    for (const text of [
      '{"id":"i","payload":null}',
      '{"type":"t","payload":null}',
      '{"type":"t","id":"i"}',
      '{"type":"t","id":1,"payload":null}',
      '{"type":1,"id":"i","payload":null}',
      '{"__proto__":{"type":"t","id":"i","payload":null}}'
    ]) {
      assert.strictEqual(reasonOf(text), "BadEnvelope", text)
    }
  })

  it("CALL-009 payload null, extra members, any order, duplicates and an empty id are accepted", () => {
    assert.deepStrictEqual(decoded('{"payload":null,"more":1,"id":"","type":"t"}'), {
      type: "t",
      id: "",
      payload: null
    })
    assert.strictEqual(decoded('{"type":"a","type":"b","id":"i","payload":null}').type, "b")
  })

  it("CALL-010 nesting of 128 is accepted, 129 refused, 1,000,000 refused without a crash", () => {
    const nested = (levels: number, open = "[", close = "]") =>
      `{"type":"t","id":"i","payload":${open.repeat(levels - 1)}${close.repeat(levels - 1)}}`
    assert.strictEqual(reasonOf(nested(128)), "accepted")
    assert.strictEqual(reasonOf(nested(129)), "BadJson")
    assert.strictEqual(reasonOf(nested(1_000_000)), "BadJson")
    const text = JSON.stringify({ type: "t", id: "i", payload: `${"[{".repeat(300)}\\"[[` })
    assert.strictEqual(reasonOf(text), "accepted", "brackets inside strings do not count")
  })

  it("CALL-011 a `__proto__` member changes no prototype", () => {
    const { payload } = decoded(
      '{"type":"call.requested","id":"i","payload":{"operationId":"/a","input":{"__proto__":{"admin":true}},' +
        '"forwarded_for":{"id":"x","scopes":[],"resources":{"__proto__":["a"]}},"__proto__":{"auth_token":"t"}}}'
    )
    const request = readRequested(payload)
    assert.isUndefined(request.authToken)
    assert.isUndefined((request.input as { admin?: boolean }).admin)
    assert.isUndefined((request.forwardedFor!.resources as { a?: unknown }).a)
    assert.isUndefined(({} as { admin?: boolean }).admin)
  })

  it("CALL-012 what JSON cannot say is refused", () => {
    const bad = [
      Number.NaN,
      Number.POSITIVE_INFINITY,
      1n,
      undefined,
      "\ud800",
      { deep: ["a", { "\udc00": 1 }] },
      [undefined],
      // biome-ignore lint/suspicious/noSparseArray: a hole is what is tested
      [1, , 2],
      () => 1,
      Symbol("s"),
      { when: new Date(0) },
      { big: [{ n: 1n }] }
    ]
    for (const value of bad) assert.isTrue(Result.isFailure(formatResponded(ID, value)), String(typeof value))
    const circular: { self?: unknown } = {}
    circular.self = circular
    assert.isTrue(Result.isFailure(formatResponded(ID, circular)))
    assert.strictEqual(
      Result.getOrThrow(formatResponded("i", { a: undefined, b: "\\ud800", c: "😀" })),
      '{"type":"call.responded","id":"i","payload":{"output":{"b":"\\\\ud800","c":"😀"}}}'
    )
  })

  it("CALL-019 a missing output is read as null", () => {
    assert.isNull(readResponded({}))
    assert.isNull(readResponded(null))
    assert.strictEqual(readResponded({ output: 1 }), 1)
  })

  it("CALL-020 an error with members missing gets the defaults", () => {
    const internal = { code: "INTERNAL", message: "", retryable: false }
    assert.deepStrictEqual(readError(null), internal)
    assert.deepStrictEqual(readError({ code: 1, message: 2, retryable: "yes" }), internal)
    assert.deepStrictEqual(readError({ code: "A", details: null }), { ...internal, code: "A", details: null })
    const text = Result.getOrThrow(formatError("i", { code: "A", message: "m", retryable: true }))
    assert.deepStrictEqual(JSON.parse(text).payload, { code: "A", message: "m", retryable: true })
  })

  it("CALL-031 an operationId that is absent or no text is the empty name", () => {
    for (const payload of [null, 1, "x", [], {}, { operationId: 1 }, { operationId: null }]) {
      assert.strictEqual(readRequested(payload).name, "")
      assert.isNull(readRequested(payload).input)
    }
  })

  it("CALL-029 at most one leading slash is removed", () => {
    const name = (operationId: string) => readRequested({ operationId }).name
    assert.deepStrictEqual(["/a/b", "a/b", "//a/b", "/", ""].map(name), ["a/b", "a/b", "/a/b", "", ""])
  })

  it("CALL-077 a malformed token or forwarded_for is read as absent", () => {
    const read = (more: object) => readRequested(JSON.parse(JSON.stringify({ operationId: "a", ...more })))
    assert.isUndefined(read({ auth_token: 5 }).authToken)
    const good = { id: "x", scopes: ["a"], resources: { r: ["1"] } }
    assert.deepStrictEqual(read({ forwarded_for: good }).forwardedFor, good)
    for (const forwarded_for of [
      null,
      "x",
      { ...good, id: 1 },
      { ...good, scopes: "a" },
      { ...good, scopes: [1] },
      { ...good, resources: [] },
      { ...good, resources: { r: "1" } }
    ]) {
      assert.isUndefined(read({ forwarded_for }).forwardedFor)
    }
  })

  it.effect("property: every JSON value survives a round trip", () =>
    Effect.sync(() => {
      fc.assert(
        fc.property(fc.string(), fc.jsonValue({ maxDepth: 5 }), (id, output) => {
          const text = Result.getOrThrow(formatResponded(id, output))
          const envelope = decoded(text)
          assert.strictEqual(envelope.id, id)
          assert.deepStrictEqual(JSON.stringify(readResponded(envelope.payload)), JSON.stringify(output))
        })
      )
    })
  )

  it("property: random bytes and mutated frames never throw", () => {
    const frame = Buffer.from(golden["G1"]!())
    fc.assert(
      fc.property(fc.nat(frame.length - 1), fc.nat(255), fc.uint8Array(), (at, byte, random) => {
        const mutated = Buffer.from(frame)
        mutated[at] = byte
        const first = decode(mutated)
        if (Result.isSuccess(first)) readRequested(first.success.payload)
        decode(random)
      }),
      { numRuns: 500 }
    )
  })
})
