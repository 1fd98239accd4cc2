/**
 * `alknet up`: runs the node until it is interrupted. Makes its home, key and vault on first use.
 */
import { Effect, Option, References } from "effect"
import { Command, Flag, GlobalFlag } from "effect/cli"
import { readConfig } from "../../layers/ConfigFile.ts"
import type { Config } from "../../protocol/Config.ts"
import { parseSocketAddress } from "../../protocol/SocketAddress.ts"
import type { NodeReport } from "../../services/Control.ts"
import { wrongUsage } from "../Failure.ts"
import { settings } from "../Globals.ts"
import { Home } from "../Home.ts"
import { defaultListen } from "../Listen.ts"
import { loadNode } from "../Opened.ts"
import { Output } from "../Output.ts"
import { printable, printableShort } from "../Printable.ts"
import { refuseSecond, serve } from "../Serve.ts"
import { layerVault } from "../Stores.ts"
import { version } from "../Version.ts"

const list = (texts: ReadonlyArray<string>): ReadonlyArray<string> =>
  texts.flatMap((text) => text.split(",")).filter(Boolean)

/** `call` stands for `alknet/call`. Where the names come from a flag, a wrong one is wrong usage. */
const alpns = Effect.fnUntraced(function* (
  flags: ReadonlyArray<string>,
  configured: ReadonlyArray<string> | undefined
) {
  const names = flags.length > 0 ? list(flags) : configured
  if (names === undefined) return undefined
  const {
    Node: { ALPNS }
  } = yield* loadNode
  return yield* Effect.forEach(names, (name) => {
    const found = ALPNS.find((alpn) => alpn === name || alpn === `alknet/${name}`)
    return found === undefined
      ? Effect.fail(
          wrongUsage(`${printableShort(name)} is not served by this version`, `it serves ${ALPNS.join(", ")}`)
        )
      : Effect.succeed(found)
  })
})

const listenAt = (texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) =>
    Effect.mapError(Effect.fromResult(parseSocketAddress(text)), (error) =>
      wrongUsage(`${printableShort(text)}: ${error.message}`)
    )
  )

/** How somebody gets there. */
const reach = (alpn: string): string => {
  switch (alpn) {
    case "alknet/call":
      return "alknet ops PEER, alknet call PEER OPERATION"
    case "alknet/join":
      return "alknet join INVITE"
    default:
      return `alknet proxy PEER ${alpn}`
  }
}

const announce = Effect.fnUntraced(function* (report: NodeReport) {
  const output = yield* Output
  const { addresses, fingerprint, nodeId, serves, ticket } = report
  yield* output.answer(
    { event: "ready", nodeId, fingerprint, addresses, ticket, alpns: serves.map(({ alpn }) => alpn) },
    [
      `alknet ${version} is up`,
      `node id    ${nodeId}`,
      `addresses  ${addresses.join(" ") || "-"}`,
      `ticket     ${ticket}`,
      ...serves.map(
        ({ access, alpn, description }) => `serves     ${alpn} (${access}): ${printable(description)}; ${reach(alpn)}`
      )
    ]
  )
  yield* output.note("let a node in with: alknet invite --role user; stop with Ctrl-C")
})

/** `--log-level`, `--quiet`, the config, in this order. */
const logLevel = Effect.fnUntraced(function* (config: Config) {
  const flag = yield* GlobalFlag.LogLevel
  if (Option.isSome(flag)) return flag.value
  if ((yield* settings).quiet) return "Error"
  const levels = { trace: "Trace", debug: "Debug", info: "Info", warn: "Warn", error: "Error", none: "None" } as const
  return levels[config["log-level"] ?? "info"]
})

const names = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("<alpn,...>"), Flag.withDescription(description), Flag.between(0, 32))

export const up = Command.make(
  "up",
  {
    listen: Flag.String("listen").pipe(
      Flag.withMetavar("<host:port>"),
      Flag.withDescription("Where to listen, UDP and TCP (default 0.0.0.0:4433 and [::]:4433); may be repeated"),
      Flag.between(0, 16)
    ),
    only: names("only", "Serve these only, such as call,ssh"),
    anonymous: names("anonymous", "Serve these to strangers too, such as http,dns")
  },
  Effect.fn(function* ({ anonymous, listen, only }) {
    const home = yield* Home
    yield* home.prepare
    const config = yield* readConfig(home.config)
    const addresses = yield* listenAt(listen.length > 0 ? listen : (config.listen ?? defaultListen()))
    yield* refuseSecond
    yield* serve({
      kind: "up",
      listen: addresses,
      only: yield* alpns(only, config.only),
      anonymous: yield* alpns(anonymous, config.anonymous),
      config,
      ready: (report) => Effect.andThen(announce(report), Effect.never)
    }).pipe(Effect.provideService(References.MinimumLogLevel, yield* logLevel(config)))
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Run this node until it is interrupted; makes its key on first use"),
  Command.withExamples([
    { command: "alknet up", description: "on port 4433, UDP and TCP" },
    { command: "alknet up --listen 127.0.0.1:0 --json", description: "on a free port, the first line tells which" },
    { command: "alknet up --only call", description: "serve calls and nothing else" }
  ])
)
