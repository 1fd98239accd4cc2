import { assert, it } from "@effect/vitest"
import { initialSecret, openPacket, packetKeys, sealPacket } from "../../../src/protocol/quic/InitialKeys.ts"
import vectors from "../../vectors/rfc9001-appendix-a.json" with { type: "json" }

const fromHex = (lines: string | ReadonlyArray<string>): Uint8Array =>
  Uint8Array.from(Buffer.from(typeof lines === "string" ? lines : lines.join(""), "hex"))
const toHex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex")
const connectionId = fromHex(vectors.destinationConnectionId)

const sides = ["client", "server"] as const

const payloadOf = (side: (typeof sides)[number]): Uint8Array => {
  const payload = new Uint8Array(vectors[side].payloadBytes)
  payload.set(fromHex(vectors[side].frames))
  return payload
}

it("the secrets and keys of RFC 9001 appendix A.1", () => {
  for (const side of sides) {
    const secret = initialSecret(connectionId, side)
    assert.strictEqual(toHex(secret), vectors[side].secret)
    const keys = packetKeys(secret)
    assert.strictEqual(toHex(keys.key), vectors[side].key)
    assert.strictEqual(toHex(keys.iv), vectors[side].iv)
    assert.strictEqual(toHex(keys.headerKey), vectors[side].headerKey)
  }
})

it("the Initial packets of RFC 9001 appendix A.2 and A.3 come out of seal byte by byte and open again", () => {
  for (const side of sides) {
    const vector = vectors[side]
    const keys = packetKeys(initialSecret(connectionId, side))
    const header = fromHex(vector.header)
    const packet = fromHex(vector.packet)
    assert.strictEqual(toHex(sealPacket(keys, header, vector.packetNumber, payloadOf(side))), toHex(packet))
    const untouched = Uint8Array.from(packet)
    const numberAt = header.length - ((header[0]! & 3) + 1)
    const opened = openPacket(keys, packet, numberAt)
    assert.strictEqual(opened?.packetNumber, vector.packetNumber)
    assert.strictEqual(toHex(opened!.header), vector.header)
    assert.strictEqual(toHex(opened!.payload), toHex(payloadOf(side)))
    assert.deepStrictEqual(packet, untouched)
  }
})

it("a packet with one changed bit, of the other side, or cut, does not open", () => {
  const keys = packetKeys(initialSecret(connectionId, "server"))
  const packet = fromHex(vectors.server.packet)
  for (let bit = 0; bit < packet.length * 8; bit++) {
    const changed = Uint8Array.from(packet)
    changed[bit >> 3] = changed[bit >> 3]! ^ (1 << (bit & 7))
    assert.isUndefined(openPacket(keys, changed, 18), `bit ${bit}`)
  }
  for (let length = 0; length < packet.length; length++) {
    assert.isUndefined(openPacket(keys, packet.subarray(0, length), 18), `length ${length}`)
  }
  assert.isUndefined(openPacket(packetKeys(initialSecret(connectionId, "client")), packet, 18))
})

it("an authentic packet with reserved header bits is refused", () => {
  const keys = packetKeys(initialSecret(connectionId, "server"))
  const header = fromHex(vectors.server.header)
  header[0] = header[0]! | 0x04
  assert.isUndefined(openPacket(keys, sealPacket(keys, header, 1, payloadOf("server")), 18))
})

it("a short header hides five bits of its first byte", () => {
  const keys = packetKeys(initialSecret(connectionId, "server"))
  const header = Uint8Array.of(0x41, ...connectionId, 0x12, 0x34)
  for (let attempt = 0; attempt < 32; attempt++) {
    const opened = openPacket(keys, sealPacket(keys, header, 0x1234, Uint8Array.of(1, 0, attempt)), 9)
    assert.deepStrictEqual(opened?.header, header)
    assert.strictEqual(opened?.packetNumber, 0x1234)
  }
})
