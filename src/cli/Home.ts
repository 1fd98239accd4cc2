/**
 * The home of a node: the folder that holds its vault, peers, config and the socket of the running process. One home is
 * one node.
 */
import { constants } from "node:fs"
import { access, chmod, mkdir, stat } from "node:fs/promises"
import { homedir } from "node:os"
import { join, resolve } from "node:path"
import { Context, Effect, Layer } from "effect"
import { Failure } from "./Failure.ts"
import { settings } from "./Globals.ts"

/** `$XDG_DATA_HOME/alknet`, else `~/.local/share/alknet`. */
export const defaultHome = (environment: NodeJS.ProcessEnv = process.env): string => {
  const data = environment["XDG_DATA_HOME"]
  return join(data?.startsWith("/") === true ? data : join(homedir(), ".local", "share"), "alknet")
}

export class Home extends Context.Service<
  Home,
  {
    readonly directory: string
    readonly vault: string
    readonly peers: string
    readonly credentials: string
    readonly config: string
    /** The generated passphrase of a node that nobody gave an own one; mode 0600. */
    readonly passphrase: string
    readonly controlSocket: string
    /** What SFTP shows where the config names no other folder. */
    readonly files: string
    /** Makes the folder (0700) where it is missing. */
    readonly prepare: Effect.Effect<void, Failure>
  }
>()("alknet/cli/Home") {
  static readonly layer = Layer.effect(
    this,
    Effect.map(settings, ({ home }) => Home.at(resolve(home ?? defaultHome())))
  )

  static at(directory: string): Home["Service"] {
    return Home.of({
      directory,
      vault: join(directory, "vault"),
      peers: join(directory, "peers.db"),
      credentials: join(directory, "credentials.db"),
      config: join(directory, "alknet.toml"),
      passphrase: join(directory, "passphrase"),
      controlSocket: join(directory, "control.sock"),
      files: join(directory, "files"),
      prepare: prepareDirectory(directory)
    })
  }
}

const unusable = (directory: string, why: string, hint: string) =>
  new Failure({ code: "HOME_UNUSABLE", message: `the home ${directory} ${why}`, hint, exit: 1 })

const errorCode = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "unknown error"

const prepareDirectory = (directory: string): Effect.Effect<void, Failure> =>
  Effect.gen(function* () {
    const made = yield* Effect.tryPromise({
      try: () => mkdir(directory, { recursive: true, mode: 0o700 }),
      catch: (error) => unusable(directory, `cannot be made (${errorCode(error)})`, "give another one with --home")
    })
    const found = yield* Effect.tryPromise({
      try: () => stat(directory),
      catch: (error) => unusable(directory, `cannot be read (${errorCode(error)})`, "give another one with --home")
    })
    if (!found.isDirectory()) {
      return yield* unusable(directory, "is not a folder", "give another one with --home")
    }
    // A umask can only take rights away, so a folder that was just made may lack the owner's own.
    if (made !== undefined) {
      yield* Effect.tryPromise({
        try: () => chmod(directory, 0o700),
        catch: (error) => unusable(directory, `cannot be protected (${errorCode(error)})`, "check the file system")
      })
    } else if (process.platform !== "win32" && (found.mode & 0o022) !== 0) {
      return yield* unusable(directory, "can be written by others", `run: chmod 700 ${directory}`)
    }
    yield* Effect.tryPromise({
      try: () => access(directory, constants.W_OK),
      catch: () => unusable(directory, "cannot be written", "check who owns it, or give another one with --home")
    })
  })
