/**
 * A child on a terminal of its own. The pty comes from the native part of `@lydell/node-pty`, which is loaded when the first
 * terminal is asked for; its JavaScript part is left out, because it gives up what a slow reader has not read yet 200 ms
 * after the end of the child, and cannot tell when a write was taken.
 */
import { createRequire } from "node:module"
import { ReadStream } from "node:tty"
import { Deferred, Effect, Exit, type Scope } from "effect"
import { type Child, type ChildEnd, ShellError, type Terminal, type TerminalSize } from "../../services/Shell.ts"
import type { Surroundings } from "./Environment.ts"
import { Group, type Guard } from "./Group.ts"
import { Input } from "./Input.ts"
import { Output } from "./Output.ts"
import { isSignalName, signalNameOf } from "./Signals.ts"

/** How long a job that holds the terminal may keep a session open whose shell has ended. */
const LINGER_MILLIS = 250
/** Columns and rows of a terminal are at least 1; more than this means nothing. */
const CELLS_MAX = 4096

/** What we use of the native module, which has no types of its own. */
interface NativePty {
  readonly fork: (
    file: string,
    args: ReadonlyArray<string>,
    environment: ReadonlyArray<string>,
    directory: string,
    columns: number,
    rows: number,
    uid: number,
    gid: number,
    isUtf8: boolean,
    helper: string,
    onExit: (code: number, signal: number) => void
  ) => { readonly fd: number; readonly pid: number }
  readonly resize: (fd: number, columns: number, rows: number) => void
}

let loaded: { readonly native: NativePty; readonly helper: string } | undefined

const load = Effect.try({
  try: () => {
    if (loaded !== undefined) return loaded
    const require = createRequire(import.meta.url)
    const fromPackage = createRequire(require.resolve("@lydell/node-pty"))
    const platform = `@lydell/node-pty-${process.platform}-${process.arch}`
    const native: NativePty = fromPackage(`${platform}/pty.node`)
    const helper = process.platform === "darwin" ? fromPackage.resolve(`${platform}/spawn-helper`) : ""
    loaded = { native, helper }
    return loaded
  },
  catch: () =>
    new ShellError({
      reason: "NoTerminal",
      hint: "this node has no terminals: the optional package for them is not installed"
    })
})

const cells = (count: number, otherwise: number): number =>
  Number.isInteger(count) && count > 0 ? Math.min(count, CELLS_MAX) : otherwise

export const startOnTerminal = Effect.fnUntraced(function* (
  file: string,
  args: ReadonlyArray<string>,
  { directory, variables }: Surroundings,
  terminal: Terminal,
  guard: Guard
): Effect.fn.Return<Child, ShellError, Scope.Scope> {
  const { helper, native } = yield* load
  const ended = yield* Deferred.make<ChildEnd>()
  let exited = () => {}
  const fork = Effect.try({
    try: () => {
      const environment = Object.entries({ ...variables, TERM: terminal.term }).map(
        ([name, value]) => `${name}=${value}`
      )
      const columns = cells(terminal.size.columns, 80)
      const rows = cells(terminal.size.rows, 24)
      const onExit = (code: number, signal: number) => {
        const end: ChildEnd =
          signal === 0 ? { _tag: "Exited", code } : { _tag: "Killed", signal: signalNameOf(signal), coreDumped: false }
        exited()
        Deferred.doneUnsafe(ended, Exit.succeed(end))
      }
      const forked = native.fork(file, args, environment, directory, columns, rows, -1, -1, false, helper, onExit)
      return { ...forked, group: new Group(forked.pid, guard), socket: new ReadStream(forked.fd) }
    },
    catch: () => new ShellError({ reason: "Io", hint: "no terminal could be opened" })
  })
  const { fd, group, socket } = yield* Effect.acquireRelease(fork, ({ group, socket }) =>
    // To close the terminal hangs up whatever is on it, in other groups too.
    Effect.andThen(
      Effect.sync(() => socket.destroy()),
      group.end
    )
  )
  const output = new Output(socket)
  const input = new Input(socket)
  exited = () => {
    group.look()
    input.finish()
    setTimeout(output.finish, LINGER_MILLIS).unref()
  }
  return {
    stdout: output.next,
    stderr: Effect.succeed(undefined),
    write: input.write,
    // A terminal has no end of input; whoever sits at it types one.
    endInput: Effect.void,
    resize: ({ columns, rows }: TerminalSize) =>
      Effect.sync(() => {
        if (socket.destroyed) return
        try {
          native.resize(fd, cells(columns, 80), cells(rows, 24))
        } catch {
          // The program has just ended.
        }
      }),
    signal: (name) => Effect.sync(() => (isSignalName(name) ? group.signal(`SIG${name}`) : undefined)),
    ended: Deferred.await(ended)
  }
})
