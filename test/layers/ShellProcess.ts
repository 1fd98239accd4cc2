/** Starts children, with pipes and on a terminal, that ignore the hang-up, prints their process ids, and waits. */
import { Effect } from "effect"
import * as ShellLayer from "../../src/layers/Shell.ts"
import { Shell } from "../../src/services/Shell.ts"

const size = { columns: 80, rows: 24, widthPixels: 0, heightPixels: 0 }

const program = Effect.gen(function* () {
  const shell = yield* Shell
  const pids: Array<string> = []
  for (const terminal of [undefined, { term: "xterm", size }]) {
    const line = "trap '' HUP; sleep 1000 & echo $! $$; wait"
    const child = yield* shell.start({ command: { line }, terminal, environment: {} })
    pids.push(
      Buffer.from((yield* child.stdout) ?? [])
        .toString("utf8")
        .trim()
    )
  }
  process.stdout.write(`${pids.join(" ")}\n`)
  yield* Effect.never
})

setInterval(() => {}, 1000)
await Effect.runPromise(Effect.scoped(Effect.provide(program, ShellLayer.layer({ shell: "/bin/bash" }))))
