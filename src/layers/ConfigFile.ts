/**
 * `alknet.toml` on disk. A file that is not there is an empty one; it is written whole, by rename, so that a crash leaves
 * the old or the new text.
 */
import { randomBytes } from "node:crypto"
import { open, rename, unlink } from "node:fs/promises"
import { Effect, Schema } from "effect"
import { CONFIG_MAX_BYTES, type Config, type ConfigInvalid, parseConfig } from "../protocol/Config.ts"

export class ConfigFileError extends Schema.TaggedError<ConfigFileError>()("ConfigFileError", {
  path: Schema.String,
  /** A code of the operating system, `TooLarge`, or `Encoding`. */
  reason: Schema.String
}) {
  override get message() {
    const causes: Readonly<Record<string, string>> = {
      TooLarge: "is larger than 64 KiB",
      Encoding: "is not UTF-8",
      EISDIR: "is a folder"
    }
    return `the config file ${this.path} ${causes[this.reason] ?? `cannot be used (${this.reason})`}`
  }
  get hint() {
    return "correct or remove it; every key has a default"
  }
}

const codeOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "code" in error ? String(error.code) : "unknown error"

/** The text of the file; empty where there is none. */
export const readConfigText = Effect.fn("ConfigFile.readText")(function* (
  path: string
): Effect.fn.Return<string, ConfigFileError> {
  const failure = (reason: string) => new ConfigFileError({ path, reason })
  const read = Effect.scoped(
    Effect.gen(function* () {
      const file = yield* Effect.acquireRelease(
        Effect.tryPromise({ try: () => open(path, "r"), catch: (error) => failure(codeOf(error)) }),
        (handle) => Effect.ignore(Effect.tryPromise(() => handle.close()))
      )
      const buffer = new Uint8Array(CONFIG_MAX_BYTES + 1)
      let length = 0
      while (length < buffer.length) {
        const { bytesRead } = yield* Effect.tryPromise({
          try: () => file.read(buffer, length, buffer.length - length),
          catch: (error) => failure(codeOf(error))
        })
        if (bytesRead === 0) break
        length += bytesRead
      }
      if (length > CONFIG_MAX_BYTES) return yield* failure("TooLarge")
      return yield* Effect.try({
        try: () => new TextDecoder("utf-8", { fatal: true }).decode(buffer.subarray(0, length)),
        catch: () => failure("Encoding")
      })
    })
  )
  return yield* Effect.catch(read, (error) => (error.reason === "ENOENT" ? Effect.succeed("") : Effect.fail(error)))
})

/** What the file says. */
export const readConfig = (path: string): Effect.Effect<Config, ConfigFileError | ConfigInvalid> =>
  Effect.flatMap(readConfigText(path), (text) => Effect.fromResult(parseConfig(text)))

/** Writes the whole text, which must be a valid config. */
export const writeConfigText = Effect.fn("ConfigFile.writeText")(function* (
  path: string,
  text: string
): Effect.fn.Return<void, ConfigFileError | ConfigInvalid> {
  yield* Effect.fromResult(parseConfig(text))
  const step = <A>(run: () => Promise<A>) =>
    Effect.tryPromise({ try: run, catch: (error) => new ConfigFileError({ path, reason: codeOf(error) }) })
  const temporary = `${path}.${randomBytes(8).toString("hex")}.tmp`
  const write = Effect.scoped(
    Effect.gen(function* () {
      const file = yield* Effect.acquireRelease(
        step(() => open(temporary, "wx", 0o600)),
        (handle) => Effect.ignore(Effect.tryPromise(() => handle.close()))
      )
      yield* step(() => file.writeFile(text))
      yield* step(() => file.sync())
      yield* step(() => rename(temporary, path))
    })
  )
  yield* Effect.onError(write, () => Effect.ignore(Effect.tryPromise(() => unlink(temporary))))
})
