/**
 * Programs of this machine for peers: with pipes, or on a terminal (services/Shell.ts). They run as the user of the node, in
 * that user's home. At most 512 run at once. See `shell/Group.ts` for how they end.
 */
import { Effect, Layer } from "effect"
import { Shell, ShellError, type ShellRequest } from "../services/Shell.ts"
import { type Surroundings, surroundings } from "./shell/Environment.ts"
import { makeGuard } from "./shell/Group.ts"
import { startWithPipes } from "./shell/PipeChild.ts"
import { startOnTerminal } from "./shell/TerminalChild.ts"

export interface ShellOptions {
  /** Path of the login shell. Default: that of the node's user. */
  readonly shell?: string
  /** Folders where programs are looked for, as in `PATH`. Default: those of the system. */
  readonly searchPath?: string
  /** Children at once. Default 512. */
  readonly childrenMax?: number
}

export const layer = (options: ShellOptions = {}): Layer.Layer<Shell> =>
  Layer.effect(
    Shell,
    Effect.gen(function* () {
      const guard = yield* makeGuard
      const { childrenMax = 512 } = options
      let children = 0
      return Shell.of({
        start: Effect.fn("Shell.start")(function* (request) {
          if (children >= childrenMax) {
            return yield* new ShellError({ reason: "TooMany", hint: "this node runs as many programs as it may" })
          }
          yield* Effect.acquireRelease(
            Effect.sync(() => children++),
            () => Effect.sync(() => children--)
          )
          const place = surroundings(request.environment, options)
          const [file, args] = programOf(request, place)
          return yield* request.terminal === undefined
            ? startWithPipes(file, args, place, guard)
            : startOnTerminal(file, args, place, request.terminal, guard)
        })
      })
    })
  )

const programOf = ({ command }: ShellRequest, { shell }: Surroundings): readonly [string, ReadonlyArray<string>] => {
  if (command === undefined) return [shell, ["-l"]]
  if ("line" in command) return [shell, ["-c", command.line]]
  const [file = "", ...args] = command.words
  return [file, args]
}
