import { assert, it } from "@effect/vitest"
import { bytesToHex, hexToBytes } from "@noble/hashes/utils.js"
import { Result, Schema } from "effect"
import { peerKeyOfCertificate } from "../../../src/protocol/identity/Certificate.ts"
import { fingerprintFromText, fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import { NodeId, nodeIdFromBytes, nodeIdFromText, nodeIdToBytes } from "../../../src/protocol/identity/NodeId.ts"
import { encodeTicket } from "../../../src/protocol/identity/Ticket.ts"
import { decodeTicketPayload } from "../../../src/protocol/identity/TicketPayload.ts"
import { decodeZBase32, encodeZBase32 } from "../../../src/protocol/ZBase32.ts"
import { refusedKeys, ticketVector, vectors } from "./Vectors.ts"

it("ID-001 the published keys give their NodeId and fingerprint, and back", () => {
  assert.strictEqual(vectors.nodeId.cases.length, 2)
  for (const vector of vectors.nodeId.cases) {
    const key = hexToBytes(vector.publicKey)
    const nodeId = Result.getOrThrow(nodeIdFromBytes(key))
    assert.strictEqual(nodeId, vector.nodeId)
    assert.deepStrictEqual(nodeIdToBytes(nodeId), key)
    assert.strictEqual(Result.getOrThrow(nodeIdFromText(vector.nodeId)), nodeId)
    assert.strictEqual(fingerprintOfNode(nodeId), vector.fingerprint)
    assert.strictEqual(vector.spki, `302a300506032b6570032100${bytesToHex(nodeIdToBytes(nodeId))}`)
  }
  for (const { hex, text } of vectors.zbase32.cases) {
    assert.strictEqual(encodeZBase32(hexToBytes(hex)), text)
    assert.deepStrictEqual(decodeZBase32(text), hexToBytes(hex))
  }
})

it("ID-002 text of another length, case, alphabet or last character is refused", () => {
  const good = vectors.nodeId.cases[0]!.nodeId
  const broken = [
    good.slice(1),
    `${good}y`,
    good.toUpperCase(),
    `H${good.slice(1)}`,
    ...["0", "2", "l", "v"].map((character) => `${character}${good.slice(1)}`),
    ...["b", "n", "9", "e"].map((character) => `${good.slice(0, -1)}${character}`),
    ` ${good.slice(1)}`,
    `${good.slice(0, -1)} `,
    ` ${good}`,
    `${good}\n`,
    vectors.nodeId.cases[0]!.publicKey,
    ""
  ]
  for (const text of broken) {
    assert.isTrue(Result.isFailure(nodeIdFromText(text)), JSON.stringify(text))
    assert.isFalse(Schema.is(NodeId)(text), JSON.stringify(text))
  }
})

it("ID-003 a key of small order, not canonical or not a point is refused at every place", () => {
  assert.strictEqual(refusedKeys.length, 11)
  const payload = hexToBytes(ticketVector("plain").payload)
  const audience = hexToBytes(ticketVector("access").payload)
  const audienceOffset = Buffer.from(audience).indexOf(Buffer.from(vectors.nodeId.cases[1]!.publicKey, "hex"))
  for (const [name, key] of refusedKeys) {
    const text = encodeZBase32(key)
    assert.isTrue(Result.isFailure(nodeIdFromBytes(key)), name)
    assert.isTrue(Result.isFailure(nodeIdFromText(text)), name)
    assert.isFalse(Schema.is(NodeId)(text), name)
    assert.isTrue(Result.isFailure(fingerprintFromText(`ed25519:${bytesToHex(key)}`)), name)

    const inTicket = Uint8Array.from(payload)
    inTicket.set(key, 2)
    assert.strictEqual(Result.getOrThrow(Result.flip(decodeTicketPayload(inTicket))).field, "node id", name)
    const inAudience = Uint8Array.from(audience)
    inAudience.set(key, audienceOffset)
    assert.strictEqual(Result.getOrThrow(Result.flip(decodeTicketPayload(inAudience))).field, "audience", name)
    assert.isTrue(Result.isFailure(encodeTicket({ nodeId: text as NodeId, addresses: [] })), name)
    assert.isTrue(Result.isFailure(peerKeyOfCertificate(certificateWith(key))), name)
  }
})

/** The least DER that leads to the key: the fields before it are empty. */
const certificateWith = (key: Uint8Array): Uint8Array => {
  const fields = "a00002003000300030003000"
  const body = `${fields}302a300506032b6570032100${bytesToHex(key)}`
  const bodyLength = (body.length / 2).toString(16).padStart(2, "0")
  const outerLength = (body.length / 2 + 2).toString(16).padStart(2, "0")
  return hexToBytes(`30${outerLength}30${bodyLength}${body}`)
}

it("the certificate of the test above is read where its key is good", () => {
  const { nodeId, publicKey } = vectors.nodeId.cases[0]!
  assert.strictEqual(Result.getOrThrow(peerKeyOfCertificate(certificateWith(hexToBytes(publicKey)))), nodeId)
})
