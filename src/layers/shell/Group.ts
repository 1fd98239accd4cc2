/**
 * Process groups of children, and what ends them: the scope, or the guard when this process is gone without a word.
 *
 * Each child leads a group of its own. When its scope closes, the group gets SIGHUP and, after a grace, SIGKILL. A process
 * that is killed cannot do that, so a small shell script of one process for all children waits at a pipe: when the pipe
 * ends, it does the same to the groups that are on its list. What a child starts in another group (`setsid`, jobs of an
 * interactive shell that ignore the hang-up of their terminal) is out of reach, as it is with other SSH servers.
 */
import { type ChildProcess, spawn } from "node:child_process"
import { Duration, Effect, type Scope } from "effect"

/** What a group has for its end after SIGHUP. */
export const HANGUP_GRACE = Duration.millis(500)
const LOOK_EVERY = Duration.millis(20)

const SCRIPT = `
trap '' HUP INT QUIT TERM PIPE
live=
while read -r op pid; do
  if [ "$op" = + ]; then live="$live $pid"
  else
    next=
    for one in $live; do [ "$one" = "$pid" ] || next="$next $one"; done
    live=$next
  fi
done
[ -n "$live" ] || exit 0
for one in $live; do kill -s HUP -- "-$one"; done 2>/dev/null
sleep 1
for one in $live; do kill -s KILL -- "-$one"; done 2>/dev/null
`

/** Outlives this process by what it needs for the list. */
export interface Guard {
  readonly add: (group: number) => void
  readonly remove: (group: number) => void
}

/** The guard starts with the first child. */
export const makeGuard: Effect.Effect<Guard, never, Scope.Scope> = Effect.gen(function* () {
  let child: ChildProcess | undefined
  const start = (): ChildProcess => {
    // In a session of its own: what interrupts this process from its terminal is not for the guard.
    const started = spawn("/bin/sh", ["-c", SCRIPT], {
      detached: true,
      cwd: "/",
      env: {},
      stdio: ["pipe", "ignore", "ignore"]
    })
    started.on("error", () => {})
    started.stdin?.on("error", () => {})
    started.unref()
    return started
  }
  const tell = (line: string) => {
    child ??= start()
    child.stdin?.write(`${line}\n`)
  }
  yield* Effect.addFinalizer(() => Effect.sync(() => child?.stdin?.end()))
  return { add: (group) => tell(`+ ${group}`), remove: (group) => tell(`- ${group}`) }
})

const signalGroup = (group: number, signal: NodeJS.Signals | 0): boolean => {
  try {
    return process.kill(-group, signal)
  } catch {
    return false
  }
}

/** The group of a child that runs. */
export class Group {
  readonly #pid: number
  readonly #guard: Guard
  #isGone = false

  constructor(pid: number, guard: Guard) {
    this.#pid = pid
    this.#guard = guard
    guard.add(pid)
  }

  /** To be called when the child has ended: without members the number may belong to somebody else a moment later. */
  readonly look = (): boolean => {
    if (!this.#isGone && !signalGroup(this.#pid, 0)) {
      this.#isGone = true
      this.#guard.remove(this.#pid)
    }
    return this.#isGone
  }

  readonly signal = (name: NodeJS.Signals): void => {
    if (!this.#isGone) signalGroup(this.#pid, name)
  }

  /** Ends whatever is left of it. */
  readonly end: Effect.Effect<void> = Effect.gen({ self: this }, function* () {
    if (this.look()) return
    this.signal("SIGHUP")
    // A member that is stopped hears the hang-up only when it goes on.
    this.signal("SIGCONT")
    const looks = Duration.toMillis(HANGUP_GRACE) / Duration.toMillis(LOOK_EVERY)
    for (let look = 0; look < looks; look++) {
      yield* Effect.sleep(LOOK_EVERY)
      if (this.look()) return
    }
    this.signal("SIGKILL")
    this.#isGone = true
    this.#guard.remove(this.#pid)
  })
}
