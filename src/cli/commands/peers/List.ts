/**
 * `alknet peers list`: who may reach us.
 */
import { Clock, Effect } from "effect"
import { Command, Flag } from "effect/cli"
import { PeerStore } from "../../../services/PeerStore.ts"
import { Output } from "../../Output.ts"
import { layerPeers } from "../../Stores.ts"
import { shortenIds } from "../../Table.ts"
import { formatSpan } from "../../Units.ts"
import { describePeer } from "./Describe.ts"

export const fullFlag = Flag.Boolean("full").pipe(
  Flag.withDefault(false),
  Flag.withoutNegation,
  Flag.withDescription("Show whole node ids")
)

export const list = Command.make(
  "list",
  { full: fullFlag },
  Effect.fn(function* ({ full }) {
    const output = yield* Output
    const { peers } = yield* (yield* PeerStore).list
    const now = yield* Clock.currentTimeMillis
    const values = peers.map(describePeer)
    const shorten = shortenIds(
      values.flatMap(({ nodeId }) => (nodeId === null ? [] : [nodeId])),
      full
    )
    yield* output.table(
      values,
      [
        { title: "NAME" },
        { title: "NODE ID", whole: true },
        { title: "MAY" },
        { title: "STATE", whole: true },
        { title: "LAST SEEN" }
      ],
      values.map(({ enabled, lastSeen, name, nodeId, roles, scopes }) => [
        name,
        nodeId === null ? "-" : shorten(nodeId),
        (roles.length > 0 ? roles : scopes).join(" ") || "nothing",
        enabled ? "enabled" : "disabled",
        lastSeen === null ? "never" : `${formatSpan(now - lastSeen * 1000)} ago`
      ])
    )
    if (peers.length === 0) yield* output.note("no peers yet; alknet invite lets one in, alknet join goes to one")
  }, Effect.provide(layerPeers))
).pipe(
  Command.withDescription("List the peers"),
  Command.withExamples([
    { command: "alknet peers list", description: "a table" },
    { command: "alknet peers list --json", description: "for a program" }
  ])
)
