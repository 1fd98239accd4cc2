/**
 * The Unix socket file of a running node: binding it, finding out whether somebody listens, taking over what a killed
 * process left behind.
 *
 * Who may connect: the file is made with mode 0600 from the first moment on (the kernel checks the right to write at
 * connect), and the folder must not be writable by group or others, so nobody else can put a socket of theirs in its
 * place. Node cannot ask the kernel for the credentials of the other side; a client checks the owner of the file instead.
 */
import { type BigIntStats, constants } from "node:fs"
import { lstat, open, readFile, stat, unlink, writeFile } from "node:fs/promises"
import { connect, createServer, type Server, type Socket } from "node:net"
import { basename, dirname, join } from "node:path"
import { Clock, Duration, Effect, Schedule, type Scope } from "effect"
import { ControlError } from "../services/Control.ts"

/** Longer socket paths than this do not fit into `sun_path` everywhere. */
const PATH_BYTES_MAX = 100

/** How long a start waits for another start that is just taking the socket. */
const LOCK_WAIT = Duration.seconds(2)

/** From this age on a lock without a number in it was left by a process that was killed before it wrote it. */
const PIDLESS_GRACE = Duration.seconds(1)

const problem = (reason: ControlError["reason"], path: string, hint: string) => new ControlError({ reason, path, hint })

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "UNKNOWN"

/**
 * A path of the same socket that is short enough. Linux can name a folder by an open descriptor, which is kept open as
 * long as the scope.
 */
const shortPath = (path: string): Effect.Effect<string, ControlError, Scope.Scope> => {
  if (Buffer.byteLength(path) <= PATH_BYTES_MAX) return Effect.succeed(path)
  if (process.platform !== "linux") {
    return Effect.fail(problem("Io", path, "the path is too long for a socket; choose a shorter --home"))
  }
  return Effect.acquireRelease(
    Effect.tryPromise({
      try: () => open(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY),
      catch: (error) => problem(codeOf(error) === "ENOENT" ? "NotRunning" : "Io", path, `the folder: ${codeOf(error)}`)
    }),
    (folder) => Effect.promise(() => folder.close())
  ).pipe(Effect.map((folder) => join(`/proc/self/fd/${folder.fd}`, basename(path))))
}

/** The folder that holds the socket must be ours and writable by nobody else. */
const checkFolder = (path: string): Effect.Effect<void, ControlError> =>
  Effect.gen(function* () {
    const folder = yield* Effect.tryPromise({
      try: () => stat(dirname(path)),
      catch: (error) => problem("Io", path, `the folder: ${codeOf(error)}`)
    })
    const user = process.geteuid?.()
    if (user === undefined) return
    if (folder.uid !== user && user !== 0) return yield* problem("Insecure", path, "the folder belongs to another user")
    if ((folder.mode & 0o022) !== 0) {
      return yield* problem("Insecure", path, `others can write the folder; run: chmod 700 ${dirname(path)}`)
    }
  })

const opened = (path: string): Effect.Effect<Socket, string> =>
  Effect.callback((resume) => {
    const socket = connect({ path, allowHalfOpen: true })
    const onError = (error: Error) => resume(Effect.fail(codeOf(error)))
    socket.once("error", onError)
    socket.once("connect", () => {
      socket.off("error", onError)
      // Nobody listens to it until the pipe does.
      socket.on("error", () => {})
      resume(Effect.succeed(socket))
    })
    return Effect.sync(() => socket.destroy())
  })

/** Connects to the process that listens; `NotRunning` where there is none. */
export const connectControl = Effect.fn("ControlSocket.connect")(function* (
  path: string
): Effect.fn.Return<Socket, ControlError, Scope.Scope> {
  const notRunning = problem("NotRunning", path, 'start it with "alknet up"')
  const short = yield* shortPath(path)
  const file: BigIntStats = yield* Effect.tryPromise({
    try: () => lstat(short, { bigint: true }),
    catch: () => notRunning
  })
  if (!file.isSocket()) return yield* notRunning
  const user = process.geteuid?.()
  if (user !== undefined && Number(file.uid) !== user && user !== 0) {
    return yield* problem("Insecure", path, "it belongs to another user")
  }
  return yield* Effect.acquireRelease(opened(short), (socket) => Effect.sync(() => socket.destroySoon())).pipe(
    Effect.mapError((code) => (code === "EACCES" ? problem("Insecure", path, "access is denied") : notRunning))
  )
})

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return codeOf(error) === "EPERM"
  }
}

/** Locks that this process holds. */
const held = new Set<string>()

/** Left by a process that is gone, also by an earlier one of our own number, as happens in containers. */
const isStale = (lock: string) =>
  Effect.gen(function* () {
    const pid = Number((yield* Effect.tryPromise(() => readFile(lock, "utf8"))).trim())
    if (Number.isSafeInteger(pid) && pid > 0) return pid === process.pid ? !held.has(lock) : !isAlive(pid)
    const { mtimeMs } = yield* Effect.tryPromise(() => stat(lock))
    return (yield* Clock.currentTimeMillis) - mtimeMs > Duration.toMillis(PIDLESS_GRACE)
  })

/** One start at a time may look at the socket and replace it. */
const startLock = (path: string): Effect.Effect<void, ControlError, Scope.Scope> => {
  const lock = `${path}.lock`
  const take = Effect.tryPromise({
    try: () => writeFile(lock, String(process.pid), { flag: "wx", mode: 0o600 }).then(() => held.add(lock)),
    catch: codeOf
  })
  const clear = Effect.gen(function* () {
    if (yield* isStale(lock)) yield* Effect.tryPromise(() => unlink(lock))
  }).pipe(Effect.ignore)
  const acquire = take.pipe(
    Effect.tapError((code) => (code === "EEXIST" ? clear : Effect.void)),
    Effect.retry({
      schedule: Schedule.spaced("50 millis").pipe(Schedule.upTo({ duration: LOCK_WAIT })),
      while: (code) => code === "EEXIST"
    }),
    Effect.mapError((code) =>
      code === "EEXIST"
        ? problem("AlreadyRunning", path, `another process is starting; if none is, remove ${lock}`)
        : problem("Io", path, `cannot write in the home: ${code}`)
    )
  )
  return Effect.acquireRelease(acquire, () =>
    Effect.andThen(
      Effect.ignore(Effect.tryPromise(() => unlink(lock))),
      Effect.sync(() => held.delete(lock))
    )
  )
}

const listening = (path: string, onSocket: (socket: Socket) => void): Effect.Effect<Server, string> =>
  Effect.callback((resume) => {
    const server = createServer({ allowHalfOpen: true, pauseOnConnect: true }, onSocket)
    server.once("error", (error) => resume(Effect.fail(codeOf(error))))
    // The file gets its mode when it is made: no moment at which others could connect.
    const mask = process.umask(0o177)
    try {
      server.listen(path, () => resume(Effect.succeed(server)))
    } finally {
      process.umask(mask)
    }
  })

/**
 * Binds the socket. A file that nobody listens at any more (a killed process) is replaced; `AlreadyRunning` where somebody
 * answers. The file is removed when the scope closes.
 */
export const listenControl = Effect.fn("ControlSocket.listen")(function* (
  path: string,
  onSocket: (socket: Socket) => void
): Effect.fn.Return<void, ControlError, Scope.Scope> {
  yield* checkFolder(path)
  const short = yield* shortPath(path)
  const bind = Effect.scoped(
    Effect.gen(function* () {
      yield* startLock(path)
      const answer = yield* Effect.result(opened(short))
      if (answer._tag === "Success") {
        answer.success.destroy()
        return yield* problem("AlreadyRunning", path, 'stop it first, or see "alknet status"')
      }
      if (answer.failure === "ECONNREFUSED") {
        yield* Effect.tryPromise({
          try: () => unlink(short),
          catch: (error) => problem("Io", path, `the old socket cannot be removed: ${codeOf(error)}`)
        })
      } else if (answer.failure !== "ENOENT") {
        return yield* problem("Io", path, `there is something else: ${answer.failure}`)
      }
      return yield* Effect.mapError(listening(short, onSocket), (code) => problem("Io", path, `cannot listen: ${code}`))
    })
  )
  // Closing the server removes the file.
  yield* Effect.acquireRelease(bind, (server) => Effect.sync(() => server.close()))
})
