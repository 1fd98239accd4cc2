import { generateKeyPairSync, type KeyObject, sign } from "node:crypto"
import { assert, it } from "@effect/vitest"
import { bytesToHex, concatBytes, hexToBytes } from "@noble/hashes/utils.js"
import { bech32m } from "@scure/base"
import { Result } from "effect"
import * as fc from "fast-check"
import { type NodeId, nodeIdFromBytes } from "../../../src/protocol/identity/NodeId.ts"
import { signatureInput } from "../../../src/protocol/identity/Signature.ts"
import { decodeTicket, encodeTicket, TICKET_CONTEXT, verifyTicket } from "../../../src/protocol/identity/Ticket.ts"
import { socketAddressesOf, ticketAddressOf } from "../../../src/protocol/identity/TicketAddress.ts"
import {
  decodeTicketPayload,
  encodeTicketDraft,
  encodeTicketPayload,
  type GrantTerms,
  type Ticket,
  type TicketDraft
} from "../../../src/protocol/identity/TicketPayload.ts"
import { ticketVector, vectors } from "./Vectors.ts"

const textOf = (payload: Uint8Array): string => bech32m.encode("alk", bech32m.toWords(payload), false)

/** What decoding says: `ok`, or the error's tag and field. */
const outcome = (text: string): string =>
  Result.match(decodeTicket(text), { onSuccess: () => "ok", onFailure: (error) => `${error._tag} ${error.field}` })
const outcomeOf = (hex: string): string => outcome(textOf(hexToBytes(hex)))

const newNode = (): { readonly nodeId: NodeId; readonly key: KeyObject } => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519")
  const bytes = Buffer.from(publicKey.export({ format: "jwk" }).x!, "base64url")
  return { nodeId: Result.getOrThrow(nodeIdFromBytes(bytes)), key: privateKey }
}
const node = newNode()

const signed = (draft: TicketDraft & { readonly grant: GrantTerms }, key: KeyObject): Ticket => ({
  ...draft,
  grant: { ...draft.grant, signature: sign(null, signatureInput(TICKET_CONTEXT, encodeTicketDraft(draft)), key) }
})

const terms: GrantTerms = {
  kind: "invite",
  id: new Uint8Array(16).fill(7),
  issuedAt: 1_790_000_000,
  expiresAt: 1_790_003_600,
  scopes: ["msg:send"]
}
const draft = { nodeId: node.nodeId, addresses: [{ kind: "ipv4", host: "127.0.0.1", port: 1 }], grant: terms } as const

it("ID-030 the published tickets decode and encode byte for byte; grants verify", () => {
  assert.strictEqual(vectors.tickets.cases.length, 3)
  for (const { name, payload, text } of vectors.tickets.cases) {
    const ticket = Result.getOrThrow(decodeTicket(text))
    assert.strictEqual(ticket.nodeId, vectors.nodeId.cases[0]!.nodeId)
    assert.strictEqual(bytesToHex(encodeTicketPayload(ticket)), payload)
    assert.strictEqual(Result.getOrThrow(encodeTicket(ticket)), text)
    assert.strictEqual(verifyTicket(ticket), name !== "plain")
    assert.strictEqual(Result.getOrThrow(encodeTicket(Result.getOrThrow(decodeTicket(text.toUpperCase())))), text)
    assert.strictEqual(outcome(`${text.slice(0, 20)}${text.slice(20).toUpperCase()}`), "TicketInvalid text")
    assert.strictEqual(outcome(`A${text.slice(1)}`), "TicketInvalid text")
  }
})

it("ID-030 the published tickets say what the specification says of them", () => {
  const plain = Result.getOrThrow(decodeTicket(ticketVector("plain").text))
  assert.strictEqual(plain.label, "desk")
  assert.deepStrictEqual(socketAddressesOf(plain.addresses), [
    { host: "203.0.113.7", port: 4433 },
    { host: "2001:db8::1", port: 4433 },
    { host: "node.example", port: 443 }
  ])
  assert.isUndefined(plain.grant)
  const { grant: invite } = Result.getOrThrow(decodeTicket(ticketVector("invite").text))
  assert.strictEqual(invite?.kind, "invite")
  assert.strictEqual(bytesToHex(invite!.id), "000102030405060708090a0b0c0d0e0f")
  assert.deepStrictEqual([invite!.issuedAt, invite!.expiresAt], [1_790_000_000, 1_790_003_600])
  assert.deepStrictEqual(invite!.scopes, ["msg:send", "git:read:*"])
  const { grant: access } = Result.getOrThrow(decodeTicket(ticketVector("access").text))
  assert.strictEqual(access?.kind, "access")
  assert.strictEqual(access!.audience, vectors.nodeId.cases[1]!.nodeId)
})

it("ID-031 each character changed, and each cut, is refused", () => {
  for (const { text } of vectors.tickets.cases) {
    for (let index = 0; index < text.length; index++) {
      const other = text[index] === "q" ? "p" : "q"
      assert.match(
        outcome(`${text.slice(0, index)}${other}${text.slice(index + 1)}`),
        /^TicketInvalid (text|checksum)$/
      )
      assert.match(outcome(text.slice(0, index)), /^TicketInvalid (text|checksum)$/)
    }
  }
  assert.strictEqual(outcome(`alk1${"q".repeat(5000)}`), "TicketInvalid text")
  assert.strictEqual(outcome(bech32m.encode("alx", bech32m.toWords(hexToBytes("01")), false)), "TicketInvalid text")
})

const head = `0100${vectors.nodeId.cases[0]!.publicKey}`
const address = "01000704cb0071071151"
const grantFields = {
  kind: "10000101",
  id: `110010${"00".repeat(16)}`,
  issued: "120008000000006ab13b80",
  expires: "130008000000006ab13b81",
  scope: "1400086d73673a73656e64",
  signature: `ff0040${"00".repeat(64)}`
}
const grantWith = (changes: Partial<Record<keyof typeof grantFields, string>> = {}): string =>
  head + Object.values({ ...grantFields, ...changes }).join("")

it("ID-031 a payload that differs from the grammar is refused with the field", () => {
  assert.strictEqual(outcomeOf(head), "ok")
  assert.strictEqual(outcomeOf(head + address.repeat(16)), "ok")
  assert.strictEqual(outcomeOf(grantWith()), "ok")
  const cases: ReadonlyArray<readonly [string, string]> = [
    ["", "length"],
    ["0100", "node id"],
    [head.slice(0, -2), "node id"],
    [head.replace(/^0100/, "0101"), "flags"],
    [`${head}00`, "length"],
    [`${head + address}01`, "length"],
    [`${head}01000804cb0071071151`, "length"],
    [`${head}0200046465736b${address}`, "order"],
    [`${head}0200046465736b0200046465736b`, "label"],
    [head + address.repeat(17), "address"],
    [`${head}01000704cb0071070000`, "address"],
    [`${head}0100080400cb0071071151`, "address"],
    [`${head}0100130620010db80000000000000000000000010000`, "address"],
    [`${head}010000`, "address"],
    [`${head}0100030d1151`, "address"],
    [`${head}0100040d5f1151`, "address"],
    [`${head}0100040d201151`, "address"],
    [`${head}0101010d${"61".repeat(254)}1151`, "address"],
    [`${head}020000`, "label"],
    [`${head}020041${"61".repeat(65)}`, "label"],
    [`${head}020002c328`, "label"],
    [grantWith({ kind: "" }), "grant id"],
    [grantWith({ kind: "10000100" }), "grant kind"],
    [grantWith({ kind: "10000104" }), "grant kind"],
    [grantWith({ kind: "1000020101" }), "grant kind"],
    [grantWith({ kind: "1000010110000101" }), "grant kind"],
    [grantWith({ id: "" }), "grant id"],
    [grantWith({ id: `11000f${"00".repeat(15)}` }), "grant id"],
    [grantWith({ issued: "" }), "issued at"],
    [grantWith({ issued: "1200046ab13b80" }), "issued at"],
    [grantWith({ expires: "" }), "expires at"],
    [grantWith({ expires: "130008ffffffffffffffff" }), "expires at"],
    [grantWith({ scope: "" }), "scope"],
    [grantWith({ scope: "140000" }), "scope"],
    [grantWith({ scope: "14000161".repeat(65) }), "scope"],
    [grantWith({ scope: "140003613a3a" }), "scope"],
    [grantWith({ kind: "10000103" }), "scope"],
    [grantWith({ scope: `${grantFields.scope}200000` }), "content"],
    [grantWith({ scope: `${grantFields.scope}15001f${"00".repeat(31)}` }), "audience"],
    [grantWith({ signature: "" }), "signature"],
    [grantWith({ signature: `ff003f${"00".repeat(63)}` }), "signature"],
    [grantWith({ signature: grantFields.signature.repeat(2) }), "signature"],
    [`${grantWith()}800000`, "order"],
    [head + grantFields.scope, "scope"],
    [`${head}200000`, "content"],
    [head + grantFields.signature, "signature"],
    [`${head}150020${vectors.nodeId.cases[1]!.publicKey}`, "audience"]
  ]
  for (const [hex, field] of cases) assert.strictEqual(outcomeOf(hex), `TicketInvalid ${field}`, hex)
})

it("ID-031 bech32m padding that is not zero, or a whole character of it, is refused", () => {
  const words = bech32m.toWords(hexToBytes(head))
  assert.strictEqual(words.length * 5 - 34 * 8, 3)
  const padded = [...words.slice(0, -1), words.at(-1)! | 1]
  assert.strictEqual(outcome(bech32m.encode("alk", padded, false)), "TicketInvalid checksum")
  const even = bech32m.toWords(hexToBytes(`${head}800000810000`))
  assert.strictEqual(outcome(bech32m.encode("alk", even, false)), "ok")
  assert.strictEqual(outcome(bech32m.encode("alk", [...even, 0], false)), "TicketInvalid checksum")
})

it("ID-032 a newer version or field is TicketUnsupported, an extension is kept and covered by the signature", () => {
  assert.strictEqual(outcomeOf(head.replace(/^01/, "02")), "TicketUnsupported version")
  for (const type of ["00", "03", "16", "1f", "30", "7f"]) {
    assert.strictEqual(outcomeOf(`${head}${type}0000`), `TicketUnsupported type ${type}`)
  }
  const extended = `${head}81000181810000fe000100`
  assert.strictEqual(outcomeOf(extended), "ok")
  const text = textOf(hexToBytes(extended))
  assert.strictEqual(Result.getOrThrow(encodeTicket(Result.getOrThrow(decodeTicket(text)))), text)

  const ticket = signed({ ...draft, extensions: [{ type: 0x81, value: Uint8Array.of(1) }] }, node.key)
  assert.isTrue(verifyTicket(Result.getOrThrow(decodeTicket(Result.getOrThrow(encodeTicket(ticket))))))
  assert.isFalse(verifyTicket({ ...ticket, extensions: [] }))
})

const RANDOM_PAYLOADS = 50_000
it(`ID-032 ${RANDOM_PAYLOADS} random and mutated payloads and texts give a ticket or one of the two errors`, () => {
  let seed = 42
  const random = (limit: number) => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0
    return Math.floor((seed / 2 ** 32) * limit)
  }
  const samples = vectors.tickets.cases.map(({ payload }) => hexToBytes(payload))
  let decoded = 0
  for (let run = 0; run < RANDOM_PAYLOADS; run++) {
    const payload = Uint8Array.from(samples[random(3)]!)
    const kind = run % 4
    const fuzzed =
      kind === 0
        ? Uint8Array.from({ length: random(80) }, () => random(256))
        : concatBytes(
            payload.subarray(0, kind === 1 ? 34 : random(payload.length)),
            payload.subarray(random(payload.length))
          )
    if (kind === 3) fuzzed[random(fuzzed.length)] = random(256)
    const result = run % 10 === 0 ? decodeTicket(textOf(fuzzed)) : decodeTicketPayload(fuzzed)
    if (Result.isSuccess(result)) {
      decoded++
      if (Buffer.compare(encodeTicketPayload(result.success), fuzzed) !== 0) assert.fail(bytesToHex(fuzzed))
    } else if (result.failure._tag !== "TicketInvalid" && result.failure._tag !== "TicketUnsupported") {
      assert.fail("another error")
    }
  }
  assert.isAbove(decoded, 100)
  fc.assert(fc.property(fc.string({ unit: "binary" }), (text) => outcome(text) !== "" && outcome(`alk1${text}`) !== ""))
})

it("ID-033 a signed ticket with any part changed does not verify", () => {
  const ticket = signed(draft, node.key)
  assert.isTrue(verifyTicket(ticket))
  const changed: ReadonlyArray<Ticket> = [
    { ...ticket, grant: { ...ticket.grant!, scopes: ["*"] } },
    { ...ticket, grant: { ...ticket.grant!, scopes: ["msg:send", "msg:log"] } },
    { ...ticket, grant: { ...ticket.grant!, expiresAt: terms.expiresAt + 1 } },
    { ...ticket, grant: { ...ticket.grant!, issuedAt: terms.issuedAt + 1 } },
    { ...ticket, grant: { ...ticket.grant!, kind: "access" } },
    { ...ticket, grant: { ...ticket.grant!, audience: node.nodeId } },
    { ...ticket, grant: { ...ticket.grant!, id: new Uint8Array(16) } },
    { ...ticket, addresses: [{ kind: "ipv4", host: "127.0.0.2", port: 1 }] },
    { ...ticket, addresses: [] },
    { ...ticket, label: "x" },
    { ...ticket, nodeId: newNode().nodeId }
  ]
  for (const [index, forged] of changed.entries()) assert.isFalse(verifyTicket(forged), String(index))
})

it("ID-033 a signature with S + L, and one of another length, does not verify", () => {
  const ticket = signed(draft, node.key)
  const signature = ticket.grant!.signature
  const order = 2n ** 252n + 27742317777372353535851937790883648493n
  let scalar = signature.subarray(32).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n) + order
  const malleable = Uint8Array.from(signature)
  for (let index = 32; index < 64; index++, scalar >>= 8n) malleable[index] = Number(scalar & 255n)
  for (const other of [malleable, new Uint8Array(64), signature.subarray(1), new Uint8Array(0)]) {
    assert.isFalse(verifyTicket({ ...ticket, grant: { ...ticket.grant!, signature: other } }))
  }
})

it("ID-033 the signature of a small-order key is refused with its NodeId", () => {
  const smallOrder = vectors.refusedKeys.smallOrder[0]!
  const forged = grantWith({ signature: `ff004001${"00".repeat(63)}` }).replace(
    vectors.nodeId.cases[0]!.publicKey,
    smallOrder
  )
  assert.strictEqual(outcomeOf(forged), "TicketInvalid node id")
})

it("content tickets keep their fields and are verified by nobody but their issuer", () => {
  const content = [
    { type: 0x20, value: new Uint8Array(32) },
    { type: 0x21, value: Uint8Array.of(1) }
  ]
  const ticket = signed({ ...draft, grant: { ...terms, kind: "content", scopes: [], content } }, node.key)
  const text = Result.getOrThrow(encodeTicket(ticket))
  const back = Result.getOrThrow(decodeTicket(text))
  assert.deepStrictEqual(back.grant?.content, content)
  assert.strictEqual(Result.getOrThrow(encodeTicket(back)), text)
  assert.isFalse(verifyTicket(back))
})

it("what would not decode again is not encoded", () => {
  const broken: ReadonlyArray<Partial<Ticket>> = [
    { label: "" },
    { label: "x".repeat(65) },
    { addresses: [{ kind: "name", host: "a_b", port: 1 }] },
    { addresses: [{ kind: "ipv4", host: "127.0.0.1", port: 0 }] },
    { extensions: [{ type: 0x7f, value: new Uint8Array(0) }] },
    { extensions: [{ type: 0x80, value: new Uint8Array(3000) }] },
    { extensions: [{ type: 0x80, value: new Uint8Array(70_000) }] },
    { grant: { ...terms, scopes: [], signature: new Uint8Array(64) } },
    { grant: { ...terms, issuedAt: -1, signature: new Uint8Array(64) } },
    { grant: { ...terms, issuedAt: 0.5, signature: new Uint8Array(64) } }
  ]
  for (const change of broken) {
    assert.isTrue(
      Result.isFailure(encodeTicket({ nodeId: node.nodeId, addresses: [], ...change })),
      JSON.stringify(change)
    )
  }
})

it("addresses become fields of a ticket and come back", () => {
  for (const [host, expected] of [
    ["203.0.113.7", "203.0.113.7"],
    ["2001:0DB8::0:1", "2001:db8::1"],
    ["::", "::"],
    ["::ffff:1.2.3.4", "::ffff:102:304"],
    ["1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8"],
    ["Node.Example", "Node.Example"],
    ["127.1", "127.1"]
  ] as const) {
    const field = ticketAddressOf({ host, port: 65535 })
    const text = Result.getOrThrow(encodeTicket({ nodeId: node.nodeId, addresses: [field!] }))
    const { addresses } = Result.getOrThrow(decodeTicket(text))
    assert.deepStrictEqual(socketAddressesOf(addresses), [{ host: expected, port: 65535 }])
  }
  assert.isUndefined(ticketAddressOf({ host: "fe80::1%eth0", port: 1 }))
  assert.isUndefined(ticketAddressOf({ host: "a b", port: 1 }))
  assert.isUndefined(ticketAddressOf({ host: "127.0.0.1", port: 0 }))
  const other = hexToBytes(`${head}0100020909`)
  const kept = Result.getOrThrow(decodeTicketPayload(other))
  assert.deepStrictEqual(socketAddressesOf(kept.addresses), [])
  assert.deepStrictEqual(encodeTicketPayload(kept), other)
})
