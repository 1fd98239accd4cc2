import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import * as fc from "fast-check"
import { PACKET_BYTES_MAX, type Packet, PacketDecoder } from "../../../src/protocol/sftp/PacketDecoder.ts"
import { decodeRequest, encodeInit, encodeRequest, type Operation } from "../../../src/protocol/sftp/Request.ts"
import {
  decodeServerPacket,
  encodeResponse,
  encodeVersion,
  type Response
} from "../../../src/protocol/sftp/Response.ts"

const text = fc.string({ unit: "grapheme", maxLength: 40 })
const uint32 = fc.nat(0xffffffff)
const uint64 = fc.maxSafeNat()
const bytes = fc.uint8Array({ maxLength: 200 })
const handle = fc.uint8Array({ minLength: 1, maxLength: 8 })
const attributes = fc.record(
  {
    size: uint64,
    owner: fc.record({ uid: uint32, gid: uint32 }),
    mode: uint32,
    times: fc.record({ accessed: uint32, modified: uint32 })
  },
  { requiredKeys: [] }
)
const tagged = <const Tag extends string, A>(tag: Tag, fields: { [K in keyof A]: fc.Arbitrary<A[K]> }) =>
  fc.record({ _tag: fc.constant(tag), ...fields }) as fc.Arbitrary<{ readonly _tag: Tag } & A>

const operation: fc.Arbitrary<Exclude<Operation, { readonly _tag: "Unknown" }>> = fc.oneof(
  tagged("Open", { path: text, flags: uint32, attributes }),
  tagged("Read", { handle, offset: uint64, length: uint32 }),
  tagged("Write", { handle, offset: uint64, data: bytes }),
  fc
    .constantFrom("Close", "HandleStat", "ReadDirectory", "HandleStatVfs", "Fsync")
    .chain((_tag) => tagged(_tag as "Close", { handle })),
  fc
    .constantFrom(
      "LinkStat",
      "Stat",
      "OpenDirectory",
      "Remove",
      "RemoveDirectory",
      "RealPath",
      "ReadLink",
      "StatVfs",
      "ExpandPath"
    )
    .chain((_tag) => tagged(_tag as "Stat", { path: text })),
  fc
    .constantFrom("SetStat", "MakeDirectory", "LinkSetStat")
    .chain((_tag) => tagged(_tag as "SetStat", { path: text, attributes })),
  tagged("HandleSetStat", { handle, attributes }),
  fc
    .constantFrom("Rename", "PosixRename", "HardLink")
    .chain((_tag) => tagged(_tag as "Rename", { from: text, to: text })),
  tagged("SymbolicLink", { target: text, path: text }),
  tagged("Limits", {}),
  tagged("Hash", { handle, offset: uint64, length: uint64 }),
  tagged("CopyData", { from: handle, fromOffset: uint64, length: uint64, to: handle, toOffset: uint64 })
)
const response: fc.Arbitrary<Response> = fc.oneof(
  tagged("Status", { code: uint32, message: text }),
  tagged("Handle", { handle }),
  tagged("Data", { data: bytes }),
  tagged("Names", { names: fc.array(fc.record({ name: text, longName: text, attributes }), { maxLength: 5 }) }),
  tagged("Attributes", { attributes }),
  tagged("Hash", { hash: fc.uint8Array({ minLength: 32, maxLength: 32 }) }),
  tagged("Numbers", { numbers: fc.array(uint64, { maxLength: 11 }) })
)

const packetsOf = (chunks: ReadonlyArray<Uint8Array>): Array<Packet> => {
  const decoder = new PacketDecoder()
  const packets: Array<Packet> = []
  for (const chunk of chunks) {
    decoder.push(chunk)
    for (let packet = decoder.next(); packet !== undefined; packet = decoder.next()) {
      packets.push(Result.getOrThrow(packet))
    }
  }
  return packets
}

/** Cuts bytes into chunks of these lengths, the rest at the end. */
const cut = (whole: Uint8Array, lengths: ReadonlyArray<number>) => {
  const chunks: Array<Uint8Array> = []
  let at = 0
  for (const length of lengths) {
    chunks.push(whole.subarray(at, at + length))
    at += length
  }
  return [...chunks, whole.subarray(at)].filter((chunk) => chunk.length > 0)
}

describe("SFTP", () => {
  it("requests come back as they were sent, however they are cut", () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(uint32, operation), { maxLength: 4 }), fc.array(fc.nat(30)), (sent, lengths) => {
        const whole = Buffer.concat([encodeInit(), ...sent.map(([id, one]) => encodeRequest(id, one))])
        const [init, ...requests] = packetsOf(cut(whole, lengths)).map((one) => Result.getOrThrow(decodeRequest(one)))
        assert.deepStrictEqual(init, { _tag: "Init", version: 3 })
        assert.deepEqual(
          requests,
          sent.map(([id, operation]) => ({ _tag: "Request", id, operation }))
        )
      })
    )
  })

  it("answers come back as they were sent", () => {
    fc.assert(
      fc.property(uint32, response, (id, sent) => {
        const [packet] = packetsOf([encodeResponse(id, sent)])
        assert.deepEqual(Result.getOrThrow(decodeServerPacket(packet!)), { _tag: "Response", id, response: sent })
      })
    )
    const [version] = packetsOf([encodeVersion([["limits@openssh.com", "1"]])])
    assert.deepEqual(Result.getOrThrow(decodeServerPacket(version!)), {
      _tag: "Version",
      version: 3,
      extensions: new Map([["limits@openssh.com", "1"]])
    })
  })

  it("a read of OpenSSH is read byte by byte", () => {
    const [packet] = packetsOf([Buffer.from("0000001905000000070000000400000001000000000000800000008000", "hex")])
    assert.deepEqual(Result.getOrThrow(decodeRequest(packet!)), {
      _tag: "Request",
      id: 7,
      operation: { _tag: "Read", handle: Buffer.from([0, 0, 0, 1]), offset: 0x8000, length: 0x8000 }
    })
  })

  it("any bytes are a packet, a failure or not enough, and never an exception", () => {
    fc.assert(
      fc.property(fc.nat(255), fc.uint8Array({ maxLength: 300 }), (type, body) => {
        const request = decodeRequest({ type, body })
        const answer = decodeServerPacket({ type, body })
        return Result.isResult(request) && Result.isResult(answer)
      }),
      { numRuns: 2000 }
    )
  })

  it("a packet that is empty or above the limit is refused from its length", () => {
    for (const [length, reason] of [
      [0, "Truncated"],
      [PACKET_BYTES_MAX + 1, "TooLarge"],
      [0xffffffff, "TooLarge"]
    ] as const) {
      const decoder = new PacketDecoder()
      const header = Buffer.alloc(4)
      header.writeUInt32BE(length)
      decoder.push(header)
      const packet = decoder.next()
      assert.ok(packet !== undefined && Result.isFailure(packet) && packet.failure.reason === reason)
      assert.deepEqual(decoder.next(), packet)
    }
  })

  it("names that are not UTF-8 and positions above 2^53 are refused", () => {
    const stat = (bytes: string) => decodeRequest({ type: 17, body: Buffer.from(`00000001${bytes}`, "hex") })
    const badText = stat("00000002c328")
    assert.ok(Result.isFailure(badText) && badText.failure.reason === "BadText")
    const truncated = stat("000000ffc328")
    assert.ok(Result.isFailure(truncated) && truncated.failure.reason === "Truncated")
    const read = decodeRequest({ type: 5, body: Buffer.from("000000010000000141ffffffffffffffff00000001", "hex") })
    assert.ok(Result.isFailure(read) && read.failure.reason === "BadNumber")
  })

  it("a packet of the largest size in small chunks is joined once", () => {
    const packet = new Uint8Array(4 + PACKET_BYTES_MAX)
    new DataView(packet.buffer).setUint32(0, PACKET_BYTES_MAX)
    packet[4] = 103
    const [one] = packetsOf(
      Array.from({ length: Math.ceil(packet.length / 1000) }, (_, index) =>
        packet.subarray(index * 1000, index * 1000 + 1000)
      )
    )
    assert.strictEqual(one?.body.length, PACKET_BYTES_MAX - 1)
  })
})
