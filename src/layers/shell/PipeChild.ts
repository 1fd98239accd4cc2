/** A child with pipes: standard input, output and error apart. */
import { type ChildProcess, spawn } from "node:child_process"
import { Deferred, Effect, Exit, type Scope } from "effect"
import { type Child, type ChildEnd, ShellError } from "../../services/Shell.ts"
import type { Surroundings } from "./Environment.ts"
import { Group, type Guard } from "./Group.ts"
import { Input } from "./Input.ts"
import { Output } from "./Output.ts"
import { isSignalName } from "./Signals.ts"

export const startWithPipes = Effect.fnUntraced(function* (
  file: string,
  args: ReadonlyArray<string>,
  { directory, variables }: Surroundings,
  guard: Guard
): Effect.fn.Return<Child, ShellError, Scope.Scope> {
  const ended = yield* Deferred.make<ChildEnd>()
  const [process, group] = yield* Effect.acquireRelease(
    started(file, args, directory, variables, guard, ended),
    ([child, group]) =>
      Effect.andThen(
        group.end,
        Effect.sync(() => {
          for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy()
        })
      )
  )
  const { stderr, stdin, stdout } = process
  if (stdin === null || stdout === null || stderr === null) return yield* failure("Io", file)
  const input = new Input(stdin)
  return {
    stdout: new Output(stdout).next,
    stderr: new Output(stderr).next,
    write: input.write,
    endInput: input.end,
    resize: () => Effect.void,
    signal: (name) => Effect.sync(() => (isSignalName(name) ? group.signal(`SIG${name}`) : undefined)),
    ended: Deferred.await(ended)
  }
})

const started = (
  file: string,
  args: ReadonlyArray<string>,
  directory: string,
  variables: Readonly<Record<string, string>>,
  guard: Guard,
  ended: Deferred.Deferred<ChildEnd>
): Effect.Effect<readonly [ChildProcess, Group], ShellError> =>
  Effect.callback((resume) => {
    let child: ChildProcess
    try {
      child = spawn(file, args, { cwd: directory, env: variables, detached: true, stdio: "pipe" })
    } catch (error) {
      return resume(errorOf(error, file))
    }
    // Before anything else can happen to this process.
    const group = child.pid === undefined ? undefined : new Group(child.pid, guard)
    child.once("error", (error) => resume(errorOf(error, file)))
    child.once("spawn", () => {
      if (group !== undefined) resume(Effect.succeed([child, group]))
    })
    child.once("exit", (code, signal) => {
      group?.look()
      const end: ChildEnd =
        signal === null
          ? { _tag: "Exited", code: code ?? 0 }
          : { _tag: "Killed", signal: signal.replace(/^SIG/, ""), coreDumped: false }
      Deferred.doneUnsafe(ended, Exit.succeed(end))
    })
  })

const errorOf = (error: unknown, file: string): Effect.Effect<never, ShellError> => {
  const code = error instanceof Error && "code" in error ? error.code : undefined
  if (code === "ENOENT" || code === "ENOTDIR") return failure("NotFound", file)
  if (code === "EACCES" || code === "ENOEXEC" || code === "EPERM") return failure("NotExecutable", file)
  if (code === "EAGAIN" || code === "EMFILE" || code === "ENOMEM") return failure("TooMany", file)
  return failure("Io", file)
}

const HINTS = {
  NotFound: "no such program",
  NotExecutable: "this is no program that may be run",
  TooMany: "the machine cannot run more programs now",
  Io: "the program could not be started"
} as const

/** `file` is what the peer asked for itself. */
const failure = (reason: keyof typeof HINTS, file: string): Effect.Effect<never, ShellError> =>
  Effect.fail(new ShellError({ reason, hint: `${file.slice(0, 256)}: ${HINTS[reason]}` }))
