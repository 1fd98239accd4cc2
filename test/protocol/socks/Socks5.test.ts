import { assert, describe, it } from "@effect/vitest"
import * as fc from "fast-check"
import {
  decodeDatagram,
  decodeGreeting,
  decodeLogin,
  decodeRequest,
  encodeDatagram,
  encodeReply
} from "../../../src/protocol/socks/Socks5.ts"
import { decodeAddress, encodeAddress } from "../../../src/protocol/socks/SocksAddress.ts"

const bytes = (...parts: ReadonlyArray<number | string>): Uint8Array =>
  Uint8Array.from(parts.flatMap((part) => (typeof part === "number" ? [part] : [...Buffer.from(part, "latin1")])))

describe("SOCKS5 messages", () => {
  it("are read as RFC 1928 and 1929 have them", () => {
    assert.deepStrictEqual(decodeGreeting(bytes(5, 2, 0, 2, 99)), { _tag: "Message", message: [0, 2], end: 4 })
    const login = decodeLogin(bytes(1, 2, "me", 3, "key"))
    assert.isTrue(login._tag === "Message" && Buffer.from(login.message.password).toString() === "key")
    const requests: ReadonlyArray<readonly [Uint8Array, string, number]> = [
      [bytes(5, 1, 0, 1, 10, 0, 0, 1, 1, 187), "10.0.0.1", 443],
      [bytes(5, 3, 0, 3, 11, "example.com", 0, 80), "example.com", 80],
      [bytes(5, 1, 0, 4, ...new Array<number>(15).fill(0), 1, 0, 22), "::1", 22]
    ]
    for (const [message, host, port] of requests) {
      assert.deepStrictEqual(decodeRequest(message), {
        _tag: "Message",
        message: { command: message[1]!, target: { host, port } },
        end: message.length
      })
    }
    assert.deepStrictEqual(encodeReply(5), bytes(5, 5, 0, 1, 0, 0, 0, 0, 0, 0))
  })

  it("come in any pieces: each beginning of a message asks for more", () => {
    const messages = [
      [decodeGreeting, bytes(5, 3, 0, 1, 2)],
      [decodeLogin, bytes(1, 2, "me", 3, "key")],
      [decodeRequest, bytes(5, 1, 0, 3, 4, "name", 0, 80)]
    ] as const
    for (const [decode, message] of messages) {
      for (let length = 0; length < message.length; length++) {
        assert.strictEqual(decode(message.subarray(0, length))._tag, "Incomplete", `${length} of ${message.length}`)
      }
      assert.strictEqual(decode(message)._tag, "Message")
    }
  })

  it("that are wrong are known at the first wrong byte", () => {
    for (const text of ["GET / HTTP/1.1", "\x04\x01", "\x16\x03\x01", "\x05\x00"]) {
      assert.strictEqual(decodeGreeting(bytes(text))._tag, "Invalid", text)
    }
    assert.strictEqual(decodeLogin(bytes(5))._tag, "Invalid")
    for (const request of [bytes(4), bytes(5, 1, 1), bytes(5, 1, 0, 3, 0), bytes(5, 1, 0, 3, 2, "a\n", 0, 1)]) {
      assert.strictEqual(decodeRequest(request)._tag, "Invalid")
    }
    const strange = decodeRequest(bytes(5, 1, 0, 2))
    assert.isTrue(strange._tag === "Message" && strange.message.target === undefined)
  })

  it("datagrams come back as they were; fragments and what is none are dropped", () => {
    fc.assert(
      fc.property(
        fc.oneof(
          fc.ipV4(),
          fc.ipV6(),
          fc.domain().filter((name) => name.length < 254)
        ),
        fc.nat(65_535),
        fc.uint8Array({ maxLength: 200 }),
        (host, port, payload) => {
          const datagram = decodeDatagram(encodeDatagram({ address: { host, port }, payload }))
          assert.deepStrictEqual(datagram?.payload, payload)
          // The address in its one spelling.
          const again = encodeAddress(datagram!.address)
          assert.deepStrictEqual(again, encodeAddress({ host, port }))
        }
      )
    )
    assert.isUndefined(decodeDatagram(bytes(0, 0, 1, 1, 10, 0, 0, 1, 0, 53)))
    assert.isUndefined(decodeDatagram(bytes(0, 0, 0)))
  })

  it("no bytes at all make a decoder throw", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 600 }), (input) => {
        for (const decode of [decodeGreeting, decodeLogin, decodeRequest]) {
          const decoded = decode(input)
          if (decoded._tag === "Message") assert.isAtMost(decoded.end, input.length)
        }
        decodeDatagram(input)
        decodeAddress(input, 0)
      }),
      { numRuns: 2_000 }
    )
  })
})
