/**
 * `alknet forward -L … -R … PEER`: port forwards through a peer, until it is interrupted. What cannot be set up ends the
 * command; later a connection that fails is told and costs nothing else, and a remote listener that was lost is set up again.
 */
import { Deferred, Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { localForward, type OnFailure, remoteForward } from "../../layers/tunnel/Forwards.ts"
import { makeTunnel, type Tunnel, type TunnelError } from "../../layers/tunnel/TunnelClient.ts"
import { type ForwardDestination, type ForwardSpec, parseForwardSpec } from "../../protocol/forward/ForwardSpec.ts"
import { formatSocketAddress, type SocketAddress } from "../../protocol/SocketAddress.ts"
import { explainDial } from "../Explain.ts"
import { wrongUsage } from "../Failure.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { addressFlag, peerArgument, resolvePeer } from "../Peer.ts"
import { printableShort } from "../Printable.ts"
import { explainTunnel } from "../TunnelFailure.ts"

/** Forwards of one command, of each kind. */
const FORWARDS_MAX = 32

const forwards = (name: string, alias: string, description: string) =>
  Flag.String(name).pipe(
    Flag.withAlias(alias),
    Flag.withMetavar("<[addr:]port:host:port>"),
    Flag.withDescription(description),
    Flag.between(0, FORWARDS_MAX)
  )

const parsed = (texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) =>
    Effect.mapError(Effect.fromResult(parseForwardSpec(text)), (problem) =>
      wrongUsage(`${printableShort(text)}: ${problem}`)
    )
  )

const destinationText = (destination: ForwardDestination): string =>
  destination._tag === "Host" ? formatSocketAddress(destination.address) : destination.path

interface Running {
  readonly side: "local" | "remote"
  readonly listen: string
  readonly destination: string
}

const running = (side: Running["side"], bound: SocketAddress, { destination }: ForwardSpec): Running => ({
  side,
  listen: formatSocketAddress(bound),
  destination: destinationText(destination)
})

/** Before a lost listener is tried again, in milliseconds: at first, and at most after it failed some times. */
const AGAIN_MILLIS = { first: 1_000, most: 30_000 } as const

/** Listens over there, and again when the listener was lost. A first attempt that fails is the caller's to judge. */
const keepRemote = (tunnel: Tunnel, spec: ForwardSpec, tell: (text: string) => Effect.Effect<void>) =>
  Effect.gen(function* () {
    const onFailure: OnFailure = (error) => tell(`remote ${formatSocketAddress(spec.listen)}: ${error.message}`)
    const first = yield* Deferred.make<SocketAddress, TunnelError>()
    const attempt = (started: (bound: SocketAddress) => Effect.Effect<unknown>) =>
      remoteForward(tunnel, spec.listen, spec.destination, onFailure).pipe(
        Effect.tap(({ bound }) => started(bound)),
        Effect.flatMap(({ ended }) => ended),
        Effect.scoped,
        Effect.catch(Effect.succeed)
      )
    const keep = Effect.gen(function* () {
      const lost = yield* attempt((bound) => Deferred.succeed(first, bound))
      if (yield* Deferred.fail(first, lost)) return
      yield* tell(`the listener over there is gone (${lost.message}); trying again`)
      let wait: number = AGAIN_MILLIS.first
      while (true) {
        yield* Effect.sleep(wait)
        wait = Math.min(wait * 2, AGAIN_MILLIS.most)
        yield* attempt((bound) => {
          wait = AGAIN_MILLIS.first
          return tell(`listening over there again, on ${formatSocketAddress(bound)}`)
        })
      }
    })
    yield* Effect.forkScoped(keep)
    return running("remote", yield* Deferred.await(first), spec)
  })

export const forward = Command.make(
  "forward",
  {
    peer: peerArgument,
    local: forwards("local", "L", "Listen here, connect from the peer to HOST:PORT; may be repeated"),
    remote: forwards("remote", "R", "Listen at the peer, connect from here to HOST:PORT; may be repeated"),
    addresses: addressFlag
  },
  Effect.fn(function* ({ addresses, local, peer, remote }) {
    const output = yield* Output
    const locals = yield* parsed(local)
    const remotes = yield* parsed(remote)
    if (locals.length + remotes.length === 0) {
      return yield* wrongUsage("nothing to forward", "give -L or -R, such as -L 8080:127.0.0.1:80")
    }
    yield* Effect.gen(function* () {
      const target = yield* resolvePeer(peer, addresses)
      const tunnel = yield* Effect.mapError(makeTunnel(target), (error) => explainDial(error, target.name))
      const here = yield* Effect.forEach(locals, (spec) => {
        const tell: OnFailure = (error) => output.warn(`local ${formatSocketAddress(spec.listen)}: ${error.message}`)
        return Effect.map(localForward(tunnel, spec.listen, spec.destination, tell), (bound) =>
          running("local", bound, spec)
        )
      })
      const there = yield* Effect.forEach(remotes, (spec) =>
        Effect.mapError(keepRemote(tunnel, spec, output.warn), (error) =>
          explainTunnel(error, target.name, "listen there")
        )
      )
      const all = [...here, ...there]
      yield* output.answer(
        { event: "ready", forwards: all },
        all.map(({ destination, listen, side }) =>
          side === "local"
            ? `${listen} here -> ${destination} from ${target.name}`
            : `${listen} at ${target.name} -> ${destination} from here`
        )
      )
      yield* output.note("stop with Ctrl-C")
      return yield* Effect.never
    }).pipe(Effect.scoped, Effect.provide(layerOpened))
  })
).pipe(
  Command.withDescription("Forward ports through a peer, both ways"),
  Command.withExamples([
    { command: "alknet forward -L 8080:127.0.0.1:80 desk", description: "its web server on port 8080 here" },
    { command: "alknet forward -L 5432:/run/postgresql/.s.PGSQL.5432 desk", description: "a socket of its machine" },
    { command: "alknet forward -R 9000:127.0.0.1:3000 desk", description: "what runs here on its port 9000" }
  ])
)
