/** The headers of an upgrade, and the codes of its end. */
import { assert, describe, it } from "@effect/vitest"
import { CloseCode } from "../../../src/protocol/CloseCode.ts"
import { MessageClose, readMessageClose, toMessageClose } from "../../../src/protocol/call/MessageClose.ts"
import { isOriginAllowed, offeredSubprotocols, subprotocolsOf, tokenOf } from "../../../src/protocol/call/Upgrade.ts"

describe("upgrade headers", () => {
  it("the token is that of the header, else that of a subprotocol", () => {
    const inProtocol = { "sec-websocket-protocol": offeredSubprotocols("alk_b").join(", ") }
    assert.strictEqual(tokenOf({ ...inProtocol, authorization: "Bearer alk_a" }), "alk_a")
    assert.strictEqual(tokenOf({ ...inProtocol, authorization: "Basic xyz" }), "alk_b")
    assert.strictEqual(tokenOf(inProtocol), "alk_b")
    assert.strictEqual(tokenOf({ authorization: "bearer  alk_a " }), "alk_a")
    for (const authorization of ["Bearer", "Bearer ", "Bearer a b", "alk_a"]) {
      assert.isUndefined(tokenOf({ authorization }), authorization)
    }
  })

  it("subprotocols are read in order, with any spaces", () => {
    assert.deepStrictEqual(subprotocolsOf({ "sec-websocket-protocol": "a ,b,  c" }), ["a", "b", "c"])
    assert.deepStrictEqual(subprotocolsOf({}), [])
    assert.deepStrictEqual(offeredSubprotocols(undefined), ["alknet.call"])
  })

  it("an origin is allowed without a page, from the same host, or by the list, and never by a part of a name", () => {
    const host = "node.example:4433"
    const allowed = (origin: string | undefined, list: ReadonlyArray<string> = []) =>
      isOriginAllowed({ host, origin }, list)
    assert.isTrue(allowed(undefined))
    assert.isTrue(allowed("https://node.example:4433"))
    assert.isTrue(allowed("https://page.example", ["https://page.example"]))
    for (const origin of [
      "https://node.example",
      "https://node.example:44330",
      "https://node.example:4433.evil.example",
      "https://evil.example/node.example:4433",
      "null",
      "",
      "file://",
      "https://page.example.evil.example"
    ]) {
      assert.isFalse(allowed(origin, ["https://page.example"]), origin)
    }
    assert.isFalse(isOriginAllowed({ origin: "https://node.example" }, []))
  })
})

describe("close codes", () => {
  it("what one side ends with, the other reads alike", () => {
    const { Draining, HandlerFailed, NoError, NoHandler, ProtocolError, TooMany } = CloseCode
    for (const code of [NoError, NoHandler, TooMany, Draining, HandlerFailed, ProtocolError]) {
      assert.deepStrictEqual(readMessageClose(toMessageClose(code, "").code), { kind: "app", code })
    }
    assert.deepStrictEqual(readMessageClose(MessageClose.TooLarge.code), { kind: "app", code: ProtocolError })
    assert.deepStrictEqual(readMessageClose(1005), { kind: "app", code: NoError })
    assert.deepStrictEqual(readMessageClose(1006), { kind: "lost", code: 0 })
    assert.deepStrictEqual(readMessageClose(4001), { kind: "transport", code: 4001 })
    assert.strictEqual(toMessageClose(0x12, "").code, 1008)
  })

  it("a reason fits into a close frame, in whole characters", () => {
    assert.strictEqual(toMessageClose(CloseCode.Draining, "bye").reason, "bye")
    const long = toMessageClose(CloseCode.Draining, "é".repeat(100)).reason
    assert.strictEqual(long, "é".repeat(61))
  })
})
