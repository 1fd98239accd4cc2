/**
 * What a peer whose key is known does to a node when it means harm: frames by hand, over either transport. Each attack
 * ends when it has done its worst and the node stands still before it, with the connection open.
 */
import { Effect, type Schema, type Scope } from "effect"
import { importFrom } from "../../src/layers/ImportFrom.ts"
import { encodeFrame } from "../../src/protocol/call/Frame.ts"
import type { BiStream } from "../../src/services/Transport.ts"
import { document, handPeer, listOf } from "../conformance/call/handPeer.ts"
import { openWire, wireOf } from "../conformance/call/kit.ts"
import type { Intruder } from "./RunningNode.ts"

export type Attack = (intruder: Intruder) => Effect.Effect<void, unknown, Scope.Scope>

/** Streams of an attack that comes on many. */
const STREAMS = 200

const requestOf = (id: string, operationId: string, input: unknown = "") =>
  encodeFrame(JSON.stringify({ type: "call.requested", id, payload: { operationId, input } }))

const many = (count: number, frame: (index: number) => Uint8Array): Uint8Array =>
  Buffer.concat(Array.from({ length: count }, (_, index) => frame(index)))

/** Writes in the background; a write that the node holds back stays where it is. */
const push = (stream: BiStream, bytes: Uint8Array) => Effect.forkScoped(Effect.exit(stream.write(bytes)))

/** Streams that the intruder opens: as many as the node lets it, where there are several. */
const openStreams = ({ connection }: Intruder, count: number) =>
  Effect.gen(function* () {
    const streams: Array<BiStream> = [yield* connection.open]
    if (!connection.multiStream) return streams
    yield* Effect.forkScoped(
      Effect.exit(
        Effect.forEach(
          Array.from({ length: count - 1 }),
          () => Effect.map(connection.open, (stream) => void streams.push(stream)),
          { discard: true }
        )
      )
    )
    // Those that the transport gives at once; the others wait there.
    let seen = -1
    while (seen !== streams.length) {
      seen = streams.length
      yield* Effect.sleep("20 millis")
    }
    return streams
  })

/** Requests of a connection that a node serves at once, by its defaults. */
const IN_FLIGHT_MAX = 1024

/** Until nothing has changed at the node for a while; then it serves no more than it may, and those that wait with their reader. */
const untilStill = ({ atNode }: Intruder) =>
  Effect.gen(function* () {
    let last = ""
    for (let still = 0; still < 10; still++) {
      yield* Effect.sleep("20 millis")
      const now = JSON.stringify(yield* atNode.stats)
      if (now !== last) still = 0
      last = now
    }
    const { inbound } = yield* atNode.stats
    // Each stream may have read one request that waits.
    if (inbound > IN_FLIGHT_MAX + STREAMS) yield* Effect.die(new Error(`${inbound} requests are served`))
  })

/** 20,000 requests of 1 KiB, on one stream or on all; not one answer is read. */
export const floodRequests: Attack = (intruder) =>
  Effect.gen(function* () {
    const streams = yield* openStreams(intruder, STREAMS)
    const each = 20_000 / streams.length
    const input = "r".repeat(1024)
    for (const stream of streams)
      yield* push(
        stream,
        many(each, (index) => requestOf(`${index} ${stream.id}`, "test/echo", input))
      )
    yield* untilStill(intruder)
  })

/** Headers that announce 64 MiB, with a little of the body, on every stream. */
export const announceMuch: Attack = (intruder) =>
  Effect.gen(function* () {
    const header = Buffer.from([0x04, 0, 0, 0, ...Buffer.from('{"type":"call.requested","id":"big","payload":')])
    for (const stream of yield* openStreams(intruder, STREAMS)) yield* push(stream, header)
    yield* untilStill(intruder)
  })

/** Every stream that the node gives, each with the beginning of a frame. */
export const openAllStreams: Attack = (intruder) =>
  Effect.gen(function* () {
    for (const stream of yield* openStreams(intruder, 2000)) yield* push(stream, Buffer.from([0, 0, 1]))
    yield* untilStill(intruder)
  })

/** One id for 20,000 requests that never end, and 20,000 aborts of ids that nobody has. */
export const reuseIds: Attack = (intruder) =>
  Effect.gen(function* () {
    const { connection } = intruder
    const wire = yield* openWire(connection)
    yield* wire.sendBytes(many(20_000, () => requestOf("same", "test/wait")))
    const abort = (index: number) =>
      encodeFrame(JSON.stringify({ type: "call.aborted", id: `nobody ${index}`, payload: {} }))
    yield* wire.sendBytes(many(20_000, abort))
    yield* wire.request("last", "test/echo", "still served")
    const { id, type } = yield* wire.receive
    if (id !== "last" || type !== "call.responded") yield* Effect.die(new Error(`${type} for ${id}`))
    yield* untilStill(intruder)
  })

/** 1,000 subscriptions that never end, on one stream or on all; not one item is read. */
export const floodSubscriptions: Attack = (intruder) =>
  Effect.gen(function* () {
    const streams = yield* openStreams(intruder, STREAMS)
    const each = 1000 / streams.length
    for (const stream of streams)
      yield* push(
        stream,
        many(each, (index) => requestOf(`${index} ${stream.id}`, "test/items"))
      )
    yield* untilStill(intruder)
  })

/**
 * The node calls the intruder, which answers a thousand times, completes twice, sends items of subscriptions that are over
 * or that never were, and errors for nobody. The node's calls come to what the first answer said.
 */
export const answerMuch: Attack = ({ atNode, connection }) =>
  Effect.gen(function* () {
    const answering = yield* Effect.forkScoped(
      Effect.gen(function* () {
        const stream = yield* connection.accept
        const wire = wireOf(stream)
        for (;;) {
          const request = yield* wire.receive
          if (request.type !== "call.requested") continue
          const frame = (type: string, id: string, payload: unknown) =>
            encodeFrame(JSON.stringify({ type, id, payload }))
          yield* wire.sendBytes(
            Buffer.concat([
              many(1000, (index) => frame("call.responded", request.id, { output: index })),
              frame("call.completed", request.id, {}),
              frame("call.completed", request.id, {}),
              many(1000, (index) => frame("call.responded", `nobody ${index}`, { output: "x".repeat(1000) })),
              many(100, (index) => frame("call.error", `nobody ${index}`, null)),
              many(100, () => frame("call.aborted", request.id, {}))
            ])
          )
        }
      }).pipe(Effect.exit)
    )
    for (let count = 0; count < 50; count++) {
      const output = yield* atNode.call("x/y", count)
      if (output !== 0) yield* Effect.die(new Error(`the first answer was ${JSON.stringify(output)}`))
    }
    const { pending, waiting } = yield* atNode.stats
    if (pending + waiting > 0 || answering.pollUnsafe() !== undefined) yield* Effect.die(new Error("calls are left"))
  })

const numbered = (count: number, name: (index: number) => string) =>
  listOf(...Array.from({ length: count }, (_, index) => name(index)))

const [FIVE, HUNDRED] = [5, 100].map((count) => numbered(count, (index) => `w/${index}`)) as [Schema.Json, Schema.Json]

/** What a node may be told of operations: a list, and what each of them is like. None of it can be imported. */
const lies: ReadonlyArray<readonly [list: Schema.Json, schema: (name: string) => Schema.Json]> = [
  [numbered(100_000, (index) => `w/${index}`), document],
  [numbered(20, (index) => `w/${index}${"x".repeat(500_000)}`), document],
  [listOf("w/a", "__proto__", "w/b/"), document],
  [listOf("w/a", "../../etc/passwd\u0000"), document],
  [listOf("w/a", "w/a"), document],
  [null, document],
  [{ operations: { length: 5 } }, document],
  [{ operations: [{ name: ["w/a"] }] }, document],
  [{ operations: [null] }, document],
  [FIVE, () => "w".repeat(1_000_000)],
  [FIVE, (name) => document(name, "query", { input_schema: { enum: ["s".repeat(300_000)] } })],
  // Each of them small enough, all of them together not.
  [numbered(400, (index) => `w/${index}`), (name) => document(name, "query", { input_schema: "s".repeat(200_000) })],
  [FIVE, (name) => document(name, "constructor")],
  [FIVE, (name) => document(name, "query", { access_control: { required_scopes: { length: 0 } } })],
  [FIVE, (name) => document(name, "query", { access_control: "open" })],
  [FIVE, () => ({ code: 5, message: { secret: 1 }, retryable: "yes" })],
  [FIVE, () => ({ code: "c".repeat(500_000), message: "m".repeat(500_000), retryable: true })]
]

/** The node imports from the intruder, which says all of that; nothing is installed. At last it tells the truth. */
export const lieAboutOperations: Attack = ({ atNode, connection }) =>
  Effect.gen(function* () {
    const { says } = yield* handPeer(connection, connection.multiStream)
    for (const [index, [list, schema]] of lies.entries()) {
      says.list = list
      says.schema = (name) => schema(name)
      const refused = yield* Effect.flip(importFrom(atNode))
      if (refused.message.length > 2000) yield* Effect.die(new Error(`lie ${index} is repeated at length`))
      if (atNode.imports.names().length > 0) yield* Effect.die(new Error(`lie ${index} installed something`))
    }
    says.list = HUNDRED
    says.schema = (name) => document(name)
    const names = yield* importFrom(atNode)
    if (names.length !== 100) yield* Effect.die(new Error("the truth was not imported"))
  })
