/**
 * `alknet ping PEER`: how long a dial and round trips to a peer take, and which transport carries them.
 */
import { Clock, Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { formatSocketAddress } from "../../protocol/SocketAddress.ts"
import { connectForCalls } from "../Calls.ts"
import { layerOpened } from "../Opened.ts"
import { Output, writeTo } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"

const ANSWER_WITHIN = "10 seconds"
const BETWEEN = "200 millis"

const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const clock = yield* Clock.Clock
    const started = clock.monotonicTimeNanosUnsafe()
    const value = yield* effect
    return { value, millis: Number(clock.monotonicTimeNanosUnsafe() - started) / 1e6 }
  })

const rounded = (millis: number): number => Math.round(millis * 1000) / 1000

export const ping = Command.make(
  "ping",
  {
    peer: peerArgument,
    count: Flag.Int("count").pipe(
      Flag.withAlias("c"),
      Flag.withDefault(4),
      Flag.filter(
        (count) => count >= 1 && count <= 100_000,
        () => "a number from 1 to 100000"
      ),
      Flag.withDescription("Round trips to make")
    ),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, count, peer }) {
    const output = yield* Output
    const line = (text: string) => (output.json ? Effect.void : writeTo(process.stdout, `${text}\n`))
    yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const dialed = yield* timed(connectForCalls(target))
      const { call, connection } = dialed.value
      const { carrier, remoteAddress } = connection.info
      const address = remoteAddress === undefined ? null : formatSocketAddress(remoteAddress)
      const times: Array<number> = []
      for (let sequence = 1; sequence <= count; sequence++) {
        if (sequence > 1) yield* Effect.sleep(BETWEEN)
        const { millis } = yield* timed(call("node/ping", {}, ANSWER_WITHIN))
        times.push(rounded(millis))
        if (sequence === 1) {
          yield* line(`${target.name} at ${address ?? "?"} over ${carrier}, dialed in ${dialed.millis.toFixed(1)} ms`)
        }
        yield* line(`${sequence}: ${millis.toFixed(3)} ms`)
      }
      const min = Math.min(...times)
      const max = Math.max(...times)
      const average = rounded(times.reduce((sum, one) => sum + one, 0) / times.length)
      const { nodeId } = target
      const dialMillis = rounded(dialed.millis)
      yield* output.answer(
        { nodeId, transport: carrier, address, dialMillis, rttMillis: times, min, average, max },
        `min ${min.toFixed(3)}, average ${average.toFixed(3)}, max ${max.toFixed(3)} ms`
      )
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("Measure dial and round trips to a peer"),
  Command.withExamples([{ command: "alknet ping desk -c 10", description: "ten round trips" }])
)
