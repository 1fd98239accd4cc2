/**
 * A second implementation of the call protocol against a node over TLS: `call_peer.py`, written from the specification with
 * the standard library of Python alone. Each side makes, answers, streams and aborts; the script reports what it saw.
 */
import { spawn } from "node:child_process"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Queue, Redacted, Result, Schema, Stream } from "effect"
import * as IdentityLayer from "../../src/layers/Identity.ts"
import { makeEphemeralIdentity } from "../../src/layers/LocalIdentity.ts"
import * as Node from "../../src/layers/Node.ts"
import * as MemoryPeerStore from "../../src/layers/store/MemoryPeerStore.ts"
import * as TlsTransport from "../../src/layers/transport/TlsTransport.ts"
import { AccessControl } from "../../src/protocol/call/AccessControl.ts"
import {
  formatAborted,
  formatCompleted,
  formatError,
  formatRequested,
  formatResponded
} from "../../src/protocol/call/Envelope.ts"
import { encodeFrame } from "../../src/protocol/call/Frame.ts"
import { nodeIdToBytes } from "../../src/protocol/identity/NodeId.ts"
import { AuditLog } from "../../src/services/AuditLog.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationContext } from "../../src/services/OperationContext.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { PeerEntry, PeerStore } from "../../src/services/PeerStore.ts"
import { leavesNothing } from "../conformance/transport/provider.ts"
import vectors from "../vectors/call.json" with { type: "json" }

/** What no run of the script should come near. */
const PATIENCE = "90 seconds"

class FileNotFound extends Schema.TaggedError<FileNotFound>()("FileNotFound", { path: Schema.String }) {
  static readonly code = "FILE_NOT_FOUND"
}

const open = { output: Schema.Json, visibility: "external", access: AccessControl.open } as const
const json = { ...open, input: Schema.Json } as const
const named = { ...open, input: Schema.String } as const

/** The operations that the script calls; some call the script back. */
const operations = () => {
  const started = Effect.runSync(Queue.unbounded<string>())
  const interrupted = Effect.runSync(Queue.unbounded<string>())
  const notFound = (path: string) => Effect.fail(new FileNotFound({ path }))
  const untilInterrupted = (name: string) => Effect.onInterrupt(Effect.never, () => Queue.offer(interrupted, name))
  return OperationGroup.make(
    Operation.implement(Operation.query("node/echo", json), (input) => Effect.succeed(input)),
    Operation.implement(
      Operation.query("node/closed", { ...open, access: AccessControl.scopes("call:node/closed") }),
      Effect.succeed(1)
    ),
    Operation.implement(Operation.query("node/read", { ...named, errors: [FileNotFound] }), notFound),
    Operation.implement(Operation.query("node/number", { ...open, input: Schema.Int }), (n) => Effect.succeed(n)),
    Operation.implement(
      Operation.query("node/claim", open),
      Effect.map(OperationContext, ({ forwardedFor, identity }) => [identity?.id ?? null, { ...forwardedFor }])
    ),
    Operation.implement(Operation.query("node/slow", named), (name) =>
      Effect.andThen(Queue.offer(started, name), untilInterrupted(name))
    ),
    Operation.implement(Operation.query("node/started", open), Queue.take(started)),
    Operation.implement(Operation.query("node/interrupted", open), Queue.take(interrupted)),
    Operation.implement(Operation.subscription("node/count", { ...open, input: Schema.Int }), (n) =>
      Stream.range(0, n - 1)
    ),
    Operation.implement(Operation.subscription("node/empty", open), Stream.empty),
    Operation.implement(Operation.subscription("node/broken", { ...open, errors: [FileNotFound] }), () =>
      Stream.concat(Stream.make(0, 1), Stream.fromEffect(notFound("the third")))
    ),
    Operation.implement(Operation.subscription("node/endless", named), (name) =>
      Stream.ensuring(Stream.forever(Stream.make("again")), Queue.offer(interrupted, name))
    ),
    Operation.implement(Operation.mutation("node/back", open), callBack)
  )
}

/** Calls, streams and aborts the other way. */
const callBack = Effect.gen(function* () {
  const { connection } = yield* OperationContext
  const script = connection!
  const coded = (name: string, input: Schema.Json) =>
    Effect.map(
      Effect.flip(script.call(name, input)),
      ({ code, details, message, retryable }): Schema.Json => ({
        code,
        message,
        retryable,
        ...(details === undefined ? {} : { details })
      })
    )
  const waiting = yield* Effect.forkChild(script.call("py/wait", "a call"), { startImmediately: true })
  // Its handlers begin in order: with this item the call before has begun.
  const taken = yield* Stream.runCollect(Stream.take(script.subscribe("py/endless", "a subscription"), 2))
  yield* Fiber.interrupt(waiting)
  return {
    half: yield* script.call("py/half", 42),
    odd: yield* coded("py/half", 43),
    bad: yield* coded("py/half", "no number"),
    none: yield* coded("py/none", null),
    counted: yield* Stream.runCollect(script.subscribe("py/count", 50)),
    taken
  }
}).pipe(Effect.orDie)

/** The golden frames as this node makes them. */
const goldenFrames = (): ReadonlyArray<Uint8Array> => {
  const { id } = vectors
  const texts = [
    Result.getOrThrow(formatRequested(id, { name: "fs/readFile", input: { path: "/etc/hosts" } })),
    Result.getOrThrow(formatResponded(id, { text: "é" })),
    Result.getOrThrow(
      formatError(id, { code: "NOT_FOUND", message: "operation not found: fs/readFile", retryable: false })
    ),
    formatCompleted(id),
    formatAborted(id)
  ]
  return texts.map(encodeFrame)
}

interface Ended {
  readonly code: number | null
  readonly output: string
  readonly errors: string
}

/** Runs the script to its end with one line of settings. */
const runScript = (settings: object): Effect.Effect<Ended> =>
  Effect.callback<Ended>((resume) => {
    const path = fileURLToPath(new URL("call_peer.py", import.meta.url))
    const child = spawn("python3", ["-I", "-B", path], { stdio: "pipe" })
    let output = ""
    let errors = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => {
      output += text
    })
    child.stderr.setEncoding("utf8").on("data", (text: string) => {
      errors += text
    })
    child.on("error", (error) =>
      resume(Effect.die(new Error(`python3 cannot be started: ${error.message}. Debian: apt-get install python3`)))
    )
    child.on("close", (code) => resume(Effect.succeed({ code, output, errors })))
    // A script that has gone does not read.
    child.stdin.on("error", () => {})
    child.stdin.end(`${JSON.stringify(settings)}\n`)
    return Effect.sync(() => void child.kill("SIGKILL"))
  }).pipe(
    Effect.timeoutOrElse({
      duration: PATIENCE,
      orElse: () => Effect.die(new Error("the script does not come to an end"))
    })
  )

const temporaryFolder = Effect.acquireRelease(
  Effect.sync(() => mkdtempSync(join(tmpdir(), "alknet-interop-"))),
  (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
)

/** A node that knows the script by its key, and what the script reports. */
const report = Effect.gen(function* () {
  const script = yield* makeEphemeralIdentity
  const local = yield* makeEphemeralIdentity
  const context = yield* Layer.build(
    Node.layer({
      version: "0.0.0",
      listen: [{ host: "127.0.0.1", port: 0 }],
      only: ["alknet/call"],
      operations: [operations()]
    }).pipe(
      Layer.provideMerge(IdentityLayer.layer(local)),
      Layer.provideMerge(MemoryPeerStore.layer()),
      Layer.provide([TlsTransport.layer(), AuditLog.layerSilent])
    )
  )
  yield* Context.get(context, PeerStore).add(
    PeerEntry.make({
      peerId: "script",
      fingerprints: [script.fingerprint],
      scopes: ["other:scope"],
      resources: {},
      enabled: true,
      addresses: []
    })
  )
  const folder = yield* temporaryFolder
  const [certificate, key] = [join(folder, "certificate.pem"), join(folder, "key.pem")]
  writeFileSync(certificate, script.certPem)
  writeFileSync(key, Redacted.value(script.keyPem), { mode: 0o600 })
  const { host, port } = Context.get(context, Endpoint).addresses[0]!
  const ended = yield* runScript({
    address: [host, port],
    node: Buffer.from(nodeIdToBytes(local.nodeId)).toString("hex"),
    certificate,
    key,
    frames: Buffer.concat(goldenFrames()).toString("hex")
  })
  assert.strictEqual(ended.errors, "")
  assert.strictEqual(ended.code, 0)
  return JSON.parse(ended.output)
}).pipe(Effect.provide(Logger.layer([])))

describe("a second implementation, in Python", () => {
  it.live(
    "CALL-002 CALL-128 makes, answers, streams and aborts calls with a node over TLS",
    () =>
      leavesNothing(
        Effect.gen(function* () {
          const seen = yield* report
          const frames = goldenFrames()

          // Both make the same bytes, which are the published ones, and read the other's byte by byte.
          vectors.frames.forEach(({ hex, header, name }, index) => {
            assert.strictEqual(seen.made[name], Buffer.from(frames[index]!).toString("hex"), name)
            assert.isTrue(seen.made[name].startsWith(header), name)
            if (hex !== undefined) assert.strictEqual(seen.made[name], hex, name)
          })
          assert.deepStrictEqual(
            seen.read,
            vectors.frames.map(({ payload, type }) => [type, vectors.id, payload])
          )

          // It calls.
          assert.deepStrictEqual(seen.echoes, [null, "é\0\u{1f600}", { a: [1.5, true] }])
          assert.deepStrictEqual(
            seen.pipelined,
            Array.from({ length: 200 }, (_, n) => n)
          )
          assert.strictEqual(seen.large, 300_000)
          assert.deepStrictEqual(seen.claim, ["script", { id: "p", scopes: ["s"], resources: {} }])
          const [none, closed, read, number] = seen.errors
          const refused = (code: string, message: string) => ({ code, message, retryable: false })
          assert.deepStrictEqual(none, refused("NOT_FOUND", "operation not found: node/none"))
          assert.deepStrictEqual(closed, refused("FORBIDDEN", "missing required scope: call:node/closed"))
          const gone = (path: string) => ({ code: "FILE_NOT_FOUND", retryable: false, details: { path } })
          assert.deepInclude(read, gone("gone"))
          assert.deepInclude(number, { code: "INVALID_INPUT", retryable: false })
          assert.match(number.message, /^invalid input: /)

          // It consumes.
          const [count, empty, broken] = seen.streams
          assert.deepStrictEqual([count, empty], [[0, 1, 2], []])
          assert.deepStrictEqual(broken.slice(0, 2), [0, 1])
          assert.deepInclude(broken[2], gone("the third"))
          assert.deepStrictEqual(
            seen.many,
            Array.from({ length: 2000 }, (_, n) => n)
          )

          // It aborts.
          assert.deepStrictEqual(seen.stopped, ["again", "again"])
          assert.deepStrictEqual(seen.interrupted, ["a call", "a subscription"])

          // It answers and streams, and the node aborts.
          assert.deepStrictEqual(seen.back, {
            half: 21,
            odd: { code: "ODD", message: "not even", retryable: true, details: { n: 43 } },
            bad: refused("INTERNAL", "internal error"),
            none: refused("NOT_FOUND", "operation not found: py/none"),
            counted: Array.from({ length: 50 }, (_, n) => n),
            taken: ["again", "again"]
          })
          assert.sameMembers(seen.aborted, ["a call", "a subscription"])

          // An event of another version changes nothing; what is no envelope ends its connection, without an answer.
          assert.match(seen.refused[0], /IncompleteReadError\(.*0 bytes read|ConnectionResetError/)
          assert.strictEqual(seen.after, "goes on")
          assert.deepStrictEqual(seen.left, [0, 0])
        })
      ),
    120_000
  )
})
