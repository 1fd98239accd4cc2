import { assert, describe, it } from "@effect/vitest"
import { Deferred, Effect, Exit, Fiber, Result } from "effect"
import * as fc from "fast-check"
import { HANDLES_MAX } from "../../../src/layers/sftp/Handles.ts"
import { PACKET_BYTES_MAX, PacketDecoder, TRANSFER_BYTES_MAX } from "../../../src/protocol/sftp/PacketDecoder.ts"
import { encodeInit, encodeRequest, OpenFlag, type Operation } from "../../../src/protocol/sftp/Request.ts"
import { decodeServerPacket, type Response } from "../../../src/protocol/sftp/Response.ts"
import type { FileTree, OpenFile } from "../../../src/services/FileTree.ts"
import { EndOfStream } from "../../../src/services/Transport.ts"
import { memoryTree, servedTree, writing } from "./sessionFixture.ts"

type Tree = FileTree["Service"]
type Asked = Exclude<Operation, { readonly _tag: "Unknown" }>

/** A client that says what it likes, and hears each answer as it comes. */
const rawClient = (tree: Tree) =>
  Effect.gen(function* () {
    const { ended, stream } = yield* servedTree(tree)
    yield* stream.write(encodeInit())
    const decoder = new PacketDecoder()
    const hear = Effect.gen(function* () {
      for (;;) {
        const packet = decoder.next()
        if (packet === undefined) decoder.push(yield* stream.read)
        else return Result.getOrThrow(Result.flatMap(packet, decodeServerPacket))
      }
    })
    const answer = Effect.map(hear, (packet) => {
      assert.strictEqual(packet._tag, "Response")
      return packet._tag === "Response" ? packet : assert.fail("no response")
    })
    const say = (id: number, operation: Asked) => stream.write(encodeRequest(id, operation))
    const ask = (operation: Asked) =>
      Effect.andThen(
        say(77, operation),
        Effect.map(answer, ({ response }) => response)
      )
    assert.strictEqual((yield* hear)._tag, "Version")
    return { stream, ended, hear, answer, say, ask }
  })

const handleOf = (response: Response) =>
  response._tag === "Handle" ? response.handle : assert.fail(`no handle: ${JSON.stringify(response)}`)

const openFile = (path: string, flags: number = OpenFlag.Read | OpenFlag.Write | OpenFlag.Create): Asked => ({
  _tag: "Open",
  path,
  flags,
  attributes: {}
})

const put = (tree: Tree, path: string, bytes: Uint8Array) =>
  Effect.scoped(Effect.flatMap(tree.open(path, writing), (file) => file.write(0, bytes)))

/** The tree, in which each read of a file waits for its gate. */
const gated = (tree: Tree, gate: (offset: number) => Effect.Effect<void>): Tree => ({
  ...tree,
  open: (path, flags, mode) =>
    Effect.map(
      tree.open(path, flags, mode),
      (file): OpenFile => ({
        ...file,
        readInto: (offset, into) => Effect.andThen(gate(offset), file.readInto(offset, into))
      })
    )
})

describe("the SFTP server", () => {
  it.effect(
    "reads of one handle are answered in their order, whatever finishes first; others do not wait for them",
    () =>
      Effect.gen(function* () {
        const tree = yield* memoryTree()
        yield* put(tree, "/slow", new Uint8Array(10))
        const gates = yield* Effect.forEach([0, 1, 2], () => Deferred.make<void>())
        const client = yield* rawClient(gated(tree, (offset) => Deferred.await(gates[offset]!)))
        const handle = handleOf(yield* client.ask(openFile("/slow")))
        for (const offset of [0, 1, 2]) yield* client.say(offset, { _tag: "Read", handle, offset, length: 1 })
        yield* client.say(9, { _tag: "Stat", path: "/" })
        assert.strictEqual((yield* client.answer).id, 9)
        for (const offset of [2, 1, 0]) yield* Deferred.succeed(gates[offset]!, undefined)
        const ids = yield* Effect.forEach([0, 1, 2], () => Effect.map(client.answer, ({ id }) => id))
        assert.deepStrictEqual(ids, [0, 1, 2])
      })
  )

  it.effect("a request that comes behind the close of its handle finds it closed", () =>
    Effect.gen(function* () {
      const tree = yield* memoryTree()
      yield* put(tree, "/f", new Uint8Array(10))
      const gate = yield* Deferred.make<void>()
      const client = yield* rawClient(gated(tree, () => Deferred.await(gate)))
      const handle = handleOf(yield* client.ask(openFile("/f")))
      yield* client.say(1, { _tag: "Read", handle, offset: 0, length: 1 })
      yield* client.say(2, { _tag: "Close", handle })
      yield* client.say(3, { _tag: "Write", handle, offset: 0, data: new Uint8Array(1) })
      yield* client.say(4, { _tag: "Read", handle, offset: 0, length: 1 })
      yield* client.say(5, { _tag: "HandleStat", handle })
      yield* Deferred.succeed(gate, undefined)
      const codes = yield* Effect.forEach([1, 2, 3, 4, 5], () =>
        Effect.map(client.answer, ({ response }) => (response._tag === "Status" ? response.code : response._tag))
      )
      assert.deepStrictEqual(codes, ["Data", 0, 4, 4, 4])
    })
  )

  it.effect("reads and writes are cut at what limits@openssh.com says, and so are open handles", () =>
    Effect.gen(function* () {
      const tree = yield* memoryTree()
      yield* put(tree, "/big", new Uint8Array(300_000).fill(7))
      const client = yield* rawClient(tree)
      const limits = yield* client.ask({ _tag: "Limits" })
      const numbers = [PACKET_BYTES_MAX, TRANSFER_BYTES_MAX, TRANSFER_BYTES_MAX, HANDLES_MAX]
      assert.deepEqual(limits, { _tag: "Numbers", numbers })
      const first = handleOf(yield* client.ask(openFile("/big")))
      const data = yield* client.ask({ _tag: "Read", handle: first, offset: 0, length: 0xffffffff })
      assert.strictEqual(data._tag === "Data" && data.data.length, TRANSFER_BYTES_MAX)
      for (let count = 1; count < HANDLES_MAX; count++) handleOf(yield* client.ask(openFile("/big")))
      const full = yield* client.ask(openFile("/big"))
      assert.deepEqual(full, { _tag: "Status", code: 4, message: "Too many open handles" })
      yield* client.ask({ _tag: "Close", handle: first })
      handleOf(yield* client.ask({ _tag: "OpenDirectory", path: "/" }))
    })
  )

  it.effect("a client that hears nothing is not read on: requests under way are bounded", () =>
    Effect.gen(function* () {
      const tree = yield* memoryTree()
      yield* put(tree, "/f", new Uint8Array(10_000))
      let reads = 0
      const client = yield* rawClient(gated(tree, () => Effect.sync(() => void reads++)))
      const handle = handleOf(yield* client.ask(openFile("/f")))
      // More than the stream and the server hold together.
      const talking = yield* Effect.forkChild(
        Effect.forEach(
          Array.from({ length: 3_000 }, (_, id) => id),
          (id) => client.say(id, { _tag: "Read", handle, offset: 0, length: 10_000 })
        )
      )
      for (let turn = 0; turn < 200; turn++) yield* Effect.yieldNow
      assert.isAtMost(reads, 40)
      for (let id = 0; id < 3_000; id++) assert.strictEqual((yield* client.answer).id, id)
      yield* Fiber.join(talking)
    })
  )

  it.effect("what was asked before the client ended its direction is answered, then ours ends", () =>
    Effect.gen(function* () {
      const client = yield* rawClient(yield* memoryTree())
      for (let id = 0; id < 50; id++) yield* client.say(id, { _tag: "MakeDirectory", path: `/${id}`, attributes: {} })
      yield* client.stream.finish
      for (let id = 0; id < 50; id++) {
        assert.deepEqual(yield* client.answer, {
          _tag: "Response",
          id,
          response: { _tag: "Status", code: 0, message: "Success" }
        })
      }
      assert.instanceOf(yield* Effect.flip(client.hear), EndOfStream)
      assert.isTrue(Exit.isSuccess(yield* client.ended))
    })
  )

  it.effect("an init that is missing or comes twice, a huge packet and half a request end the session", () =>
    Effect.gen(function* () {
      const tree = yield* memoryTree()
      const stat = encodeRequest(1, { _tag: "Stat", path: "/" })
      const hostile: ReadonlyArray<readonly [bytes: Uint8Array, reason: string]> = [
        [stat, "Unexpected"],
        [Buffer.concat([encodeInit(), encodeInit()]), "Unexpected"],
        [Buffer.from("7fffffff00", "hex"), "TooLarge"],
        [Buffer.from("00000000", "hex"), "Truncated"],
        [Buffer.concat([encodeInit(), Buffer.from("0000000603000000010000", "hex")]), "Truncated"]
      ]
      for (const [bytes, reason] of hostile) {
        const { ended, stream } = yield* servedTree(tree)
        yield* stream.write(bytes)
        const exit = yield* ended
        assert.isTrue(Exit.isFailure(exit))
        const error = yield* Effect.flip(exit)
        assert.include(error.message, reason)
      }
    })
  )

  it.effect("unknown types and extensions are unsupported and nothing more", () =>
    Effect.gen(function* () {
      const client = yield* rawClient(yield* memoryTree())
      const unknown = [
        Buffer.from("000000056300000007", "hex"),
        Buffer.from("0000000dc8000000070000000478403179", "hex")
      ]
      for (const bytes of unknown) {
        yield* client.stream.write(bytes)
        assert.deepEqual(yield* client.answer, {
          _tag: "Response",
          id: 7,
          response: { _tag: "Status", code: 8, message: "Operation unsupported" }
        })
      }
    })
  )

  it.live("any bytes behind the init leave the server whole: it answers or ends, and closes what was open", () =>
    Effect.promise(() =>
      fc.assert(
        fc.asyncProperty(
          fc.array(
            fc.tuple(fc.constantFrom(3, 4, 5, 6, 8, 10, 11, 12, 14, 18, 20, 200), fc.uint8Array({ maxLength: 60 })),
            { maxLength: 12 }
          ),
          fc.uint8Array({ maxLength: 20 }),
          (packets, rest) =>
            Effect.gen(function* () {
              const tree = yield* memoryTree()
              let open = 0
              const counting: Tree = {
                ...tree,
                open: (path, flags, mode) =>
                  Effect.tap(tree.open(path, flags, mode), () =>
                    Effect.acquireRelease(
                      Effect.sync(() => void open++),
                      () => Effect.sync(() => void open--)
                    )
                  )
              }
              const { ended, stream } = yield* servedTree(counting)
              yield* stream.write(encodeInit())
              yield* stream.write(encodeRequest(0, openFile("/f")))
              const talk = Effect.gen(function* () {
                for (const [type, body] of packets) {
                  const packet = Buffer.alloc(9 + body.length)
                  packet.writeUInt32BE(5 + body.length)
                  packet.writeUInt8(type, 4)
                  packet.set(body, 9)
                  yield* stream.write(packet)
                }
                yield* stream.write(rest)
                yield* stream.finish
              })
              yield* Effect.ignore(talk)
              const exit = yield* ended
              if (Exit.isFailure(exit)) {
                assert.isTrue(exit.cause.reasons.every(({ _tag }) => _tag === "Fail"))
              }
              assert.strictEqual(open, 0)
            }).pipe(Effect.scoped, Effect.runPromise)
        ),
        { numRuns: 300 }
      )
    )
  )

  it.effect("a stream that breaks ends the session with everything that is under way", () =>
    Effect.gen(function* () {
      const tree = yield* memoryTree()
      yield* put(tree, "/f", new Uint8Array(10))
      const client = yield* rawClient(gated(tree, () => Effect.never))
      const handle = handleOf(yield* client.ask(openFile("/f", OpenFlag.Read)))
      yield* client.say(1, { _tag: "Read", handle, offset: 0, length: 1 })
      yield* client.stream.reset(5)
      const exit = yield* client.ended
      const error = yield* Effect.flip(exit)
      assert.deepInclude(error, { _tag: "StreamReset", code: 5 })
    })
  )

  it.effect("listings say what ls -l says, and come in batches", () =>
    Effect.gen(function* () {
      const tree = yield* memoryTree()
      for (let index = 0; index < 150; index++) yield* put(tree, `/${index}`, new Uint8Array(index))
      const client = yield* rawClient(tree)
      const handle = handleOf(yield* client.ask({ _tag: "OpenDirectory", path: "/" }))
      const counts: Array<number | string> = []
      for (let batch = 0; batch < 4; batch++) {
        const response = yield* client.ask({ _tag: "ReadDirectory", handle })
        counts.push(response._tag === "Names" ? response.names.length : response._tag)
        if (batch === 0 && response._tag === "Names") {
          assert.match(response.names[12]?.longName ?? "", /^-rw-r--r-- {4}1 0 {8}0 {14}12 Jan {2}1 00:00 12$/)
        }
      }
      assert.deepStrictEqual(counts, [64, 64, 22, "Status"])
    })
  )

  it.effect("serves nobody who says nothing, and ends with them", () =>
    Effect.gen(function* () {
      const { ended, stream } = yield* servedTree(yield* memoryTree())
      yield* stream.finish
      assert.isTrue(Exit.isSuccess(yield* ended))
    })
  )
})
