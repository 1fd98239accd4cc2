/**
 * `alknet vault status`: whether there is a vault, whose it is, and how it is protected. Needs no secret.
 */
import { existsSync } from "node:fs"
import { Effect } from "effect"
import { Command } from "effect/cli"
import { Vault } from "../../../services/Vault.ts"
import { Home } from "../../Home.ts"
import { Output } from "../../Output.ts"
import { layerVault } from "../../Stores.ts"

export const status = Command.make(
  "status",
  {},
  Effect.fn(function* () {
    const home = yield* Home
    const output = yield* Output
    const { nodeId, state, weakKdf } = yield* (yield* Vault).status
    const generated = existsSync(home.passphrase)
    const exists = state !== "Absent"
    const lines = [
      `vault       ${home.vault}${exists ? "" : " (not there yet)"}`,
      ...(nodeId === undefined ? [] : [`node id     ${nodeId}`]),
      ...(exists
        ? [`passphrase  ${generated ? `generated, kept in ${home.passphrase}` : "your own"}`]
        : ['next        "alknet up" or "alknet vault create" makes one']),
      ...(weakKdf ? ["warning     sealed at a low cost: run alknet vault passphrase"] : [])
    ]
    yield* output.answer({ exists, nodeId: nodeId ?? null, generatedPassphrase: exists && generated, weakKdf }, lines)
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Tell whether there is a vault and how it is protected"),
  Command.withExamples([{ command: "alknet vault status --json", description: "for a program" }])
)
