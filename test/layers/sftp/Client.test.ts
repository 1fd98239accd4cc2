import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Fiber, Stream } from "effect"
import { blake3 } from "hash-wasm"
import * as ReadOnlyTree from "../../../src/layers/files/ReadOnlyTree.ts"
import { openSftp, type SftpClient } from "../../../src/layers/sftp/Client.ts"
import { readStream, writeStream } from "../../../src/layers/sftp/Transfer.ts"
import { FileType } from "../../../src/protocol/sftp/Attributes.ts"
import { PacketDecoder } from "../../../src/protocol/sftp/PacketDecoder.ts"
import { encodeResponse, encodeVersion } from "../../../src/protocol/sftp/Response.ts"
import type { FileError } from "../../../src/services/FileTree.ts"
import { memoryTree, reading, servedTree, streamPair, writing } from "./sessionFixture.ts"

const connected = Effect.gen(function* () {
  const tree = yield* memoryTree()
  const { ended, stream } = yield* servedTree(tree)
  return { tree, ended, client: yield* openSftp(stream) }
})

const reasonOf = <A, R>(effect: Effect.Effect<A, FileError, R>) =>
  Effect.match(effect, { onSuccess: () => "ok", onFailure: (error) => error.reason as string })

const names = (client: SftpClient, path: string) =>
  Effect.scoped(
    Effect.gen(function* () {
      const next = yield* client.list(path)
      const all: Array<string> = []
      for (let batch = yield* next; batch.length > 0; batch = yield* next) all.push(...batch.map(({ name }) => name))
      return all.sort()
    })
  )

const pattern = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 31 + (index >> 8)) & 0xff)

describe("the SFTP client", () => {
  it.effect("is the tree of the other side: every call arrives there and comes back", () =>
    Effect.gen(function* () {
      const { client, tree } = yield* connected
      yield* client.makeDirectory("/a", 0o750)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const file = yield* client.open("/a/one", { ...writing, read: true }, 0o640)
          yield* file.write(0, Buffer.from("first"))
          yield* file.write(5, Buffer.from(" second"))
          yield* file.sync
          yield* file.setAttributes({ times: { accessed: 10, modified: 20 } })
          assert.strictEqual(Buffer.from(yield* file.read(0, 100)).toString(), "first second")
          assert.strictEqual((yield* file.read(100, 10)).length, 0)
          assert.strictEqual((yield* file.stat).size, 12)
        })
      )
      assert.strictEqual((yield* tree.stat("/a")).mode, FileType.Directory | 0o750)
      const { mode, size, times } = yield* client.stat("/a/one")
      assert.deepStrictEqual([mode, size, times], [FileType.File | 0o640, 12, { accessed: 10, modified: 20 }])
      yield* client.setAttributes("/a/one", { size: 5, mode: 0o600 })
      yield* client.symbolicLink("a/one", "/link")
      assert.strictEqual(yield* client.readLink("/link"), "a/one")
      assert.strictEqual(yield* client.realPath("/link/../link"), "/a/one")
      assert.strictEqual((yield* client.linkStat("/link")).mode, FileType.SymbolicLink | 0o777)
      yield* client.linkSetAttributes("/link", { times: { accessed: 1, modified: 2 } })
      assert.strictEqual((yield* tree.linkStat("/link")).times?.modified, 2)
      yield* client.hardLink("/a/one", "/two")
      assert.strictEqual(yield* reasonOf(client.rename("/two", "/link", false)), "Exists")
      yield* client.rename("/two", "/link", true)
      assert.deepStrictEqual(yield* names(client, "/"), ["a", "link"])
      yield* client.remove("/a/one")
      yield* client.removeDirectory("/a")
      assert.deepStrictEqual(yield* names(client, "/"), ["link"])
      const { blockBytes, blocks } = yield* client.space("/")
      assert.strictEqual(blockBytes * blocks, 64 * 1024 * 1024)
    })
  )

  it.effect("refusals come back as the reasons that the tree gave", () =>
    Effect.gen(function* () {
      const { client, tree } = yield* connected
      yield* client.makeDirectory("/full")
      yield* client.makeDirectory("/full/x")
      yield* client.symbolicLink("loop", "/loop")
      yield* client.symbolicLink("../out", "/out")
      const found = yield* Effect.all({
        missing: reasonOf(client.stat("/missing")),
        full: reasonOf(client.removeDirectory("/full")),
        loop: reasonOf(client.stat("/loop")),
        out: reasonOf(client.stat("/out")),
        name: reasonOf(client.makeDirectory("/\u0007")),
        directory: reasonOf(Effect.scoped(client.open("/full", reading))),
        space: reasonOf(
          Effect.scoped(Effect.flatMap(client.open("/big", writing), (file) => file.setAttributes({ size: 2 ** 40 })))
        )
      })
      assert.deepStrictEqual(found, {
        missing: "NotFound",
        full: "NotEmpty",
        loop: "Loop",
        out: "Denied",
        name: "BadName",
        directory: "IsDirectory",
        space: "NoSpace"
      })
      const { stream } = yield* servedTree(ReadOnlyTree.readOnly(tree))
      const reader = yield* openSftp(stream)
      assert.strictEqual(yield* reasonOf(reader.makeDirectory("/b")), "ReadOnly")
      assert.isTrue((yield* reader.space("/")).isReadOnly)
    })
  )

  it.effect("megabytes go there and back through streams, from any offset", () =>
    Effect.gen(function* () {
      const { client } = yield* connected
      const bytes = pattern(3_000_001)
      const wrote = yield* Effect.scoped(
        Effect.flatMap(client.open("/big", writing), (file) =>
          writeStream(file, Stream.make(bytes.subarray(0, 1_000_000), bytes.subarray(1_000_000)))
        )
      )
      assert.strictEqual(wrote, bytes.length)
      for (const offset of [0, 12_345, bytes.length]) {
        const back = yield* Effect.scoped(
          Effect.flatMap(client.open("/big", reading), (file) => Stream.runCollect(readStream(file, { offset })))
        )
        assert.isTrue(Buffer.concat(back).equals(bytes.subarray(offset)))
      }
      const all = yield* Effect.scoped(
        Effect.flatMap(client.open("/big", reading), (file) => file.read(7, bytes.length))
      )
      assert.isTrue(Buffer.from(all).equals(bytes.subarray(7)))
    })
  )

  it.effect("a file is copied at the other side", () =>
    Effect.gen(function* () {
      const { client, tree } = yield* connected
      const bytes = pattern(700_000)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const from = yield* client.open("/from", { ...writing, read: true })
          yield* from.write(0, bytes)
          const to = yield* client.open("/to", writing)
          yield* client.copy(from, to, { fromOffset: 10, length: 0, toOffset: 0 })
        })
      )
      const copied = yield* Effect.scoped(Effect.flatMap(tree.open("/to", reading), (file) => file.read(0, 1_000_000)))
      assert.isTrue(Buffer.from(copied).equals(bytes.subarray(10)))
    })
  )

  it.effect("the other side hashes a part of a file, to its end at most", () =>
    Effect.gen(function* () {
      const { client } = yield* connected
      const bytes = pattern(700_000)
      yield* Effect.scoped(
        Effect.gen(function* () {
          const file = yield* client.open("/f", { ...writing, read: true })
          yield* file.write(0, bytes)
          for (const [offset, length, end] of [
            [0, 0, bytes.length],
            [5, 600_000, 600_005],
            [600_000, 1_000_000, bytes.length],
            [800_000, 1, 800_000]
          ] as const) {
            const wanted = yield* Effect.promise(() => blake3(bytes.subarray(offset, end)))
            const found = yield* client.hash(file, { offset, length })
            assert.strictEqual(Buffer.from(found).toString("hex"), wanted)
          }
        })
      )
    })
  )

  it.effect("who no longer waits takes nothing from the others, and handles are given back", () =>
    Effect.gen(function* () {
      const { client } = yield* connected
      yield* Effect.scoped(Effect.flatMap(client.open("/f", writing), (file) => file.write(0, pattern(1000))))
      for (let round = 0; round < 20; round++) {
        const fibers = yield* Effect.forEach(Array.from({ length: 30 }), () =>
          Effect.forkChild(Effect.scoped(Effect.flatMap(client.open("/f", reading), (file) => file.read(0, 1000))), {
            startImmediately: true
          })
        )
        yield* Effect.forEach(fibers.slice(15), Fiber.interrupt)
        for (const fiber of fibers.slice(0, 15)) assert.strictEqual((yield* Fiber.join(fiber)).length, 1000)
      }
    })
  )

  it.effect("after the end of the other side everything is Lost", () =>
    Effect.gen(function* () {
      const { client: stream, server } = streamPair()
      const opening = yield* Effect.forkChild(openSftp(stream))
      yield* server.read
      yield* server.write(encodeVersion([]))
      const client = yield* Fiber.join(opening)
      const asking = yield* Effect.forkChild(client.stat("/x"))
      yield* server.read
      yield* server.finish
      assert.strictEqual(yield* reasonOf(Fiber.join(asking)), "Lost")
      assert.strictEqual(yield* reasonOf(client.stat("/y")), "Lost")
    })
  )

  it.effect("what no server says ends the session, and names that lead elsewhere are left out", () =>
    Effect.gen(function* () {
      const answers: ReadonlyArray<readonly [bytes: Uint8Array, reason: string]> = [
        [encodeVersion([]).map((byte, index) => (index === 8 ? 4 : byte)), "version 4; 3 is spoken here"],
        [encodeResponse(9, { _tag: "Data", data: new Uint8Array(3) }), "an answer that nobody asked for"],
        [Buffer.from("ffffffff", "hex"), "a packet of 4294967295 bytes; 1 to 262144 are taken"]
      ]
      for (const [bytes, reason] of answers) {
        const { client: stream, server } = streamPair()
        yield* server.write(bytes)
        const error = yield* Effect.flip(Effect.scoped(openSftp(stream)))
        assert.include(error.message, reason)
      }
      const { client: stream, server } = streamPair()
      yield* Effect.forkChild(
        Effect.gen(function* () {
          yield* server.read
          yield* server.write(encodeVersion([]))
          const entry = (name: string) => ({ name, longName: name, attributes: {} })
          const decoder = new PacketDecoder()
          const replies = [
            { _tag: "Handle", handle: new Uint8Array(4) },
            { _tag: "Names", names: [".", "..", "../up", "/etc/passwd", ""].map(entry) },
            { _tag: "Names", names: ["good", "a\u001b[2J"].map(entry) },
            { _tag: "Status", code: 1, message: "" }
          ] as const
          for (const [id, reply] of replies.entries()) {
            while (decoder.next() === undefined) decoder.push(yield* server.read)
            yield* server.write(encodeResponse(id, reply))
          }
        })
      )
      const client = yield* openSftp(stream)
      const next = yield* client.list("/")
      assert.deepStrictEqual(
        (yield* next).map(({ name }) => name),
        ["good"]
      )
      assert.deepStrictEqual(yield* next, [])
      // The handle is given back to a server that does not answer any more.
      yield* server.finish
      assert.isTrue(Exit.isFailure(yield* Effect.exit(client.stat("/"))))
    })
  )
})
