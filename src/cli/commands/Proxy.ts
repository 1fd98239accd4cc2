/**
 * `alknet proxy PEER ALPN`: joins standard input and output to one stream. Each direction ends on its own; nothing is read
 * faster than it can be written.
 */
import { Duration, Effect, Option, Schema } from "effect"
import { Argument, Command } from "effect/cli"
import { Alpn } from "../../protocol/Alpn.ts"
import { Endpoint } from "../../services/Endpoint.ts"
import type { BiStream, Connection, ConnectionClosed, StreamReset } from "../../services/Transport.ts"
import { explainClose, explainDial } from "../Explain.ts"
import { denied, type Failure, failed, wrongUsage } from "../Failure.ts"
import { settings } from "../Globals.ts"
import { makeInputReader } from "../Input.ts"
import { layerOpened } from "../Opened.ts"
import { writeTo } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"

/** How long the reason of a close may take to arrive after the stream has broken. */
const REASON_WITHIN = Duration.millis(500)

const fromInput = (stream: BiStream) =>
  Effect.gen(function* () {
    const next = makeInputReader()
    while (true) {
      const chunk = yield* next
      if (chunk === undefined) return yield* stream.finish
      yield* stream.write(chunk)
    }
  })

const toOutput = (stream: BiStream) =>
  Effect.gen(function* () {
    while (true) yield* writeTo(process.stdout, yield* stream.read)
  }).pipe(Effect.catchTag("EndOfStream", () => Effect.void))

/** Why a stream broke: a handler that was not there closes the connection, and says so. */
const broken = (peer: string, connection: Connection, error: StreamReset | ConnectionClosed): Effect.Effect<Failure> =>
  Effect.map(Effect.timeoutOption(connection.closed, REASON_WITHIN), (reason) => {
    if (Option.isSome(reason)) return explainClose(peer, reason.value)
    if (error._tag === "ConnectionClosed") return explainClose(peer, error)
    return failed("STREAM_RESET", `${peer} broke the stream off (code ${error.code})`, "its log may say more")
  })

const join = (peer: string, connection: Connection) =>
  Effect.gen(function* () {
    const stream = yield* Effect.catchTag(connection.open, "StreamLimit", () =>
      Effect.fail(denied("STREAM_LIMIT", `${peer} lets no stream through`))
    )
    const out = toOutput(stream)
    // The other side may go on sending after it stopped listening; then there is nobody left to send to.
    const input = Effect.catchTag(fromInput(stream), "StreamReset", () => Effect.void)
    // After its end of stream the other side may end the connection too: that is the end, whatever input is left.
    const inputOrEnd = Effect.raceFirst(input, Effect.asVoid(connection.closed))
    yield* Effect.all([out, inputOrEnd], { concurrency: 2, discard: true })
  }).pipe(
    Effect.catchTags({
      StreamReset: (error) => Effect.flatMap(broken(peer, connection, error), Effect.fail),
      ConnectionClosed: (error) => Effect.flatMap(broken(peer, connection, error), Effect.fail)
    })
  )

export const proxy = Command.make(
  "proxy",
  {
    peer: peerArgument,
    alpn: Argument.String("alpn").pipe(Argument.withDescription("The service to reach, such as alknet/ssh")),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, alpn: text, peer }) {
    const { passphraseFile } = yield* settings
    if (passphraseFile === "-") {
      return yield* wrongUsage("standard input is what is sent; the passphrase cannot come from it too")
    }
    const alpn = yield* Effect.mapError(Schema.decodeUnknownEffect(Alpn)(text), () =>
      wrongUsage("that cannot be an ALPN", "write its name, such as alknet/ssh")
    )
    yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const dialed = (yield* Endpoint).connect(target, alpn)
      const connection = yield* Effect.mapError(dialed, (error) => explainDial(error, target.name))
      yield* join(target.name, connection)
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("Join standard input and output to a service of a peer"),
  Command.withExamples([
    { command: "ssh -o ProxyCommand='alknet proxy desk alknet/ssh' desk", description: "for OpenSSH" },
    { command: "alknet proxy desk my/service < request > answer", description: "for anything" }
  ])
)
