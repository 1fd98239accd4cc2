/**
 * What the commands that run a node share: their flags, and how it starts and says that it has.
 */
import { Effect, Option, References } from "effect"
import { Flag, GlobalFlag } from "effect/cli"
import { readConfig } from "../layers/ConfigFile.ts"
import type { Config } from "../protocol/Config.ts"
import { parseSocketAddress } from "../protocol/SocketAddress.ts"
import type { NodeReport } from "../services/Control.ts"
import { wrongUsage } from "./Failure.ts"
import { settings } from "./Globals.ts"
import { Home } from "./Home.ts"
import { defaultListen } from "./Listen.ts"
import { loadNode } from "./Opened.ts"
import { Output } from "./Output.ts"
import { printable, printableShort } from "./Printable.ts"
import { refuseSecond, type ServeOptions, serve } from "./Serve.ts"
import { version } from "./Version.ts"

const names = (name: string, description: string) =>
  Flag.String(name).pipe(Flag.withMetavar("<alpn,...>"), Flag.withDescription(description), Flag.between(0, 32))

export const nodeFlags = {
  listen: Flag.String("listen").pipe(
    Flag.withMetavar("<host:port>"),
    Flag.withDescription("Where to listen, UDP and TCP (default 0.0.0.0:4433 and [::]:4433); may be repeated"),
    Flag.between(0, 16)
  ),
  only: names("only", "Serve these only, such as call,ssh"),
  anonymous: names("anonymous", "Serve these to strangers too, such as http,dns")
}

export interface NodeFlags {
  readonly listen: ReadonlyArray<string>
  readonly only: ReadonlyArray<string>
  readonly anonymous: ReadonlyArray<string>
}

/** Runs a node until it is interrupted. `service` is made when it is clear that no other runs in this home. */
export const runNode = <A, E, R, E2, R2>(
  flags: NodeFlags,
  service: Effect.Effect<Pick<ServeOptions<A, E, R>, "ready" | "registry">, E2, R2>
) =>
  Effect.gen(function* () {
    const home = yield* Home
    yield* home.prepare
    const config = yield* readConfig(home.config)
    const listen = yield* listenAt(flags.listen.length > 0 ? flags.listen : (config.listen ?? defaultListen()))
    yield* refuseSecond
    const options = {
      kind: "up" as const,
      listen,
      only: yield* alpns(flags.only, config.only),
      anonymous: yield* publicAlpns(flags.anonymous, config.anonymous),
      config,
      ...(yield* service)
    }
    yield* Effect.provideService(serve(options), References.MinimumLogLevel, yield* logLevel(config))
  })

/** Says that the node is there: `more` for programs, and lines for people. */
export const announce = Effect.fnUntraced(function* (
  report: NodeReport,
  more: object = {},
  lines: ReadonlyArray<string> = []
) {
  const output = yield* Output
  const { addresses, fingerprint, nodeId, serves, ticket } = report
  yield* output.answer(
    { event: "ready", nodeId, fingerprint, addresses, ticket, alpns: serves.map(({ alpn }) => alpn), ...more },
    [
      `alknet ${version} is up`,
      `node id    ${nodeId}`,
      `addresses  ${addresses.join(" ") || "-"}`,
      `ticket     ${ticket}`,
      ...serves.map(
        ({ access, alpn, description }) => `serves     ${alpn} (${access}): ${printable(description)}; ${reach(alpn)}`
      ),
      ...lines
    ]
  )
  yield* output.note("let a node in with: alknet invite --role user; stop with Ctrl-C")
})

/** How somebody gets there. */
const reach = (alpn: string): string => {
  switch (alpn) {
    case "alknet/call":
      return "alknet ops PEER, alknet call PEER OPERATION"
    case "alknet/join":
      return "alknet join INVITE"
    case "alknet/sftp":
      return 'sftp -D "alknet proxy PEER alknet/sftp"'
    case "alknet/ssh":
      return "alknet ssh PEER, or ssh with: alknet ssh-config PEER"
    case "alknet/tunnel":
      return "alknet forward -L PORT:HOST:PORT PEER, alknet socks PEER"
    default:
      return `alknet proxy PEER ${alpn}`
  }
}

const list = (texts: ReadonlyArray<string>): ReadonlyArray<string> =>
  texts.flatMap((text) => text.split(",")).filter(Boolean)

/** `call` stands for `alknet/call`. Where the names come from a flag, a wrong one is wrong usage. */
const alpns = Effect.fnUntraced(function* (
  flags: ReadonlyArray<string>,
  configured: ReadonlyArray<string> | undefined
) {
  const wanted = flags.length > 0 ? list(flags) : configured
  if (wanted === undefined) return undefined
  const {
    Node: { ALPNS }
  } = yield* loadNode
  return yield* Effect.forEach(wanted, (name) => {
    const found = ALPNS.find((alpn) => alpn === name || alpn === `alknet/${name}`)
    return found === undefined
      ? Effect.fail(
          wrongUsage(`${printableShort(name)} is not served by this version`, `it serves ${ALPNS.join(", ")}`)
        )
      : Effect.succeed(found)
  })
})

/** What needs a scope is never open to strangers: who asks for that is told so. */
const publicAlpns = Effect.fnUntraced(function* (...wanted: Parameters<typeof alpns>) {
  const found = yield* alpns(...wanted)
  const {
    Node: { PUBLIC_ALPNS }
  } = yield* loadNode
  const closed = found?.find((alpn) => !PUBLIC_ALPNS.includes(alpn))
  if (closed !== undefined) return yield* wrongUsage(`${closed} is never served to strangers`, "give peers its scope")
  return found
})

const listenAt = (texts: ReadonlyArray<string>) =>
  Effect.forEach(texts, (text) =>
    Effect.mapError(Effect.fromResult(parseSocketAddress(text)), (error) =>
      wrongUsage(`${printableShort(text)}: ${error.message}`)
    )
  )

/** `--log-level`, `--quiet`, the config, in this order. */
const logLevel = Effect.fnUntraced(function* (config: Config) {
  const flag = yield* GlobalFlag.LogLevel
  if (Option.isSome(flag)) return flag.value
  if ((yield* settings).quiet) return "Error"
  const levels = { trace: "Trace", debug: "Debug", info: "Info", warn: "Warn", error: "Error", none: "None" } as const
  return levels[config["log-level"] ?? "info"]
})
