/**
 * Reading a secret that a person or a script hands over: from a file that nobody else can read, or from standard input
 * (VAULT-R03, VAULT-R04). Never from an argument or the environment, where other processes can see it.
 *
 * Exactly one line end (LF or CRLF) is removed from the end, because editors and `echo` add one; nothing else is changed.
 */
import { Effect, Redacted } from "effect"
import type { VaultInsecure } from "../../protocol/vault/VaultError.ts"
import { VaultIo } from "../../protocol/vault/VaultError.ts"
import type { Secret } from "../../services/Vault.ts"
import { codeOf, readSecureFile } from "./SecureFile.ts"

/** Longest secret that is read: the largest credential, and its line end. */
export const SECRET_MAX_BYTES = 65_536 + 2

/** Names standard input in the place of a path. */
export const STANDARD_INPUT = "-"

/**
 * The secret in the file at `path`, which must pass the checks of `SecureFile`; `-` reads standard input to its end. The bytes
 * belong to the caller.
 */
export const readSecretFile = (path: string): Effect.Effect<Secret, VaultInsecure | VaultIo> =>
  path === STANDARD_INPUT
    ? readSecretStream(process.stdin)
    : Effect.map(readSecureFile(path, { maxBytes: SECRET_MAX_BYTES, subject: "secret file" }), toSecret)

/** The secret that a stream gives until it ends. */
export const readSecretStream = (input: NodeJS.ReadableStream): Effect.Effect<Secret, VaultIo> =>
  Effect.callback<Secret, VaultIo>((resume) => {
    const held = new Uint8Array(SECRET_MAX_BYTES)
    let filled = 0
    const settle = (outcome: () => Effect.Effect<Secret, VaultIo>) => {
      input.off("data", onData).off("end", onEnd).off("error", onError).pause()
      const result = outcome()
      held.fill(0)
      resume(result)
    }
    const onData = (chunk: Uint8Array | string) => {
      const bytes = typeof chunk === "string" ? new TextEncoder().encode(chunk) : chunk
      if (filled + bytes.length > held.length) {
        settle(() => Effect.fail(new VaultIo({ step: "read", code: "EFBIG" })))
      } else {
        held.set(bytes, filled)
        filled += bytes.length
      }
      bytes.fill(0)
    }
    const onEnd = () => settle(() => Effect.succeed(toSecret(held.subarray(0, filled))))
    const onError = (cause: Error) => settle(() => Effect.fail(new VaultIo({ step: "read", code: codeOf(cause) })))
    if ("readableEnded" in input && input.readableEnded === true) return onEnd()
    input.on("data", onData).on("end", onEnd).on("error", onError)
    return Effect.sync(() => {
      input.off("data", onData).off("end", onEnd).off("error", onError).pause()
      held.fill(0)
    })
  })

/** A copy without its one line end; the bytes given are wiped. */
const toSecret = (bytes: Uint8Array): Secret => {
  const [last, beforeLast] = [bytes.at(-1), bytes.at(-2)]
  const lineEnd = last !== LF ? 0 : beforeLast === CR ? 2 : 1
  const secret = bytes.slice(0, bytes.length - lineEnd)
  bytes.fill(0)
  return Redacted.make(secret)
}

const LF = 0x0a
const CR = 0x0d
