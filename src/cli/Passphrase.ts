/**
 * Where the passphrase of the vault comes from, in this order: `--passphrase-file`; the file `passphrase` in the home, which
 * holds the generated passphrase of a node that nobody gave an own one; a prompt without echo. Never an argument or the
 * environment (VAULT-R03). A running `up` or `unlock` is asked first, by whoever needs an endpoint and not the vault.
 */
import { randomBytes } from "node:crypto"
import { existsSync } from "node:fs"
import { open, unlink } from "node:fs/promises"
import { Effect, Redacted } from "effect"
import { readSecretFile } from "../layers/vault/SecretFile.ts"
import { VaultIo } from "../protocol/vault/VaultError.ts"
import type { Secret } from "../services/Vault.ts"
import { failed } from "./Failure.ts"
import { settings } from "./Globals.ts"
import { Home } from "./Home.ts"
import { Output } from "./Output.ts"
import { askSecret, canAsk } from "./Prompt.ts"

/** Characters of a generated passphrase: over 190 bits. */
const GENERATED_LENGTH = 32
const BASE62 = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
/** Bytes from here on are drawn again, so that no character is favoured. */
const UNBIASED = 248

const needed = (what: string) =>
  failed("PASSPHRASE_NEEDED", `${what} is needed`, "give --passphrase-file PATH, or run it on a terminal")

/** The passphrase of the vault that exists. */
export const currentPassphrase = Effect.gen(function* () {
  const { passphraseFile } = yield* settings
  const home = yield* Home
  if (passphraseFile !== undefined) return yield* readSecretFile(passphraseFile)
  if (existsSync(home.passphrase)) return yield* readSecretFile(home.passphrase)
  if (canAsk()) return yield* askSecret("Passphrase of the vault: ")
  return yield* needed("the passphrase of the vault")
})

const sameBytes = (left: Secret, right: Secret): boolean =>
  Buffer.from(Redacted.value(left)).equals(Redacted.value(right))

/** Asks twice for a passphrase to be. */
export const askNewPassphrase = Effect.gen(function* () {
  if (!canAsk()) return yield* needed("a new passphrase")
  const first = yield* askSecret("New passphrase (at least 8 characters): ")
  const second = yield* askSecret("The same again: ")
  if (!sameBytes(first, second)) {
    return yield* failed("PASSPHRASES_DIFFER", "the two passphrases are not the same", "nothing was changed; try again")
  }
  return first
})

/** The passphrase of a vault that is about to be made. */
export const newPassphrase = Effect.gen(function* () {
  const { passphraseFile } = yield* settings
  return passphraseFile === undefined ? yield* askNewPassphrase : yield* readSecretFile(passphraseFile)
})

const generate = (): string => {
  let text = ""
  while (text.length < GENERATED_LENGTH) {
    for (const byte of randomBytes(GENERATED_LENGTH)) {
      if (byte < UNBIASED && text.length < GENERATED_LENGTH) text += BASE62[byte % BASE62.length]
    }
  }
  return text
}

const io = (step: string) => (error: unknown) =>
  new VaultIo({
    step,
    code: typeof error === "object" && error !== null && "code" in error ? String(error.code) : "UNKNOWN"
  })

/** Makes a passphrase and keeps it in the home, 0600. One that is there already, of a first start that was cut short, is used. */
export const keepGeneratedPassphrase = Effect.gen(function* () {
  const home = yield* Home
  if (existsSync(home.passphrase)) {
    const kept = yield* readSecretFile(home.passphrase)
    if (Redacted.value(kept).length > 0) return kept
    // The process was killed before it wrote: no vault was made with it.
    yield* Effect.tryPromise({ try: () => unlink(home.passphrase), catch: io("remove") })
  }
  yield* Effect.scoped(
    Effect.gen(function* () {
      const file = yield* Effect.acquireRelease(
        Effect.tryPromise({ try: () => open(home.passphrase, "wx", 0o600), catch: io("create") }),
        (handle) => Effect.ignore(Effect.tryPromise(() => handle.close()))
      )
      yield* Effect.tryPromise({ try: () => file.writeFile(`${generate()}\n`), catch: io("write") })
      yield* Effect.tryPromise({ try: () => file.sync(), catch: io("sync") })
    })
  )
  return yield* readSecretFile(home.passphrase)
})

/** Removes a generated passphrase after an own one was set, or one that a first start left behind before it was cut short. */
export const forgetGeneratedPassphrase = Effect.gen(function* () {
  const home = yield* Home
  const output = yield* Output
  if (!existsSync(home.passphrase)) return
  yield* Effect.tryPromise({ try: () => unlink(home.passphrase), catch: io("remove") })
  yield* output.note(`${home.passphrase} held a generated passphrase and was removed`)
})
