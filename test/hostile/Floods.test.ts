/**
 * A node under attack goes on working: calls of its peers are answered while noise, half-open handshakes and mutated
 * packets come in, new peers get in, and what the attack took is given back.
 */
import { assert, it } from "@effect/vitest"
import { Effect } from "effect"
import { DEFAULT_LIMITS } from "../../src/layers/transport/quic/Limits.ts"
import { NODE_SERVER_NAME } from "../../src/protocol/identity/Certificate.ts"
import { readHeader } from "../impersonation/QuicPackets.ts"
import {
  Dice,
  garbage,
  hold,
  mutate,
  randomDatagram,
  relayTo,
  residentBytes,
  sendDatagrams,
  validInitial
} from "./Attackers.ts"
import { HANDSHAKE_MILLIS, type RunningNode, runNode } from "./RunningNode.ts"
import { CALL_TIMEOUT, memoryIsBack, whileServing } from "./WhileServing.ts"

/** One for each round: what the first still holds must not keep the second out. */
const ATTACKERS = ["127.0.0.2", "127.0.0.3", "127.0.0.4"] as const

const CALL = "alknet/call"

const attackTwice = (name: string, attack: (node: RunningNode, dice: Dice, from: string) => Effect.Effect<void>) =>
  it.live(
    name,
    () =>
      Effect.gen(function* () {
        const node = yield* runNode
        // Two rounds warm everything up: what they take once is no leak. The compiler is still at work in the second.
        yield* whileServing(node, attack(node, new Dice(1), ATTACKERS[0]))
        yield* whileServing(node, attack(node, new Dice(3), ATTACKERS[2]))
        const before = residentBytes()
        const answered = yield* whileServing(node, attack(node, new Dice(2), ATTACKERS[1]))
        const growth = yield* memoryIsBack(before)
        console.log(`${name}: ${answered.said} meanwhile, memory ${growth} MiB`)
      }).pipe(Effect.scoped),
    120_000
  )

attackTwice("TR-018 10,000 random datagrams", (node, dice, from) =>
  sendDatagrams(from, node.address, 10_000, () => randomDatagram(dice))
)

attackTwice("TR-018 10,000 mutated first datagrams", (node, dice, from) => {
  const samples = Array.from({ length: 50 }, () => validInitial(dice, NODE_SERVER_NAME, CALL))
  return sendDatagrams(from, node.address, 10_000, (index) => mutate(dice, samples[index % samples.length]!))
})

attackTwice("TR-019 3,000 handshakes over QUIC from one address that never go on", (node, dice, from) => {
  // Made before anybody connects: it takes seconds, in which nothing else would run.
  const samples = Array.from({ length: 3000 }, () => validInitial(dice, NODE_SERVER_NAME, CALL))
  /** Each connection that the node begins has an id of its own. */
  const begun = new Set<string>()
  const onAnswer = (answer: Uint8Array) => {
    const { level, source } = readHeader(answer, 0, 8)
    if (level === "initial") begun.add(Buffer.from(source).toString("hex"))
  }
  return Effect.gen(function* () {
    const start = performance.now()
    yield* sendDatagrams(from, node.address, samples.length, (index) => samples[index]!, onAnswer)
    assert.isAbove(begun.size, 0)
    // So many may be open at a time, each until its time is over: a slow machine begins more of them.
    const rounds = 1 + Math.ceil((performance.now() - start) / HANDSHAKE_MILLIS)
    assert.isAtMost(begun.size, DEFAULT_LIMITS.halfOpenPerAddress * rounds)
  })
})

attackTwice("TR-019 500 TCP connections from one address that say nothing, or half a ClientHello", (node, dice, from) =>
  Effect.gen(function* () {
    const half = Uint8Array.of(22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3, ...dice.bytes(100))
    const held = yield* Effect.forEach(Array.from({ length: 500 }), (_, index) =>
      hold(from, node.address, index % 2 === 0 ? new Uint8Array(0) : half)
    )
    // All of them end: most at once, the others when their time for a handshake is over.
    yield* Effect.forEach(held, ({ closed }) => closed, { concurrency: "unbounded", discard: true })
  }).pipe(Effect.scoped)
)

attackTwice("TR-018 garbage on the TCP port", (node, dice, from) =>
  Effect.gen(function* () {
    for (let round = 0; round < 10; round++) {
      const held = yield* Effect.forEach(garbage(dice), ([, bytes]) => hold(from, node.address, bytes))
      yield* Effect.forEach(held, ({ closed }) => closed, { concurrency: "unbounded", discard: true })
    }
  }).pipe(Effect.scoped)
)

it.live("TR-018 10,000 mutated and replayed datagrams on the path of a live connection", () =>
  Effect.gen(function* () {
    const node = yield* runNode
    const relay = yield* relayTo(node.address)
    const dice = new Dice(3)
    const seen: Array<Uint8Array> = []
    let injected = 0
    let isConnected = false
    relay.onClientDatagram = (datagram, inject) => {
      if (seen.length < 200) seen.push(Uint8Array.from(datagram))
      // During the handshake the bound of its bytes would end it: who sits on the path can always do that.
      if (!isConnected) return
      for (let copies = 0; copies < 20; copies++) {
        inject(mutate(dice, datagram))
        inject(seen[dice.below(seen.length)]!)
        injected += 2
      }
    }
    const client = yield* node.client("quic", relay.address)
    assert.strictEqual(yield* client.call("first"), "first")
    isConnected = true
    for (let call = 0; injected < 10_000; call++) {
      const message = `call ${call} `.repeat(200)
      assert.strictEqual(yield* Effect.timeout(client.call(message), CALL_TIMEOUT), message)
    }
    // One handshake, one connection: no copy of a first datagram made another one.
    assert.strictEqual(yield* node.connections, 1)
    const other = yield* node.client("quic")
    assert.strictEqual(yield* other.call("new"), "new")
  }).pipe(Effect.scoped)
)
