/**
 * A program that serves: `node ServingNode.ts`, with the channel of `fork`. Its operations count who began and who ended, so
 * that a test can ask what a killed caller has left behind.
 */
import { Deferred, Effect, Redacted } from "effect"
import { issueInvite } from "../../src/layers/Invite.ts"
import { fingerprintOfNode } from "../../src/protocol/identity/Fingerprint.ts"
import { nodeIdFromText } from "../../src/protocol/identity/NodeId.ts"
import type { CallConnection } from "../../src/services/CallConnection.ts"
import { Endpoint } from "../../src/services/Endpoint.ts"
import type { Identity } from "../../src/services/Identity.ts"
import { Operation } from "../../src/services/Operation.ts"
import { OperationContext } from "../../src/services/OperationContext.ts"
import { OperationGroup } from "../../src/services/OperationGroup.ts"
import { PeerStore } from "../../src/services/PeerStore.ts"
import { AnswerWhenTold, Echo, FiberCount, layerCrashNode, NeverAnswer, SCOPE, type Whereabouts } from "./CrashNode.ts"
import { answerParent } from "./Parent.ts"

/** What is there and what was. */
export interface Report {
  readonly connections: number
  /** Requests in the tables of connections that are still held by anybody. */
  readonly inbound: number
  /** Connections of calls that something still holds, ended or not. */
  readonly held: number
  /** Handlers that wait, ever. */
  readonly began: number
  /** Their finalizers that ran. */
  readonly ended: number
  /** Of these, after an interruption. */
  readonly interrupted: number
  readonly fibers: number
  /** Sockets, timers and so on that the event loop knows. */
  readonly handles: number
  readonly residentBytes: number
  /** Invites that are used while their peer is missing, and peers whose invite is not used. */
  readonly halfRedeemed: number
  readonly redeemed: number
}

const POLL = "20 millis"
/** How long a state may take to come about: sockets of killed programs answer late packets for some seconds. */
const STATE_MILLIS = 60_000

const count = { began: 0, ended: 0, interrupted: 0 }
/** What a killed caller leaves must be collected: this holds nothing alive. */
const callers = new Set<WeakRef<CallConnection["Service"]>>()
const seen = new WeakSet<CallConnection["Service"]>()

const waiting = <E>(until: Effect.Effect<void, E>) =>
  Effect.gen(function* () {
    const { connection } = yield* OperationContext
    if (connection !== undefined && !seen.has(connection)) {
      seen.add(connection)
      callers.add(new WeakRef(connection))
    }
    count.began++
    yield* until.pipe(
      Effect.onInterrupt(() => Effect.sync(() => count.interrupted++)),
      Effect.ensuring(Effect.sync(() => count.ended++))
    )
  })

const told = Deferred.makeUnsafe<void>()

const operations = OperationGroup.make(
  Operation.implement(Echo, (number) => Effect.succeed(number)),
  Operation.implement(AnswerWhenTold, (number) => Effect.as(waiting(Deferred.await(told)), number)),
  Operation.implement(NeverAnswer, (number) => Effect.as(waiting(Effect.never), number))
)

const report = Effect.gen(function* () {
  const endpoint = yield* Endpoint
  const fibers = yield* FiberCount
  const { grants, peers } = yield* Effect.flatMap(PeerStore, (store) => store.list)
  let inbound = 0
  for (const reference of callers) {
    const connection = reference.deref()
    if (connection === undefined) callers.delete(reference)
    else inbound += (yield* connection.stats).inbound
  }
  const redeemedBy = grants.flatMap(({ redeemedBy }) => (redeemedBy === undefined ? [] : [redeemedBy]))
  const known = new Set(peers.flatMap(({ fingerprints }) => fingerprints))
  return {
    connections: (yield* endpoint.connections).length,
    inbound,
    held: callers.size,
    ...count,
    fibers: fibers.live(),
    handles: process.getActiveResourcesInfo().length,
    residentBytes: process.memoryUsage().rss,
    halfRedeemed: redeemedBy.filter((nodeId) => !known.has(fingerprintOfNode(nodeId))).length,
    redeemed: redeemedBy.length
  } satisfies Report
})

/** After a collection: what is still held is held by somebody. */
const reportCollected = Effect.andThen(
  Effect.sync(() => globalThis.gc?.()),
  // A reference that was looked at keeps its object until the next turn of the loop.
  Effect.andThen(
    Effect.sleep(POLL),
    Effect.suspend(() => report)
  )
)

/** The first report that is so, or the last one that was not, for the test to show. */
const reportWhen = (isSo: (report: Report) => boolean, look: typeof report | typeof reportCollected = report) =>
  Effect.gen(function* () {
    const end = performance.now() + STATE_MILLIS
    let found = yield* look
    while (!isSo(found) && performance.now() < end) {
      yield* Effect.sleep(POLL)
      found = yield* look
    }
    return found
  })

const program = Effect.gen(function* () {
  const endpoint = yield* Endpoint
  const peers = yield* PeerStore
  const [address] = endpoint.addresses
  if (address === undefined) return yield* Effect.die("it listens nowhere")
  return yield* answerParent<Endpoint | FiberCount | Identity | PeerStore>({
    where: () => Effect.succeed<Whereabouts>({ nodeId: endpoint.nodeId, address }),
    admit: (nodeId) =>
      Effect.flatMap(Effect.fromResult(nodeIdFromText(nodeId)), (id) =>
        peers.add({
          peerId: `client-${nodeId.slice(0, 8)}`,
          fingerprints: [fingerprintOfNode(id)],
          scopes: [SCOPE],
          resources: {},
          enabled: true,
          addresses: []
        })
      ),
    invite: () =>
      Effect.map(issueInvite({ issuer: "operator", scopes: [SCOPE], addresses: [address] }), ({ ticket }) =>
        Redacted.value(ticket)
      ),
    answer: () => Deferred.succeed(told, undefined),
    report: () => reportCollected,
    began: (wanted) => reportWhen(({ began }) => began >= Number(wanted)),
    quiet: (connections) =>
      reportWhen(
        (found) => found.connections === Number(connections) && found.inbound === 0 && found.began === found.ended
      ),
    // Who was there before is all that is left.
    settled: (wanted) => {
      const before = JSON.parse(wanted) as Report
      return reportWhen(
        ({ fibers, handles, held }) => fibers <= before.fibers && handles <= before.handles && held <= before.held,
        reportCollected
      )
    }
  })
})

const node = layerCrashNode({ carrier: "both", operations: [operations] })

await Effect.runPromise(program.pipe(Effect.provide(node), Effect.provide(FiberCount.layer)))
