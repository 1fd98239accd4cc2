import { writeFileSync } from "node:fs"
import { inspect } from "node:util"
import { assert, it } from "@effect/vitest"
import { bytesToHex } from "@noble/hashes/utils.js"
import { Cause, Effect, Exit, Layer, Logger, Redacted, References, Tracer } from "effect"
import { memoryStorage } from "../../../src/layers/vault/VaultStorage.ts"
import type { VaultError } from "../../../src/protocol/vault/VaultError.ts"
import * as Errors from "../../../src/protocol/vault/VaultError.ts"
import { decodePayload } from "../../../src/protocol/vault/VaultPayload.ts"
import vectors from "../../vectors/vault.json" with { type: "json" }
import { ABANDON, PASSPHRASE, secret, vaultOf, vaultPath, watched } from "./fixture.ts"

const PLAINTEXT = "sk-very-secret-plaintext-0123456789"
const MNEMONIC_PASSPHRASE = "mnemonic-passphrase-of-mine"
const credential = { purpose: "credential", name: "openai" }

/** Every way in which bytes may turn up in a text. */
const spellings = (bytes: Uint8Array): ReadonlyArray<string> => {
  const hex = bytesToHex(bytes)
  const base64 = Buffer.from(bytes).toString("base64").replaceAll("=", "")
  const decimals = [...bytes]
  const text = new TextDecoder().decode(bytes)
  return [
    hex,
    hex.toUpperCase(),
    base64.slice(0, -1),
    base64.replaceAll("+", "-").replaceAll("/", "_").slice(0, -1),
    decimals.join(","),
    decimals.join(", "),
    text
  ].filter((spelling) => spelling.length >= 8)
}

it.live("VAULT-035 a whole life with every log and span shows no secret, and neither does any error", () =>
  Effect.gen(function* () {
    const output: Array<string> = []
    const secrets: Array<Uint8Array> = []
    const remember = (bytes: Uint8Array) => {
      secrets.push(bytes.slice())
      return bytes
    }
    const loggers = [Logger.formatJson, Logger.formatLogFmt, Logger.formatStructured].map((logger) =>
      Logger.map(logger as Logger.Logger<unknown, unknown>, (line) => {
        output.push(typeof line === "string" ? line : inspect(line, { depth: 20, showHidden: true }))
      })
    )
    const spans: Array<Tracer.Span> = []
    const tracer = Tracer.make({
      span: (options) => {
        const span = new Tracer.NativeSpan(options)
        spans.push(span)
        return span
      }
    })

    const path = yield* vaultPath
    const look = watched(path)
    const life = Effect.gen(function* () {
      const { deriveKey, deriveSeed } = look.parts
      const vault = yield* vaultOf({
        ...look.parts,
        deriveKey: (...input) => Effect.map(deriveKey(...input), remember),
        deriveSeed: (...input) => remember(deriveSeed(...input))
      })
      const errors: Array<VaultError> = []
      const raise = <A>(effect: Effect.Effect<A, VaultError>) =>
        Effect.gen(function* () {
          const exit = yield* Effect.exit(effect)
          assert.isTrue(Exit.isFailure(exit))
          if (Exit.isSuccess(exit)) return
          output.push(Cause.pretty(exit.cause), inspect(exit, { depth: 20, showHidden: true }), JSON.stringify(exit))
          yield* Effect.logTrace("failed", exit.cause)
          errors.push(yield* Effect.flip(effect))
        })
      const words = (shown: ReadonlyArray<string>) =>
        Effect.sync(() => void remember(new TextEncoder().encode(shown.join(" "))))

      yield* raise(vault.unlock(secret(PASSPHRASE)))
      yield* raise(vault.create({ passphrase: secret("short"), show: () => Effect.void }))
      const options = { passphrase: secret(PASSPHRASE), mnemonicPassphrase: secret(MNEMONIC_PASSPHRASE) }
      yield* raise(vault.restore({ ...options, mnemonic: secret(ABANDON.replace("about", "hunter2hunter2")) }))
      yield* vault.create({ ...options, show: words })
      yield* raise(vault.create({ ...options, show: words }))
      yield* raise(vault.unlock(secret(PASSPHRASE)))
      for (const role of [{ _tag: "Node" }, { _tag: "SshHost" }, { _tag: "Mixnet", index: 1 }] as const) {
        yield* Effect.scoped(Effect.map(vault.key(role), (pair) => void remember(Redacted.value(pair.secret))))
      }
      yield* raise(Effect.scoped(vault.key({ _tag: "Device", n: 0 })))
      const blob = yield* vault.encrypt(credential, secret(PLAINTEXT))
      yield* vault.decrypt(credential, blob)
      yield* vault.rotate(credential, blob, 3)
      yield* raise(vault.encrypt(credential, secret(PLAINTEXT), 1))
      yield* raise(vault.encrypt({ ...credential, name: "" }, secret(PLAINTEXT)))
      yield* raise(vault.encrypt(credential, Redacted.make(new Uint8Array(70_000))))
      yield* raise(vault.decrypt({ ...credential, name: "github" }, blob))
      yield* vault.reveal(secret(PASSPHRASE), words)
      yield* vault.lock
      yield* raise(Effect.scoped(vault.key({ _tag: "Node" })))
      yield* raise(vault.unlock(secret(`${PASSPHRASE} not`)))
      yield* vault.changePassphrase({ current: secret(PASSPHRASE), next: secret("the next passphrase") })
      writeFileSync(`${path}.lock`, "1\n")
      yield* raise(vault.changePassphrase({ current: secret("the next passphrase"), next: secret(PASSPHRASE) }))
      writeFileSync(path, vectors.vaultFile.file.replace('"version":1', '"version":9'))
      yield* raise(vault.unlock(secret(PASSPHRASE)))
      writeFileSync(path, `${PLAINTEXT}\n`)
      yield* raise(vault.unlock(secret(PASSPHRASE)))
      writeFileSync(path, "", { mode: 0o600 })
      return errors
    }).pipe(
      Effect.provide(Layer.merge(Logger.layer(loggers), Layer.succeed(References.MinimumLogLevel, "Trace"))),
      Effect.provideService(Tracer.Tracer, tracer),
      Effect.withSpan("life")
    )
    const errors = yield* life

    // The ones that a sound file system and a service without path texts cannot give.
    const made: ReadonlyArray<VaultError> = [
      new Errors.VaultInsecure({ reason: "mode" }),
      new Errors.VaultIo({ step: "open", code: "EIO" }),
      new Errors.InvalidPath({ reason: "text" })
    ]
    const all = [...errors, ...made]
    const tags = Object.keys(Errors).sort()
    assert.deepStrictEqual([...new Set<string>(all.map((error) => error._tag))].sort(), tags)
    for (const error of all) {
      assert.isAbove(error.hint.length, 10, error._tag)
      assert.match(error.message, /^[^\n]{10,120}$/, error._tag)
      output.push(String(error), error.message, error.hint, error.stack ?? "", inspect(error, { showHidden: true }))
    }
    output.push(inspect(spans, { depth: 10, showHidden: true }))
    assert.include(
      spans.map(({ name }) => name),
      "Vault.unlock"
    )

    const texts = [PASSPHRASE, "the next passphrase", MNEMONIC_PASSPHRASE, PLAINTEXT, "hunter2hunter2"]
    assert.isAbove(secrets.length, 10)
    const everything = output.join("\n")
    for (const spelling of [...texts.map((text) => new TextEncoder().encode(text)), ...secrets].flatMap(spellings)) {
      assert.isFalse(everything.includes(spelling))
    }
  })
)

it.live("VAULT-036 secrets and key pairs show nothing in any print", () =>
  Effect.gen(function* () {
    const vault = yield* vaultOf(watched("/unused", { storage: memoryStorage() }).parts)
    yield* vault.restore({ passphrase: secret(PASSPHRASE), mnemonic: secret(ABANDON) })
    const pair = yield* vault.key({ _tag: "Node" })
    const bytes = Redacted.value(pair.secret)
    for (const value of [pair, pair.secret, { deep: [pair] }, vault]) {
      const prints = [
        String(value),
        `${value}`,
        JSON.stringify(value),
        inspect(value, { depth: 20, showHidden: true, getters: true })
      ]
      try {
        prints.push(inspect(structuredClone(value), { depth: 20, showHidden: true }))
      } catch {
        // What cannot be cloned shows nothing either.
      }
      for (const print of prints) for (const spelling of spellings(bytes)) assert.notInclude(print, spelling)
    }
    assert.include(inspect(pair, { showHidden: true }), "<redacted")
    assert.include(JSON.stringify(pair), "<redacted")
  })
)

it("a damaged payload gives no part of itself away", () => {
  const error = decodePayload(new TextEncoder().encode(PLAINTEXT.padEnd(64, "x")))
  assert.notInclude(inspect(error, { depth: 10 }), "secret")
})
