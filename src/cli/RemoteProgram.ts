/**
 * A program of another node with the streams of this process: with a terminal, which is raw meanwhile and as it was
 * afterwards whatever happened, or with plain streams. Ends as the program does.
 */
import { constants } from "node:os"
import { Effect, type Scope } from "effect"
import type { Client, ClientChannel, PseudoTtyOptions } from "ssh2"
import { SshClientError } from "../layers/ssh/SshClient.ts"
import { makeEscapeReader } from "./EscapeKeys.ts"
import { RemoteExit } from "./Failure.ts"

/** What shells say of a program that a signal ended. */
const statusOfSignal = (name: string): number => {
  const number = Object.entries(constants.signals).find(([one]) => one === `SIG${name}` || one === name)?.[1]
  return 128 + (number ?? 127)
}

const size = () => ({ rows: process.stdout.rows ?? 24, cols: process.stdout.columns ?? 80 })

const terminal = (): PseudoTtyOptions => ({ ...size(), term: process.env["TERM"] ?? "dumb", width: 0, height: 0 })

/** What the other side takes of the environment. */
const language = (): NodeJS.ProcessEnv =>
  Object.fromEntries(Object.entries(process.env).filter(([name]) => name === "LANG" || name.startsWith("LC_")))

export interface RemoteProgramOptions {
  /** Undefined: the login shell. */
  readonly command: string | undefined
  readonly hasTerminal: boolean
}

const request = (client: Client, { command, hasTerminal }: RemoteProgramOptions) =>
  Effect.callback<ClientChannel, SshClientError>((resume) => {
    const opened = (error: Error | undefined, channel: ClientChannel) =>
      resume(error === undefined ? Effect.succeed(channel) : Effect.fail(new SshClientError({ reason: "Refused" })))
    const env = language()
    try {
      if (command !== undefined) client.exec(command, hasTerminal ? { env, pty: terminal() } : { env }, opened)
      else client.shell(hasTerminal ? terminal() : false, { env }, opened)
    } catch {
      resume(Effect.fail(new SshClientError({ reason: "Lost" })))
    }
  })

/** No line editing, no echo and no signals here: every key goes to the other side. */
const rawTerminal: Effect.Effect<void, never, Scope.Scope> = Effect.acquireRelease(
  Effect.sync(() => {
    const { stdin } = process
    const wasRaw = stdin.isRaw
    stdin.setRawMode(true)
    return wasRaw
  }),
  (wasRaw) => Effect.sync(() => void process.stdin.setRawMode(wasRaw))
)

/** Passes input on no faster than it is taken, and its end. */
const passInput = (channel: ClientChannel, hasEscapes: boolean, onEscape: () => void): (() => void) => {
  const { stdin } = process
  const read = makeEscapeReader()
  const onData = (chunk: Uint8Array) => {
    const { bytes, isEnd } = hasEscapes ? read(chunk) : { bytes: chunk, isEnd: false }
    if (bytes.length > 0 && channel.writable && !channel.write(bytes)) stdin.pause()
    if (isEnd) onEscape()
  }
  const onDrain = () => void stdin.resume()
  const onEnd = () => void channel.end()
  stdin.on("data", onData).on("end", onEnd)
  channel.on("drain", onDrain)
  return () => {
    stdin.off("data", onData).off("end", onEnd).pause()
    channel.off("drain", onDrain)
  }
}

/** Completes with the status when the program has ended and all that it said is written. */
const attached = (client: Client, channel: ClientChannel, hasTerminal: boolean) =>
  Effect.callback<number, SshClientError>((resume) => {
    let status: number | undefined
    let open = 3
    // Also without a status: then the connection has gone, or the escape was typed.
    const over = () => {
      if (--open > 0) return
      process.stdout.write("", () => {
        resume(status === undefined ? Effect.fail(new SshClientError({ reason: "Lost" })) : Effect.succeed(status))
      })
    }
    const left = () => resume(Effect.succeed(255))
    const stopInput = passInput(channel, hasTerminal, left)
    const resize = () => {
      const { cols, rows } = size()
      if (channel.writable) channel.setWindow(rows, cols, 0, 0)
    }
    if (hasTerminal) process.stdout.on("resize", resize)
    channel.on("exit", (code: number | null, signal?: string) => {
      status = code ?? statusOfSignal(signal ?? "")
    })
    channel.on("error", () => {})
    channel.once("close", over)
    channel.once("end", over)
    channel.stderr.once("end", over)
    client.once("close", () => resume(Effect.fail(new SshClientError({ reason: "Lost" }))))
    channel.pipe(process.stdout, { end: false })
    channel.stderr.pipe(process.stderr, { end: false })
    return Effect.sync(() => {
      stopInput()
      process.stdout.off("resize", resize)
    })
  })

/** Runs it to its end; fails with `RemoteExit` where the status is not 0. */
export const runRemote = (
  client: Client,
  options: RemoteProgramOptions
): Effect.Effect<void, SshClientError | RemoteExit> =>
  Effect.gen(function* () {
    const channel = yield* request(client, options)
    const hasTerminal = options.hasTerminal && process.stdin.isTTY === true
    if (hasTerminal) yield* rawTerminal
    const status = yield* attached(client, channel, hasTerminal).pipe(
      Effect.ensuring(Effect.sync(() => process.stdin.pause()))
    )
    if (status !== 0) return yield* new RemoteExit({ status })
  }).pipe(Effect.scoped)
