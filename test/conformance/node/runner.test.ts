/**
 * The runner (docs/runner.md): a worker that nobody can dial offers its operations to a hub, and others reach them through
 * what the hub makes of them, with the hub's power and never with the worker's own secrets.
 */
import { assert, it } from "@effect/vitest"
import { Context, Effect, Fiber, Layer, Logger, Queue, Redacted, Schema, Scope, Stream } from "effect"
import * as CallPeersLayer from "../../../src/layers/CallPeers.ts"
import * as Client from "../../../src/layers/Client.ts"
import * as IdentityLayer from "../../../src/layers/Identity.ts"
import { importFrom } from "../../../src/layers/ImportFrom.ts"
import { makeEphemeralIdentity } from "../../../src/layers/LocalIdentity.ts"
import * as Node from "../../../src/layers/Node.ts"
import * as PeerGraphLayer from "../../../src/layers/PeerGraph.ts"
import * as MemoryPeerStore from "../../../src/layers/store/MemoryPeerStore.ts"
import { fingerprintOfNode } from "../../../src/protocol/identity/Fingerprint.ts"
import { AuditLog } from "../../../src/services/AuditLog.ts"
import { CallClient } from "../../../src/services/CallClient.ts"
import { CallConnection } from "../../../src/services/CallConnection.ts"
import { CallHandler } from "../../../src/services/CallHandler.ts"
import { CallPeer, CallPeers } from "../../../src/services/CallPeers.ts"
import { Capabilities } from "../../../src/services/Capabilities.ts"
import { Endpoint } from "../../../src/services/Endpoint.ts"
import type { LocalIdentity } from "../../../src/services/Identity.ts"
import { Operation } from "../../../src/services/Operation.ts"
import { OperationContext } from "../../../src/services/OperationContext.ts"
import { PeerRef } from "../../../src/services/OperationEnv.ts"
import { OperationGroup } from "../../../src/services/OperationGroup.ts"
import { PeerEntry } from "../../../src/services/PeerStore.ts"
import type { Transport } from "../../../src/services/Transport.ts"
import { providers } from "./nodes.ts"

const Line = Schema.Struct({ line: Schema.String })
const Command = Schema.Struct({ command: Schema.String })

/** What the worker offers: the first to whom it dials, the others to nobody there. */
const Exec = Operation.subscription("container/exec", {
  input: Command,
  output: Line,
  visibility: "external",
  remoteSafe: true
})
const Push = Operation.mutation("container/push", { output: Schema.Void, visibility: "external" })
const Shell = Operation.subscription("container/shell", { input: Command, output: Line, visibility: "external" })

/** What the hub offers. */
const Run = Operation.subscription("jobs/run", { input: Command, output: Line, visibility: "external" })
const Record = Operation.mutation("journal/record", {
  input: Schema.Struct({ text: Schema.String }),
  output: Schema.Void,
  visibility: "external"
})

/** What somebody did, in the order in which it happened. */
const journal = () => {
  const seen = Effect.runSync(Queue.unbounded<string>())
  return { write: (text: string) => Queue.offer(seen, text), next: Queue.take(seen), all: Queue.takeAll(seen) }
}

const makeNode = (
  transport: Layer.Layer<Transport>,
  identity: LocalIdentity,
  known: ReadonlyArray<readonly [string, LocalIdentity, ReadonlyArray<string>]>,
  options: Omit<Node.NodeOptions, "version">
) => {
  const peers = known.map(
    ([peerId, { nodeId }, scopes]) =>
      new PeerEntry({
        peerId,
        fingerprints: [fingerprintOfNode(nodeId)],
        scopes,
        resources: {},
        enabled: true,
        addresses: []
      })
  )
  return Layer.build(
    Node.layer({ version: "0.0.0", ...options }).pipe(
      Layer.provide([transport, PeerGraphLayer.layer, AuditLog.layerSilent, IdentityLayer.layer(identity)]),
      Layer.provide(MemoryPeerStore.layer({ initial: { peers } }))
    )
  )
}

/** Hub, worker and Alice, who knows the hub only. */
const scene = (transport: Layer.Layer<Transport>) =>
  Effect.gen(function* () {
    const { write, ...record } = journal()
    const imported = yield* Queue.unbounded<ReadonlyArray<string>>()
    const hubIs = yield* makeEphemeralIdentity
    const workerIs = yield* makeEphemeralIdentity
    const aliceIs = yield* makeEphemeralIdentity

    const hubOperations = OperationGroup.make(
      Operation.implement(
        Run,
        (input) =>
          Stream.unwrap(
            Effect.map(OperationContext, ({ env }) => env.subscribe(Exec, input, { peer: PeerRef.specific("worker") }))
          ),
        {
          authority: { id: "hub", scopes: ["call:container/exec"], resources: {} },
          scopedEnv: { pinned: ["worker/container/exec"] }
        }
      ),
      Operation.implement(Record, ({ text }) =>
        Effect.flatMap(OperationContext, ({ identity }) => Effect.asVoid(write(`hub: ${identity?.id} records ${text}`)))
      )
    )
    const hub = yield* makeNode(
      transport,
      hubIs,
      [
        ["worker", workerIs, ["call:journal/record"]],
        ["alice", aliceIs, ["call:jobs/run"]]
      ],
      {
        listen: [{ host: "127.0.0.1", port: 0 }],
        operations: [hubOperations],
        onConnection: (connection) =>
          importFrom(connection, { filter: (name) => name.startsWith("container/") }).pipe(
            // Alice dials the hub too, and offers nothing.
            Effect.flatMap((names) => (names.length === 0 ? Effect.void : Queue.offer(imported, names))),
            Effect.ignore
          )
      }
    )
    const address = { nodeId: hubIs.nodeId, addresses: Context.get(hub, Endpoint).addresses }

    const secrets = yield* Capabilities.fromSecrets(
      new Map([["registry-token", Redacted.make(new TextEncoder().encode("hunter2"))]])
    )
    const workerOperations = OperationGroup.make(
      Operation.implement(
        Exec,
        ({ command }) =>
          Stream.unwrap(
            Effect.gen(function* () {
              const { capabilities, env, forwardedFor, identity } = yield* OperationContext
              yield* write(
                `worker: ${command} by ${identity?.id} for ${forwardedFor?.id}, holds [${capabilities.names}]`
              )
              yield* env.invoke("hub/journal/record", { text: command })
              return Stream.iterate(1, (number) => number + 1).pipe(
                Stream.map((number) => ({ line: `${command} ${number}` })),
                Stream.ensuring(write("worker: stopped"))
              )
            })
          ),
        {
          authority: { id: "worker", scopes: ["call:journal/record"], resources: {} },
          scopedEnv: ["hub/journal/record"]
        }
      ),
      Operation.implement(Push, Effect.asVoid(write("worker: pushed with a secret")), { capabilities: secrets }),
      Operation.implement(Shell, () => Stream.fromEffectDrain(write("worker: a shell")), { capabilities: secrets })
    )
    // No address of its own: it can only dial.
    const worker = yield* makeNode(transport, workerIs, [["hub", hubIs, ["call:*"]]], {
      listen: [],
      operations: [workerOperations]
    })
    const peers = yield* Layer.build(
      CallPeersLayer.layer({
        firstWait: "10 millis",
        onConnected: (connection) =>
          Effect.asVoid(importFrom(connection, { prefix: "hub", filter: (name) => name.startsWith("journal/") }))
      }).pipe(Layer.provide(Layer.succeedContext(worker)))
    )
    const workerScope = yield* Effect.scope
    const link = yield* Layer.build(Context.get(peers, CallPeers).get(address)).pipe(Scope.provide(workerScope))

    const alice = yield* makeNode(transport, aliceIs, [["hub", hubIs, []]], { listen: [] })
    const connection = yield* Context.get(alice, CallClient).connect(address)
    return {
      hub,
      link,
      imported,
      record,
      connection,
      jobs: Client.make(connection, { run: Run, exec: Exec }),
      toWorker: Effect.map(Context.get(hub, CallHandler).connections, ([first]) => first!)
    }
  })

for (const [name, network] of providers) {
  it.live(
    `${name}: a worker behind NAT is reached through the hub, with the hub's power, and stops when nobody listens`,
    () =>
      Effect.gen(function* () {
        const { imported, jobs, link, record } = yield* scene(yield* network)
        assert.deepStrictEqual(yield* Queue.take(imported), ["container/exec"], "what the worker marked, and only that")
        assert.include(Context.get(link, CallConnection).imports.names(), "hub/journal/record")
        const lines = yield* Stream.runCollect(Stream.take(jobs.run({ command: "make" }), 3))
        assert.deepStrictEqual(lines, [{ line: "make 1" }, { line: "make 2" }, { line: "make 3" }])
        assert.deepStrictEqual(
          [yield* record.next, yield* record.next, yield* record.next],
          ["worker: make by hub for alice, holds []", "hub: worker records make", "worker: stopped"]
        )
      }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live(`${name}: what the worker did not mark is not there for the hub, and none of its secrets is touched`, () =>
    Effect.gen(function* () {
      const { connection, imported, jobs, record, toWorker } = yield* scene(yield* network)
      yield* Queue.take(imported)
      const hubSide = yield* toWorker
      assert.deepInclude(yield* Effect.flip(hubSide.call(Push, undefined)), { code: "NOT_FOUND" })
      const shell = Stream.runDrain(hubSide.subscribe(Shell, { command: "sh" }))
      assert.deepInclude(yield* Effect.flip(shell), { code: "NOT_FOUND" })
      const listed = (yield* hubSide.call("services/list", null)) as { operations: ReadonlyArray<{ name: string }> }
      const names = listed.operations.map(({ name }) => name)
      assert.deepStrictEqual(
        names.filter((name) => !name.startsWith("node/")),
        ["container/exec"]
      )
      // For others the worker exists in what the hub made of it, and nowhere else.
      const direct = yield* Effect.flip(Stream.runDrain(jobs.exec({ command: "make" })))
      assert.deepInclude(direct, { code: "NOT_FOUND", message: "operation not found: container/exec" })
      const refused = yield* Effect.flip(connection.call(Record, { text: "mine" }))
      assert.deepInclude(refused, { code: "FORBIDDEN" })
      assert.deepStrictEqual(
        yield* record.all.pipe(
          Effect.timeoutOption("1 millis"),
          Effect.map((all) => all._tag)
        ),
        "None"
      )
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )

  it.live(`${name}: a worker that lost the hub comes back, and both import anew`, () =>
    Effect.gen(function* () {
      const { imported, jobs, link, record, toWorker } = yield* scene(yield* network)
      yield* Queue.take(imported)
      const running = yield* Effect.forkChild(Effect.flip(Stream.runDrain(jobs.run({ command: "make" }))))
      assert.include(yield* record.next, "worker: make")
      const first = yield* Context.get(link, CallPeer).connected
      yield* (yield* toWorker).close
      assert.deepInclude(yield* Fiber.join(running), { code: "INTERNAL" })
      assert.deepStrictEqual(yield* Queue.take(imported), ["container/exec"])
      const second = yield* Context.get(link, CallPeer).connected
      assert.notStrictEqual(second, first)
      assert.include(second.imports.names(), "hub/journal/record")
      const again = yield* Stream.runCollect(Stream.take(jobs.run({ command: "test" }), 1))
      assert.deepStrictEqual(again, [{ line: "test 1" }])
    }).pipe(Effect.scoped, Effect.provide(Logger.layer([])))
  )
}
