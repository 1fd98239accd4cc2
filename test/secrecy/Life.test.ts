/**
 * The life of two nodes through the real command at the most verbose log level. Nothing that was printed, logged or shown by
 * the system about its processes holds a secret, but for the answers that exist to show one; no file is open to others.
 */
import { createHash } from "node:crypto"
import { readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, it } from "@effect/vitest"
import { Effect, Result } from "effect"
import { nodeIdFromBytes } from "../../src/protocol/identity/NodeId.ts"
import { specOfRole } from "../../src/protocol/vault/KeyPath.ts"
import { entropyFromSentence, seedFromEntropy } from "../../src/protocol/vault/Mnemonic.ts"
import { publicKeyOf } from "../../src/protocol/vault/PublicKey.ts"
import { deriveSlip10 } from "../../src/protocol/vault/Slip10.ts"
import { secretFile, temporaryFolder } from "../cli/Alknet.ts"
import { Collected, openToOthers, type Seen } from "./Collected.ts"
import { found, type Secrets, secretsOfPhrase, secretText } from "./Secrets.ts"

const PASSPHRASE = "violet harbour 7 lantern"
const NEXT_PASSPHRASE = "granite meadow 8 compass"
const WRONG_PASSPHRASE = "copper orchard 9 thimble"
const SEALED = "sealed-plaintext-of-another-service"
const PAYLOAD = "payload-that-nobody-else-should-read"

const nodeIdOfPhrase = (words: ReadonlyArray<string>) => {
  const seed = seedFromEntropy(Result.getOrThrow(entropyFromSentence(words.join(" "))), new Uint8Array(0))
  const { key } = deriveSlip10(seed, Result.getOrThrow(specOfRole({ _tag: "Node" })).path)
  return Result.getOrThrow(nodeIdFromBytes(publicKeyOf("ed25519", key)))
}

it.live(
  "nothing printed, logged or listed holds a secret, and no file of a home is open to others",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const [a, b, stranger] = [join(folder, "a"), join(folder, "b"), join(folder, "stranger")]
      const own = secretFile(folder, "own", `${PASSPHRASE}\n`)
      const next = secretFile(folder, "next", `${NEXT_PASSPHRASE}\n`)
      const wrong = secretFile(folder, "wrong", `${WRONG_PASSPHRASE}\n`)
      const collected = new Collected()
      /** Runs whose answer is a secret. Everything else of them must hold none. */
      const shows = new Set<Seen>()
      const run = (code: number, args: ReadonlyArray<string>, stdin?: string) =>
        Effect.tap(collected.run(args, stdin), (seen) =>
          Effect.sync(() => assert.strictEqual(seen.code, code, `${seen.command}: ${seen.stderr}`))
        )
      const show = (args: ReadonlyArray<string>) =>
        Effect.map(run(0, args), (seen) => {
          shows.add(seen)
          return JSON.parse(seen.stdout)
        })
      const withOwn = ["--home", a, "--passphrase-file", own]

      const node = yield* collected.keepRunning([...withOwn, "up", "--listen", "127.0.0.1:0", "--json"])
      const ready = JSON.parse(node.stdout)
      const address = ready.addresses[0]

      const { ticket } = yield* show(["--home", a, "invite", "--role", "user", "--json"])
      const { ticket: unused } = yield* show(["--home", a, "invite", "--scope", "call:*", "--json"])
      yield* run(0, ["--home", b, "join", "-", "--name", "a", "--json"], ticket)
      // Used up: the text is in an error's way.
      yield* run(3, ["--home", stranger, "join", "-", "--name", "a"], ticket)
      yield* run(2, ["--home", stranger, "join", "-", "--name", "a"], `${unused.slice(0, -1)}y`)
      yield* run(0, ["--home", b, "call", "a", "services/list", "--json"])
      yield* run(3, ["--home", b, "call", "a", "nothing/here", "-", "--json"], JSON.stringify({ secret: PAYLOAD }))
      yield* run(1, ["--home", b, "call", "a", "services/schema", "-"], JSON.stringify({ secret: PAYLOAD }))
      yield* run(0, ["--home", b, "ping", "a", "-c", "1"])
      yield* run(3, ["--home", stranger, "ping", ready.nodeId, "--addr", address])
      yield* run(3, ["--home", stranger, "call", ready.ticket, "services/list", "--json"])
      yield* run(0, ["--home", b, "unlock", "--for", "10m"])
      yield* run(0, ["--home", b, "call", "a", "node/ping"])
      yield* run(0, ["--home", b, "status"])
      yield* run(0, ["--home", b, "lock"])

      const { key: token } = yield* show(["--home", a, "keys", "add", "--scope", "call:*", "--json"])
      yield* run(0, ["--home", a, "keys", "list"])
      yield* run(0, ["--home", a, "peers", "list", "--json"])
      yield* run(0, ["--home", a, "status", "--json"])
      yield* run(0, ["--home", a, "id"])
      yield* collected.run(["--home", a, "doctor"])
      yield* collected.run(["--home", b, "doctor", "--json"])

      yield* run(0, [...withOwn, "vault", "seal", "service"], SEALED)
      yield* run(0, [...withOwn, "vault", "list"])
      assert.strictEqual((yield* show([...withOwn, "vault", "open", "service", "--json"])).secret, SEALED)
      yield* run(0, [...withOwn, "vault", "status", "--json"])
      const { words } = yield* show([...withOwn, "vault", "show-phrase", "--json"])
      const { words: wordsOfB } = yield* show(["--home", b, "vault", "show-phrase", "--json"])
      const withWrong = ["--home", a, "--passphrase-file", wrong]
      yield* run(1, [...withWrong, "vault", "show-phrase"])
      yield* run(1, [...withWrong, "vault", "open", "service"])
      yield* run(1, ["--home", b, "--passphrase-file", wrong, "up", "--listen", "127.0.0.1:0"])
      yield* run(0, [...withOwn, "vault", "passphrase", "--new-passphrase-file", next])
      yield* run(1, [...withOwn, "vault", "open", "service"])
      assert.deepStrictEqual([openToOthers(a), openToOthers(b), openToOthers(stranger)], [[], [], []])

      const generated = readFileSync(join(b, "passphrase"), "utf8").trim()
      const secrets: Secrets = [
        ...secretsOfPhrase(words),
        ...secretsOfPhrase(wordsOfB),
        ...secretText("passphrase", PASSPHRASE),
        ...secretText("new passphrase", NEXT_PASSPHRASE),
        ...secretText("wrong passphrase", WRONG_PASSPHRASE),
        ...secretText("generated passphrase", generated),
        ...secretText("token", token),
        ["hash of the token", createHash("sha256").update(token).digest("hex")],
        ...secretText("invite", ticket),
        ...secretText("unused invite", unused),
        ["damaged invite", unused.slice(0, -1)],
        ...secretText("sealed secret", SEALED),
        ...secretText("payload", PAYLOAD)
      ]
      // The keys that are looked for are those of the nodes, and the answers that show a secret do show it.
      assert.strictEqual(nodeIdOfPhrase(words), ready.nodeId)
      const shown = [...shows].map(({ stdout }) => stdout).join("\n")
      for (const name of ["words of the phrase", "token", "invite", "unused invite", "sealed secret"]) {
        assert.include(found(secrets, shown), name)
      }
      if (process.platform === "linux") assert.include(node.process, "up")
      for (const seen of collected.runs) {
        const visible = [shows.has(seen) ? "" : seen.stdout, seen.stderr, seen.process].join("\n")
        assert.deepStrictEqual(found(secrets, visible), [], seen.command)
      }
      const printed = collected.runs.reduce((sum, { stderr, stdout }) => sum + stderr.length + stdout.length, 0)
      console.log(`${secrets.length} secrets in ${printed} characters of ${collected.runs.length} runs: none`)
    }).pipe(Effect.scoped),
  240_000
)
