/**
 * `alknet peers show NAME`: everything about one peer.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import { Output } from "../../Output.ts"
import { printable } from "../../Printable.ts"
import { layerPeers } from "../../Stores.ts"
import { describePeer } from "./Describe.ts"
import { findPeer, nameArgument } from "./Named.ts"

export const show = Command.make(
  "show",
  { name: nameArgument },
  Effect.fn(function* ({ name }) {
    const output = yield* Output
    const peer = yield* findPeer(name)
    const { addresses, displayName, fingerprints } = peer
    const value = { ...describePeer(peer), displayName: displayName ?? null, fingerprints, addresses }
    yield* output.answer(value, [
      `name          ${value.name}${displayName === undefined ? "" : ` (calls itself ${printable(displayName)})`}`,
      `node id       ${value.nodeId ?? "-"}`,
      ...fingerprints.map((fingerprint) => `fingerprint   ${fingerprint}`),
      `may           ${value.scopes.join(" ") || "nothing"}`,
      `state         ${value.enabled ? "enabled" : "disabled"}`,
      `last seen     ${value.lastSeen === null ? "never" : new Date(value.lastSeen * 1000).toISOString()}`,
      `addresses     ${addresses.map(printable).join(" ") || "-"}`
    ])
  }, Effect.provide(layerPeers))
).pipe(
  Command.withDescription("Show everything about a peer"),
  Command.withExamples([{ command: "alknet peers show desk", description: "keys, rights, addresses" }])
)
