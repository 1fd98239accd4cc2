/**
 * `alknet socks PEER`: a SOCKS5 proxy on this machine whose connections leave from a peer, until it is interrupted.
 */
import { Effect, Option, Redacted } from "effect"
import { Command, Flag } from "effect/cli"
import { type Socks5Options, serve } from "../../layers/Socks5.ts"
import { makeTunnel } from "../../layers/tunnel/TunnelClient.ts"
import { readSecretFile } from "../../layers/vault/SecretFile.ts"
import { formatSocketAddress, isLoopback, parseSocketAddress } from "../../protocol/SocketAddress.ts"
import { explainDial } from "../Explain.ts"
import { failed, wrongUsage } from "../Failure.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"

/** The name and password in a file, as `NAME:PASSWORD`, each of 1 to 255 bytes (RFC 1929). */
const loginOf = Effect.fnUntraced(function* (path: string) {
  const text = Buffer.from(Redacted.value(yield* readSecretFile(path))).toString("utf8")
  const colon = text.indexOf(":")
  const [user, password] = [text.slice(0, Math.max(colon, 0)), text.slice(colon + 1)]
  const isFit = (part: string) => part !== "" && Buffer.byteLength(part) <= 255
  if (!isFit(user) || !isFit(password)) {
    return yield* failed("LOGIN_INVALID", "the login file does not hold NAME:PASSWORD", "write them on one line")
  }
  return { user, password: Redacted.make(password) } satisfies Socks5Options["login"]
})

export const socks = Command.make(
  "socks",
  {
    peer: peerArgument,
    listen: Flag.String("listen").pipe(
      Flag.withMetavar("<host:port>"),
      Flag.withDefault("127.0.0.1:1080"),
      Flag.withDescription("Where programs of this machine find the proxy; port 0 takes any free one")
    ),
    loginFile: Flag.String("login-file").pipe(
      Flag.withMetavar("<path>"),
      Flag.withDescription("Ask programs for the NAME:PASSWORD in this file of mode 0600"),
      Flag.optional
    ),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, listen, loginFile, peer }) {
    const output = yield* Output
    const at = yield* Effect.mapError(Effect.fromResult(parseSocketAddress(listen)), (error) =>
      wrongUsage(`--listen: ${error.message}`)
    )
    const login = Option.isSome(loginFile) ? yield* loginOf(loginFile.value) : undefined
    if (login === undefined && !isLoopback(at.host)) {
      return yield* wrongUsage("everybody who reaches that address could use the proxy", "give --login-file too")
    }
    yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const tunnel = yield* Effect.mapError(makeTunnel(target), (error) => explainDial(error, target.name))
      const bound = yield* serve({
        listen: at,
        tunnel,
        ...(login === undefined ? {} : { login }),
        onFailure: (error) => output.note(`a connection failed: ${error.message}`)
      })
      const address = formatSocketAddress(bound)
      yield* output.answer({ event: "ready", listen: address }, `SOCKS5 on ${address}, out at ${target.name}`)
      yield* output.note(`try: curl --proxy socks5h://${address} http://…; stop with Ctrl-C`)
      return yield* Effect.never
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("A SOCKS5 proxy whose connections leave from a peer"),
  Command.withExamples([
    { command: "alknet socks desk", description: "on 127.0.0.1:1080" },
    { command: "alknet socks desk --listen 127.0.0.1:0 --json", description: "on a free port, told as JSON" }
  ])
)
