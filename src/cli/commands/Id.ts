/**
 * `alknet id`: who this node is. Needs no secret: the vault file names its node.
 */
import { Effect, Option } from "effect"
import { Command, Flag } from "effect/cli"
import { readConfig } from "../../layers/ConfigFile.ts"
import { fingerprintOfNode } from "../../protocol/identity/Fingerprint.ts"
import { VaultAbsent } from "../../protocol/vault/VaultError.ts"
import { Home } from "../Home.ts"
import { Output } from "../Output.ts"
import { advertised, plainTicket } from "../PlainTicket.ts"
import { runningReport } from "../Running.ts"
import { layerVault, localNodeId } from "../Stores.ts"

/** From the running node, which knows its addresses, else from the vault file and the config. */
const whoAmI = Effect.gen(function* () {
  const running = yield* runningReport
  if (Option.isSome(running)) {
    const { fingerprint, nodeId, ticket } = running.value
    return { nodeId, fingerprint, ticket }
  }
  const nodeId = yield* localNodeId
  if (nodeId === undefined) return yield* new VaultAbsent()
  const config = yield* readConfig((yield* Home).config)
  const ticket = yield* plainTicket(nodeId, advertised(config, []), config.label)
  return { nodeId, fingerprint: fingerprintOfNode(nodeId), ticket }
})

export const id = Command.make(
  "id",
  {
    qr: Flag.Boolean("qr").pipe(
      Flag.withDefault(false),
      Flag.withoutNegation,
      Flag.withDescription("Show the ticket as a QR code too")
    )
  },
  Effect.fn(function* ({ qr }) {
    const output = yield* Output
    const self = yield* whoAmI
    const lines = [`node id      ${self.nodeId}`, `fingerprint  ${self.fingerprint}`, `ticket       ${self.ticket}`]
    if (qr && !output.json) {
      const { renderUnicodeCompact } = yield* Effect.promise(() => import("uqr"))
      // Upper case is the alphanumeric mode of QR codes, which makes them a third smaller; tickets may be read so.
      lines.push("", renderUnicodeCompact(self.ticket.toUpperCase(), { border: 2 }))
    }
    yield* output.answer(self, lines)
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Show node id, fingerprint and ticket of this node"),
  Command.withExamples([
    { command: "alknet id", description: "who am I" },
    { command: "alknet id --qr", description: "for a phone" }
  ])
)
