/**
 * `alknet join TICKET`: uses an invite. Afterwards both nodes know each other by key.
 */
import { hostname } from "node:os"
import { Effect, Option, Redacted } from "effect"
import { Argument, Command, Flag } from "effect/cli"
import { join as joinNode } from "../../layers/Join.ts"
import { isPeerId } from "../../protocol/identity/PeerId.ts"
import { wrongUsage } from "../Failure.ts"
import { readStandardInput } from "../Input.ts"
import { layerOpened } from "../Opened.ts"
import { Output } from "../Output.ts"
import { printableShort } from "../Printable.ts"
import { roleFlag, scopeFlag, scopesOf } from "../Rights.ts"
import { describePeer } from "./peers/Describe.ts"

const readTicket = (text: string) =>
  Effect.map(
    text === "-"
      ? Effect.map(readStandardInput, (bytes) => new TextDecoder().decode(bytes).trim())
      : Effect.succeed(text),
    (ticket) => Redacted.make(ticket, { label: "ticket" })
  )

export const join = Command.make(
  "join",
  {
    ticket: Argument.String("ticket").pipe(
      Argument.withDescription("What alknet invite printed; - reads it from standard input")
    ),
    name: Flag.String("name").pipe(
      Flag.withDescription("What we call the other node; made from its label without it"),
      Flag.optional
    ),
    role: roleFlag,
    scopes: scopeFlag
  },
  Effect.fn(function* ({ name, role, scopes: further, ticket: text }) {
    const output = yield* Output
    if (Option.isSome(name) && !isPeerId(name.value)) {
      return yield* wrongUsage(
        `${printableShort(name.value)} cannot be a name`,
        "use a-z, 0-9, dots and dashes, at most 63"
      )
    }
    const scopes = yield* scopesOf(role, further)
    const ticket = yield* readTicket(text)
    const joined = yield* joinNode({
      ticket,
      ownName: hostname().split(".")[0] || "node",
      scopes,
      ...(Option.isSome(name) ? { name: name.value } : {})
    }).pipe(Effect.provide(layerOpened))
    const { inviter, peerId } = joined
    const { nodeId } = describePeer(inviter)
    yield* output.answer(
      { name: inviter.peerId, nodeId, knownAs: peerId ?? null, scopes: joined.scopes ?? null },
      `${inviter.peerId} ${nodeId}`
    )
    yield* output.note(
      joined.scopes === undefined
        ? `${inviter.peerId} knew this node already; nothing changed there`
        : `${inviter.peerId} calls us ${printableShort(peerId ?? "?")} and lets us: ${printableShort(joined.scopes.join(" "))}`
    )
    yield* output.note(`try: alknet ping ${inviter.peerId}`)
  })
).pipe(
  Command.withDescription("Use an invite; both nodes then know each other"),
  Command.withExamples([
    { command: "alknet join alk1… --name desk", description: "call the other node desk" },
    {
      command: "alknet join - --name desk < ticket.txt",
      description: "the ticket does not show in the list of processes"
    }
  ])
)
