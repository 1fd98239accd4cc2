/**
 * `alknet up`: runs the node until it is interrupted. Makes its home, key and vault on first use.
 */
import { Effect } from "effect"
import { Command } from "effect/cli"
import type { NodeReport } from "../../services/Control.ts"
import { announce, nodeFlags, runNode } from "../NodeCommand.ts"
import { layerVault } from "../Stores.ts"

export const up = Command.make(
  "up",
  nodeFlags,
  Effect.fn(function* (flags) {
    yield* runNode(
      flags,
      Effect.succeed({ ready: (report: NodeReport) => Effect.andThen(announce(report), Effect.never) })
    )
  }, Effect.provide(layerVault))
).pipe(
  Command.withDescription("Run this node until it is interrupted; makes its key on first use"),
  Command.withExamples([
    { command: "alknet up", description: "on port 4433, UDP and TCP" },
    { command: "alknet up --listen 127.0.0.1:0 --json", description: "on a free port, the first line tells which" },
    { command: "alknet up --only call", description: "serve calls and nothing else" }
  ])
)
