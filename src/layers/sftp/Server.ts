/**
 * An SFTP session on a byte stream: the one server behind the SSH subsystem and the ALPN `alknet/sftp` (ssh.md section 3).
 *
 * Requests run side by side and are answered as they finish, with two exceptions that clients rely on: what concerns one
 * handle runs in the order in which it came (an `scp` truncates its file without a word where reads are answered in another
 * order), and so do requests by path among themselves. At most 32 requests are under way; then nothing is read, which is
 * the backpressure. The end of the session closes every handle.
 */
import { Deferred, Effect, Exit, Queue, type Scope, Semaphore } from "effect"
import { PacketDecoder } from "../../protocol/sftp/PacketDecoder.ts"
import { decodeRequest, EXTENSIONS, type Operation, type Request } from "../../protocol/sftp/Request.ts"
import { encodeResponse, encodeVersion } from "../../protocol/sftp/Response.ts"
import { SftpError } from "../../protocol/sftp/SftpError.ts"
import type { FileTree } from "../../services/FileTree.ts"
import type { BiStream, ConnectionClosed, StreamReset } from "../../services/Transport.ts"
import { answer } from "./Answers.ts"
import { Handles } from "./Handles.ts"
import { batches } from "./Outgoing.ts"
import { Reads, type Reply } from "./Reads.ts"

/** Requests under way. A write holds at most one packet of 256 KiB, so a session holds at most 8 MiB. */
const OUTSTANDING_MAX = 32

type Asked = Extract<Request, { readonly _tag: "Request" }>

/** The bytes of a session, whatever carries them. */
export type SftpStream = Pick<BiStream, "read" | "write" | "finish">

/** Serves one session to its end. A client that speaks no SFTP is an `SftpError`. */
export const serveSftp = (
  stream: SftpStream,
  tree: FileTree["Service"]
): Effect.Effect<void, SftpError | StreamReset | ConnectionClosed, Scope.Scope> =>
  Effect.gen(function* () {
    const handles = new Handles(yield* Effect.scope)
    const permits = yield* Semaphore.make(OUTSTANDING_MAX)
    const lanes = new Lanes()

    const decoder = new PacketDecoder()
    const reads = new Reads(handles)
    const replies = yield* Queue.unbounded<Reply>()

    const start = ({ id, operation }: Asked, body: Uint8Array) =>
      Effect.gen(function* () {
        yield* permits.take(1)
        const turn = lanes.enter(operation)
        const reply =
          operation._tag === "Read"
            ? reads.answer(id, operation)
            : Effect.map(answer(tree, handles, operation), (response): Reply => {
                if (operation._tag === "Write") decoder.reuse(body)
                return { packet: encodeResponse(id, response), release: undefined }
              })
        yield* Effect.forkScoped(
          turn.before.pipe(
            Effect.andThen(reply),
            // The answer has its place in the row before the next request of the handle begins.
            Effect.map((reply) => Queue.offerUnsafe(replies, reply)),
            Effect.ensuring(Effect.sync(turn.leave))
          ),
          { startImmediately: true }
        )
      })

    const sending = Effect.gen(function* () {
      for (;;) {
        for (const { bytes, items } of batches(yield* Queue.takeAll(replies), ({ packet }) => packet)) {
          yield* stream.write(bytes)
          for (const { release } of items) release?.()
          yield* permits.release(items.length)
        }
      }
    })

    const session = Effect.gen(function* () {
      let isOpen = false
      for (;;) {
        const chunk = yield* Effect.catchTag(stream.read, "EndOfStream", () => Effect.succeed(undefined))
        if (chunk === undefined) break
        decoder.push(chunk)
        for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
          const packet = yield* Effect.fromResult(next)
          const request = yield* Effect.fromResult(decodeRequest(packet))
          if ((request._tag === "Init") === isOpen) {
            return yield* new SftpError({ reason: "Unexpected", hint: "one init is wanted, before everything else" })
          }
          isOpen = true
          if (request._tag === "Init") yield* stream.write(encodeVersion(EXTENSIONS))
          else yield* start(request, packet.body)
        }
      }
      // Everything is answered before our direction ends.
      yield* permits.take(OUTSTANDING_MAX)
      yield* stream.finish
    })
    yield* Effect.raceFirst(session, sending)
  })

/** Keeps the order of what belongs together: requests by path, and those of each handle. */
class Lanes {
  readonly #tails = new Map<string, Deferred.Deferred<void>>()

  enter(operation: Operation): { readonly before: Effect.Effect<void>; readonly leave: () => void } {
    const names = lanesOf(operation)
    const done = Deferred.makeUnsafe<void>()
    const earlier: Array<Effect.Effect<void>> = []
    for (const name of names) {
      const tail = this.#tails.get(name)
      if (tail !== undefined) earlier.push(Deferred.await(tail))
      this.#tails.set(name, done)
    }
    return {
      before: earlier.length === 0 ? Effect.void : Effect.all(earlier, { discard: true }),
      leave: () => {
        for (const name of names) {
          if (this.#tails.get(name) === done) this.#tails.delete(name)
        }
        Deferred.doneUnsafe(done, Exit.void)
      }
    }
  }
}

const PATHS = ["paths"]

const lanesOf = (operation: Operation): ReadonlyArray<string> => {
  if (operation._tag === "CopyData") return [...new Set([laneOf(operation.from), laneOf(operation.to)])]
  return "handle" in operation ? [laneOf(operation.handle)] : PATHS
}

const laneOf = (handle: Uint8Array) => `handle ${Handles.numberOf(handle) ?? "none"}`
