/**
 * One session channel: what the client says before it starts (variables, terminal), the start of one program or of SFTP, and
 * then its bytes, its terminal size and its signals until both sides are done.
 *
 * Whether something may start is decided at once, while the request is handled: ssh2 gives no channel any more when the
 * client has already sent its end of input.
 */
import { Effect, type Scope } from "effect"
import type { PseudoTtyInfo, ServerChannel, Session, WindowChangeInfo } from "ssh2"
import { scopesMatch } from "../../../protocol/identity/Scope.ts"
import { formatSocketAddress } from "../../../protocol/SocketAddress.ts"
import type { FileTree } from "../../../services/FileTree.ts"
import type { Principal } from "../../../services/Identity.ts"
import { type Child, type ChildEnd, Shell, type Terminal, type TerminalSize } from "../../../services/Shell.ts"
import { type LiveSession, SshSessions } from "../../../services/SshSessions.ts"
import type { StreamReset } from "../../../services/Transport.ts"
import { writableWhile } from "../../files/ReadOnlyTree.ts"
import { serveSftp } from "../../sftp/Server.ts"
import { isWishedVariable, VARIABLE_MAX_CHARACTERS, VARIABLES_MAX } from "../../shell/Environment.ts"
import { type Carrier, type ChannelStream, fromChannel } from "./ChannelStream.ts"
import type { Caller, Login } from "./Login.ts"
import { type Recording, startRecording } from "./Recording.ts"
import { type Program, programFor, type Wish, WRITE_SCOPE } from "./Rights.ts"

/** What a session needs to know of its connection. */
export interface Surround {
  readonly login: Login
  readonly caller: Caller
  readonly carrier: Carrier
  /** Folder for recordings; undefined: none are made. */
  readonly recordings: string | undefined
  /** Undefined: no files are served. */
  readonly tree: FileTree["Service"] | undefined
  /** Looks up what the peer may do, now. */
  readonly principal: () => Principal | undefined
  readonly run: (session: Effect.Effect<void, never, Shell | SshSessions>) => void
}

/** Longest command that is shown in the list of sessions. */
const SHOWN_MAX = 256
const RECORDED = "This session is recorded.\r\n"

const sizeOf = ({ cols, height, rows, width }: WindowChangeInfo): TerminalSize => ({
  columns: cols,
  rows,
  widthPixels: width,
  heightPixels: height
})

/** Answers the requests of a session that was just opened. */
export const serveSession = (session: Session, around: Surround): void => {
  const environment: Record<string, string> = {}
  let terminal: Terminal | undefined
  let child: Child | undefined
  let recording: Recording | undefined
  let gone = () => {}

  session.on("env", (accept, reject, { key, val }) => {
    const isAllowed =
      isWishedVariable(key) &&
      val.length <= VARIABLE_MAX_CHARACTERS &&
      (key in environment || Object.keys(environment).length < VARIABLES_MAX)
    if (isAllowed) environment[key] = val
    const answer = isAllowed ? accept : reject
    answer?.()
  })
  session.on("pty", (accept, reject, info: PseudoTtyInfo & { readonly term?: string }) => {
    // A client without a name for its terminal, as one that a service started, has one that can do nothing.
    const term = info?.term || "dumb"
    if (!around.login.limits.mayUsePty || !/^[A-Za-z0-9._+-]{1,64}$/.test(term)) return reject?.()
    terminal = { term, size: sizeOf(info) }
    accept?.()
  })
  session.on("window-change", (accept, reject, info) => {
    if (info === undefined || terminal === undefined) return reject?.()
    terminal = { ...terminal, size: sizeOf(info) }
    accept?.()
    const { size } = terminal
    if (child === undefined) return
    around.run(Effect.andThen(child.resize(size), recording?.resized(size) ?? Effect.void))
  })
  session.on("signal", (accept, _reject, { name }) => {
    accept?.()
    if (child !== undefined) around.run(child.signal(name.replace(/^SIG/, "")))
  })
  // After the end of input ssh2 would refuse signals and new window sizes too.
  session.on("end", () => Reflect.set(session, "_ending", false))
  session.on("close", () => gone())

  const start = (accept: (() => ServerChannel) | undefined, reject: (() => void) | undefined, wish: Wish): void => {
    const principal = around.principal()
    const wanted = principal === undefined ? undefined : programFor(principal, around.login.limits, wish)
    const program = wanted?.kind === "sftp" && around.tree === undefined ? undefined : wanted
    const channel = program === undefined ? undefined : accept?.()
    if (program === undefined || channel === undefined) {
      reject?.()
      return
    }
    const onStart = (started: Child, recorded: Recording | undefined) => {
      child = started
      recording = recorded
    }
    around.run(
      Effect.scoped(
        Effect.gen(function* () {
          const stream = yield* fromChannel(channel, around.carrier)
          gone = stream.close
          yield* runProgram(stream, program, around, { environment, terminal: () => terminal, onStart })
        })
      )
    )
  }
  session.on("shell", (accept, reject) => start(accept, reject, { kind: "shell" }))
  session.on("exec", (accept, reject, { command }) => start(accept, reject, { kind: "exec", text: command ?? "" }))
  session.on("subsystem", (accept, reject, { name }) => {
    if (name === "sftp") start(accept, reject, { kind: "sftp" })
    else reject?.()
  })
}

interface Setting {
  readonly environment: Readonly<Record<string, string>>
  readonly terminal: () => Terminal | undefined
  readonly onStart: (child: Child, recording: Recording | undefined) => void
}

const runProgram = Effect.fnUntraced(function* (
  stream: ChannelStream,
  program: Program,
  around: Surround,
  setting: Setting
): Effect.fn.Return<void, never, Shell | SshSessions | Scope.Scope> {
  const sessions = yield* SshSessions
  const { caller, login, recordings } = around
  const { remoteAddress } = caller
  const terminal = setting.terminal()
  const isRecorded = recordings !== undefined && terminal !== undefined && program.kind !== "sftp"
  const live = yield* sessions.start({
    peer: login.peerId,
    kind: program.kind,
    isRecorded,
    ...(remoteAddress === undefined ? {} : { remote: formatSocketAddress(remoteAddress) }),
    ...(program.kind === "exec" ? { command: program.text.slice(0, SHOWN_MAX) } : {})
  })
  const work: Effect.Effect<void, never, Shell | Scope.Scope> =
    program.kind === "sftp"
      ? serveFiles(stream, live, around)
      : Effect.gen(function* () {
          const recording = isRecorded
            ? yield* startRecording(recordings, `${login.peerId}-${live.id}`, terminal)
            : undefined
          if (recording !== undefined) yield* Effect.ignore(stream.write(Buffer.from(RECORDED)))
          yield* runChild(stream, program, live, setting, recording)
        })
  yield* Effect.raceFirst(work, Effect.raceFirst(stream.gone, live.ending))
})

/** The end of a session of files is a success; without a status clients take it for a failure. */
const serveFiles = (
  stream: ChannelStream,
  live: LiveSession,
  { principal, tree }: Surround
): Effect.Effect<void, never, Scope.Scope> =>
  Effect.gen(function* () {
    if (tree === undefined) return
    const mayWrite = Effect.sync(() => scopesMatch(principal()?.scopes ?? [], WRITE_SCOPE))
    const counted = {
      read: Effect.map(stream.read, (bytes) => {
        live.bytesReceived += bytes.length
        return bytes
      }),
      write: (bytes: Uint8Array) => {
        live.bytesSent += bytes.length
        return stream.write(bytes)
      },
      finish: Effect.void
    }
    yield* serveSftp(counted, writableWhile(tree, mayWrite))
    yield* stream.exit((channel) => channel.exit(0))
  }).pipe(Effect.catch((error) => Effect.logDebug("an sftp session ended early", error)))

const runChild = Effect.fnUntraced(function* (
  stream: ChannelStream,
  program: Exclude<Program, { readonly kind: "sftp" }>,
  live: LiveSession,
  setting: Setting,
  recording: Recording | undefined
): Effect.fn.Return<void, never, Shell | Scope.Scope> {
  const shell = yield* Shell
  const request = { command: program.command, terminal: setting.terminal(), environment: setting.environment }
  const child = yield* Effect.catch(shell.start(request), ({ hint, reason }) =>
    Effect.as(
      Effect.ignore(
        Effect.andThen(
          stream.writeError(Buffer.from(`${hint}\n`)),
          stream.exit((channel) => channel.exit(reason === "NotFound" ? 127 : 126))
        )
      ),
      undefined
    )
  )
  if (child === undefined) return
  setting.onStart(child, recording)
  // The size may have changed while it started.
  const now = setting.terminal()
  if (now !== undefined) yield* child.resize(now.size)
  yield* Effect.forkScoped(toChild(stream, child, live))
  const out = fromChild(child.stdout, (bytes) =>
    Effect.andThen(stream.write(bytes), recording?.output(bytes) ?? Effect.void)
  )(live)
  const error = fromChild(child.stderr, stream.writeError)(live)
  yield* Effect.all([out, error], { concurrency: 2, discard: true })
  const end = yield* child.ended
  yield* stream.exit((channel) => tell(channel, end))
})

const tell = (channel: ServerChannel, end: ChildEnd): void =>
  end._tag === "Exited" ? channel.exit(end.code) : channel.exit(end.signal, end.coreDumped, "")

const toChild = (stream: ChannelStream, child: Child, live: LiveSession): Effect.Effect<void> =>
  stream.read.pipe(
    Effect.flatMap((bytes) => {
      live.bytesReceived += bytes.length
      return child.write(bytes)
    }),
    Effect.forever({ disableYield: true }),
    Effect.catch(() => child.endInput)
  )

/** Until its end; what nobody takes any more is dropped, so that the child can end. */
const fromChild =
  (next: Effect.Effect<Uint8Array | undefined>, write: (bytes: Uint8Array) => Effect.Effect<void, StreamReset>) =>
  (live: LiveSession): Effect.Effect<void> =>
    Effect.gen(function* () {
      for (;;) {
        const bytes = yield* next
        if (bytes === undefined) return
        live.bytesSent += bytes.length
        yield* Effect.ignore(write(bytes))
      }
    })
