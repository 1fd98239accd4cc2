/**
 * `npm run soak -- --minutes 5`: a node with connections that come and go over both transports, calls, and strangers who are
 * turned away, all in this process over loopback. Prints memory, handles, fibers and connections every ten seconds.
 *
 * At half of the time and at its end everybody leaves, and what is still there is compared: it fails when that has grown.
 * The npm script gives the C library one arena: with more, memory that was given back is kept in pieces, and looks like a leak.
 */
import { setTimeout as wait } from "node:timers/promises"
import { parseArgs } from "node:util"
import { Effect, Exit } from "effect"
import { fingerprintOfNode } from "../src/protocol/identity/Fingerprint.ts"
import { CallClient } from "../src/services/CallClient.ts"
import { Endpoint } from "../src/services/Endpoint.ts"
import { Operation } from "../src/services/Operation.ts"
import { OperationGroup } from "../src/services/OperationGroup.ts"
import { PeerStore } from "../src/services/PeerStore.ts"
import { type Carrier, Echo, FiberCount, layerCrashNode, SCOPE } from "../test/crash/CrashNode.ts"

const { values } = parseArgs({ options: { minutes: { type: "string", default: "5" } } })
const halfMillis = (Number(values.minutes) * 60_000) / 2
if (!(halfMillis > 0)) throw new Error("--minutes takes a number above 0")

const SAMPLE_MILLIS = 10_000
/** Visitors at a time. Every fourth is a stranger. */
const VISITORS = 8
const CALLS_AT_ONCE = 16
const CALLS = 100
/** How long the last connections may take to be gone. */
const LEAVE_MILLIS = 20_000
const MEBIBYTE = 1024 * 1024
/** What the second half may add. Memory of the allocator goes up and down by some mebibytes with nothing kept. */
const GROWTH = { residentMiB: 20, heapMiB: 4, handles: 0, fibers: 0 }

const count = { visits: 0, calls: 0, denied: 0 }

const sample = Effect.gen(function* () {
  const endpoint = yield* Endpoint
  const fibers = yield* FiberCount
  globalThis.gc?.()
  const { heapUsed, rss } = process.memoryUsage()
  return {
    residentMiB: rss / MEBIBYTE,
    heapMiB: heapUsed / MEBIBYTE,
    handles: process.getActiveResourcesInfo().length,
    fibers: fibers.live(),
    connections: (yield* endpoint.connections).length
  }
})

type Sample = Effect.Success<typeof sample>

const start = performance.now()

const print = (label: string, { connections, fibers, handles, heapMiB, residentMiB }: Sample) => {
  const seconds = ((performance.now() - start) / 1000).toFixed(0).padStart(5)
  const memory = `resident ${residentMiB.toFixed(1)} MiB  heap ${heapMiB.toFixed(1)} MiB`
  const live = `handles ${handles}  fibers ${fibers}  connections ${connections}`
  const done = `visits ${count.visits}  calls ${count.calls}  denied ${count.denied}`
  console.log(`${seconds} s  ${label.padEnd(7)} ${memory}  ${live}  ${done}`)
}

/** Somebody with a key of its own: connects, calls, leaves. Strangers get as far as the first call. */
const visit = Effect.fnUntraced(function* (carrier: Carrier, isStranger: boolean) {
  const endpoint = yield* Endpoint
  const peers = yield* PeerStore
  yield* Effect.gen(function* () {
    const self = yield* Endpoint
    const peerId = `visitor-${self.nodeId.slice(0, 12)}`
    if (!isStranger) {
      const fingerprints = [fingerprintOfNode(self.nodeId)]
      const entry = { peerId, fingerprints, scopes: [SCOPE], resources: {}, enabled: true, addresses: [] }
      yield* Effect.acquireRelease(peers.add(entry), () => Effect.orDie(peers.remove(peerId)))
    }
    const calls = yield* CallClient
    const connection = yield* calls.connect({ nodeId: endpoint.nodeId, addresses: endpoint.addresses })
    if (isStranger) {
      const exit = yield* Effect.exit(connection.call(Echo, 1))
      if (Exit.isSuccess(exit)) return yield* Effect.die("a stranger was served")
      count.denied++
      return
    }
    const call = (number: number) => Effect.tap(connection.call(Echo, number), () => Effect.sync(() => count.calls++))
    yield* Effect.forEach(Array.from({ length: CALLS }).keys(), call, { concurrency: CALLS_AT_ONCE, discard: true })
  }).pipe(Effect.scoped, Effect.provide(layerCrashNode({ carrier, operations: [] }), { local: true }))
  count.visits++
})

const visitors = (until: number) =>
  Effect.forEach(
    Array.from({ length: VISITORS }).keys(),
    (number) =>
      Effect.whileLoop({
        while: () => performance.now() < until,
        body: () => visit(number % 2 === 0 ? "quic" : "tls", number % 4 === 3),
        step: () => undefined
      }),
    { concurrency: "unbounded", discard: true }
  )

/** Half of the time; gives what is there when everybody has left. */
const half = (label: string) =>
  Effect.gen(function* () {
    const sampling = Effect.forever(
      Effect.andThen(
        Effect.sleep(SAMPLE_MILLIS),
        Effect.map(sample, (now) => print("", now))
      )
    )
    yield* Effect.raceFirst(visitors(performance.now() + halfMillis), sampling)
    const patience = performance.now() + LEAVE_MILLIS
    while ((yield* sample).connections > 0 && performance.now() < patience) yield* Effect.sleep(100)
    // Closed connections answer late packets for some seconds, and their handles stay as long.
    yield* Effect.promise(() => wait(LEAVE_MILLIS / 4))
    const now = yield* sample
    print(label, now)
    return now
  })

const operations = [OperationGroup.make(Operation.implement(Echo, (number) => Effect.succeed(number)))]

const program = Effect.gen(function* () {
  const first = yield* half("half")
  const second = yield* half("end")
  const grown = (["residentMiB", "heapMiB", "handles", "fibers"] as const).filter(
    (name) => second[name] - first[name] > GROWTH[name]
  )
  if (second.connections > 0) console.log(`FAILED: ${second.connections} connections are left`)
  for (const name of grown) console.log(`FAILED: ${name} grew from ${first[name]} to ${second[name]}`)
  return grown.length === 0 && second.connections === 0
})

const node = layerCrashNode({ carrier: "both", operations })
const isFlat = await Effect.runPromise(program.pipe(Effect.provide(node), Effect.provide(FiberCount.layer)))
if (isFlat) console.log("flat")
process.exitCode = isFlat ? 0 : 1
