/**
 * `alknet invite`: one text that lets one node in. Signed by the running node, or by this command with the vault open.
 */
import { Clock, Duration, Effect, Option, Redacted, Result, Schema } from "effect"
import { Command, Flag } from "effect/cli"
import { readConfig } from "../../layers/ConfigFile.ts"
import { INVITE_LIFE_MAX, issueInvite } from "../../layers/Invite.ts"
import { NodeId } from "../../protocol/identity/NodeId.ts"
import { parseSocketAddress } from "../../protocol/SocketAddress.ts"
import { Control } from "../../services/Control.ts"
import { dialableAddresses } from "../Addresses.ts"
import { wrongUsage } from "../Failure.ts"
import { Home } from "../Home.ts"
import { defaultListen } from "../Listen.ts"
import { layerOwn } from "../Opened.ts"
import { Output } from "../Output.ts"
import { advertised } from "../PlainTicket.ts"
import { roleFlag, scopeFlag, scopesOf } from "../Rights.ts"
import { layerRunning, runningReport } from "../Running.ts"
import { spanFlag } from "../Spans.ts"
import { formatSpan } from "../Units.ts"

interface Wanted {
  readonly scopes: ReadonlyArray<string>
  readonly lifeSeconds: number
  readonly audience?: NodeId
}

const byRunningNode = (wanted: Wanted) =>
  Effect.flatMap(Control, (control) => control.invite(wanted)).pipe(Effect.provide(layerRunning))

const byThisCommand = ({ lifeSeconds, ...wanted }: Wanted) =>
  Effect.gen(function* () {
    const config = yield* readConfig((yield* Home).config)
    const listen = (config.listen ?? defaultListen()).flatMap((text) => {
      const address = parseSocketAddress(text)
      return Result.isSuccess(address) && address.success.port !== 0 ? [address.success] : []
    })
    const { grant, ticket } = yield* issueInvite({
      ...wanted,
      issuer: "operator",
      life: Duration.seconds(lifeSeconds),
      addresses: advertised(config, dialableAddresses(listen)),
      ...(config.label === undefined ? {} : { label: config.label })
    })
    return { ticket, expiresAt: grant.expiresAt }
  }).pipe(Effect.provide(layerOwn))

export const invite = Command.make(
  "invite",
  {
    role: roleFlag,
    scopes: scopeFlag,
    expires: spanFlag("expires", "How long it is good (default 1h, at most 30d)").pipe(Flag.withDefault(3600)),
    audience: Flag.String("for").pipe(
      Flag.withMetavar("<nodeid>"),
      Flag.withDescription("Good for this node only"),
      Flag.optional
    )
  },
  Effect.fn(function* ({ audience, expires, role, scopes: further }) {
    const output = yield* Output
    const scopes = yield* scopesOf(role, further)
    if (scopes.length === 0) return yield* wrongUsage("say what it may do", "give --role or --scope")
    if (expires > Duration.toSeconds(INVITE_LIFE_MAX)) return yield* wrongUsage("an invite is good for 30d at most")
    const node = Option.isNone(audience)
      ? undefined
      : yield* Effect.mapError(Schema.decodeUnknownEffect(NodeId)(audience.value), () =>
          wrongUsage("--for takes a node id", "it has 52 characters; see alknet id on that node")
        )
    const wanted: Wanted = { scopes, lifeSeconds: expires, ...(node === undefined ? {} : { audience: node }) }
    const running = yield* runningReport
    const issued = yield* Option.isSome(running) ? byRunningNode(wanted) : byThisCommand(wanted)
    const ticket = Redacted.value(issued.ticket)
    yield* output.answer({ ticket, expires: issued.expiresAt, role: Option.getOrNull(role), scopes }, ticket)
    const left = issued.expiresAt * 1000 - (yield* Clock.currentTimeMillis)
    yield* output.note(`good once, for ${formatSpan(left)}; on the other machine: alknet join TICKET --name NAME`)
    if (Option.isNone(running)) yield* output.note("no node is running here; start it with: alknet up")
  })
).pipe(
  Command.withDescription("Let one node in, with one text; both sides then know each other"),
  Command.withExamples([
    { command: "alknet invite --role user", description: "for the next hour" },
    { command: "alknet invite --scope git:read:site --expires 7d --json", description: "one right, a week" }
  ])
)
