import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  boundOf,
  decodeAnswer,
  decodeArrival,
  decodeFlowDatagram,
  decodeRequest,
  encodeAnswer,
  encodeArrival,
  encodeFlowAnswer,
  encodeFlowDatagram,
  encodeRequest,
  flowOf,
  type TunnelRequest
} from "../../../src/protocol/tunnel/Tunnel.ts"

const body = (frame: Uint8Array): Uint8Array => {
  assert.strictEqual(frame[0]! * 256 + frame[1]!, frame.length - 2)
  return frame.subarray(2)
}

describe("frames of alknet/tunnel", () => {
  it("say what a stream is for", () => {
    const requests: ReadonlyArray<TunnelRequest> = [
      { _tag: "Connect", target: { host: "db.example", port: 5432 } },
      { _tag: "Connect", target: { host: "10.0.0.1", port: 65_535 } },
      { _tag: "Listen", at: { host: "::1", port: 0 } },
      { _tag: "Datagrams" },
      { _tag: "Socket", path: "/run/ü.sock" },
      { _tag: "Collect", token: Uint8Array.from({ length: 16 }, (_, index) => index) }
    ]
    for (const request of requests) assert.deepStrictEqual(decodeRequest(body(encodeRequest(request))), request)
    assert.deepStrictEqual([...encodeRequest(requests[1]!)], [0, 8, 1, 1, 10, 0, 0, 1, 255, 255])
  })

  it("answer", () => {
    assert.deepStrictEqual([...encodeAnswer(5)], [0, 1, 5])
    const bound = { host: "127.0.0.1", port: 8080 }
    assert.deepStrictEqual(boundOf(decodeAnswer(body(encodeAnswer(0, bound)))), bound)
    assert.strictEqual(flowOf(decodeAnswer(body(encodeFlowAnswer(0xfedc_ba98)))), 0xfedc_ba98)
    const arrival = { token: new Uint8Array(16).fill(7), origin: bound }
    assert.deepStrictEqual(decodeArrival(body(encodeArrival(arrival))), arrival)
    const datagram = { flow: 4_000_000_000, address: bound, payload: Uint8Array.of(1, 2) }
    assert.deepStrictEqual(decodeFlowDatagram(encodeFlowDatagram(datagram)), datagram)
  })

  it("that are wrong are none", () => {
    const wrong = [
      [],
      [0],
      [6],
      [3, 0],
      [1],
      [1, 1, 10, 0, 0, 1, 0],
      [1, 1, 10, 0, 0, 1, 0, 80, 0],
      [4, ...Buffer.from("relative")],
      [4, ...Buffer.from("/nul\0")],
      [4, 0x2f, 0xff],
      [5, 1, 2, 3]
    ]
    for (const one of wrong) assert.isUndefined(decodeRequest(Uint8Array.from(one)), String(one))
  })

  it("no bytes at all make a decoder throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1, maxLength: 300 }), (input) => {
        decodeRequest(input)
        decodeArrival(input)
        decodeFlowDatagram(input)
        const answer = decodeAnswer(input)
        boundOf(answer)
        flowOf(answer)
      }),
      { numRuns: 2_000 }
    )
  })
})
