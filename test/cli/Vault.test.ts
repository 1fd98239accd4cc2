/** `alknet vault …`, with passphrases from files and standard input. */
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { alknet, errorOf, secretFile, temporaryFolder } from "./Alknet.ts"

const WORDS = `${"abandon ".repeat(11)}about`
const NODE_ID = "h6gnq3i81majz9gmkfru14fcgete84gorgtoya5ajsyg1kmsf5gy"

const arrange = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const home = join(folder, "home")
  const first = secretFile(folder, "first", "the first passphrase\r\n")
  const second = secretFile(folder, "second", "another passphrase")
  const vault = (...args: ReadonlyArray<string>) => alknet(["--home", home, "vault", ...args])
  return { folder, home, first, second, vault }
})

/** Each command is a process of its own; a busy machine starts few of them a second. */
const PATIENT = 120_000

describe("the vault", () => {
  it.live(
    "create shows the phrase once, restore makes the same node of it",
    () =>
      Effect.gen(function* () {
        const { first, folder, home, vault } = yield* arrange
        const created = yield* vault("create", "--yes", "--json", "--passphrase-file", first)
        assert.strictEqual(created.code, 0, created.stderr)
        const { words } = JSON.parse(created.stdout)
        assert.strictEqual(words.length, 24)
        assert.strictEqual(statSync(join(home, "vault")).mode & 0o777, 0o600)
        assert.strictEqual(statSync(home).mode & 0o777, 0o700)
        const shown = yield* vault("show-phrase", "--json", "--passphrase-file", first)
        assert.deepStrictEqual(JSON.parse(shown.stdout), { words })
        const status = JSON.parse((yield* vault("status", "--json")).stdout)
        assert.deepStrictEqual([status.exists, status.generatedPassphrase], [true, false])

        const phrase = secretFile(folder, "phrase", words.join(" ").toUpperCase())
        const other = join(folder, "other")
        const restored = yield* alknet(
          ["--home", other, "vault", "restore", "--phrase-file", phrase, "--passphrase-file", "-", "--json"],
          { stdin: "a third passphrase\n" }
        )
        assert.strictEqual(JSON.parse(restored.stdout).nodeId, status.nodeId)
        const id = JSON.parse((yield* alknet(["--home", other, "id", "--json"])).stdout)
        assert.strictEqual(id.nodeId, status.nodeId)
        assert.match(id.fingerprint, /^ed25519:[0-9a-f]{64}$/)
        assert.match(id.ticket, /^alk1/)
      }),
    PATIENT
  )

  it.live(
    "restores the published phrase to its published node",
    () =>
      Effect.gen(function* () {
        const { first, folder, vault } = yield* arrange
        const phrase = secretFile(folder, "phrase", WORDS)
        const ran = yield* vault("restore", "--phrase-file", phrase, "--passphrase-file", first, "--json")
        assert.strictEqual(JSON.parse(ran.stdout).nodeId, NODE_ID)
      }),
    PATIENT
  )

  it.live(
    "another passphrase opens the same vault, and the old one does not any more",
    () =>
      Effect.gen(function* () {
        const { first, second, vault } = yield* arrange
        yield* vault("create", "--yes", "--passphrase-file", first)
        const before = JSON.parse((yield* vault("status", "--json")).stdout).nodeId
        assert.strictEqual(
          (yield* vault("passphrase", "--passphrase-file", first, "--new-passphrase-file", second)).code,
          0
        )
        const old = yield* vault("show-phrase", "--json", "--passphrase-file", first)
        assert.deepStrictEqual([old.code, errorOf(old).code], [1, "WRONG_PASSPHRASE"])
        assert.strictEqual((yield* vault("show-phrase", "--passphrase-file", second)).code, 0)
        assert.strictEqual(JSON.parse((yield* vault("status", "--json")).stdout).nodeId, before)
      }),
    PATIENT
  )

  it.live(
    "VAULT-044 credentials are sealed, listed, opened byte by byte and rotated; a damaged one is named",
    () =>
      Effect.gen(function* () {
        const { first, vault, home } = yield* arrange
        yield* vault("create", "--yes", "--passphrase-file", first)
        const secret = Buffer.from("s3cret \u00ff\n\n")
        const sealed = yield* alknet(["--home", home, "vault", "seal", "github", "--passphrase-file", first], {
          stdin: secret
        })
        assert.strictEqual(sealed.code, 0, sealed.stderr)
        const again = yield* alknet(["--home", home, "vault", "seal", "github", "--passphrase-file", first, "--json"], {
          stdin: "x"
        })
        assert.strictEqual(errorOf(again).code, "CREDENTIAL_EXISTS")
        // One line end of an input is its own.
        const opened = yield* vault("open", "github", "--passphrase-file", first)
        assert.strictEqual(opened.stdout, "s3cret \u00ff\n")
        assert.deepStrictEqual(JSON.parse((yield* vault("list", "--json")).stdout), [
          { purpose: "credential", name: "github" }
        ])
        const rotated = yield* vault("rotate", "--to", "5", "--json", "--passphrase-file", first)
        assert.deepStrictEqual(JSON.parse(rotated.stdout), { rotated: ["credential/github"], skipped: [], failed: [] })
        const back = yield* vault("rotate", "--to", "3", "--json", "--passphrase-file", first)
        assert.strictEqual(back.code, 1)
        assert.deepStrictEqual(JSON.parse(back.stdout).failed, ["credential/github"])
        const absent = yield* vault("open", "nope", "--json", "--passphrase-file", first)
        assert.strictEqual(errorOf(absent).code, "CREDENTIAL_ABSENT")
      }),
    PATIENT
  )

  it.live(
    "VAULT-048 each error is one sentence with an exit code that is not 0, and nothing is lost",
    () =>
      Effect.gen(function* () {
        const { first, second, folder, home, vault } = yield* arrange
        const check = (
          code: string,
          ran: { readonly code: number | null; readonly stderr: string; readonly stdout: string }
        ) => {
          assert.strictEqual(ran.code, 1, code)
          assert.strictEqual(ran.stdout, "", code)
          assert.strictEqual(ran.stderr.trim().split("\n").length, 1, ran.stderr)
          assert.strictEqual(errorOf({ ...ran }).code, code)
          assert.notMatch(ran.stderr, / {4}at |node_modules|\.ts:/)
        }
        check("VAULT_ABSENT", yield* vault("show-phrase", "--json", "--passphrase-file", first))
        check("PASSPHRASE_NEEDED", yield* vault("create", "--json"))
        const short = secretFile(folder, "short", "1234567\n")
        check("PASSPHRASE_REJECTED", yield* vault("create", "--json", "--yes", "--passphrase-file", short))
        const phrase = secretFile(folder, "phrase", "abandon abandon nonsense")
        check(
          "MNEMONIC_INVALID",
          yield* vault("restore", "--json", "--phrase-file", phrase, "--passphrase-file", first)
        )
        yield* vault("create", "--yes", "--passphrase-file", first)
        const bytes = readFileSync(join(home, "vault"))
        check("VAULT_EXISTS", yield* vault("create", "--json", "--yes", "--passphrase-file", first))
        check("WRONG_PASSPHRASE", yield* vault("show-phrase", "--json", "--passphrase-file", second))
        check("PASSPHRASE_NEEDED", yield* vault("show-phrase", "--json"))
        check("VAULT_IO", yield* vault("show-phrase", "--json", "--passphrase-file", join(folder, "nothing")))
        assert.isTrue(bytes.equals(readFileSync(join(home, "vault"))))
        writeFileSync(join(home, "vault"), Buffer.concat([bytes, Buffer.from("more\n")]))
        check("VAULT_CORRUPTED", yield* vault("show-phrase", "--json", "--passphrase-file", first))
      }),
    PATIENT
  )

  it.live(
    "VAULT-046 a passphrase is not read from an argument, the environment or a file that others can read",
    () =>
      Effect.gen(function* () {
        const { first, folder, vault } = yield* arrange
        yield* vault("create", "--yes", "--passphrase-file", first)
        assert.strictEqual((yield* vault("show-phrase", "--passphrase", "the first passphrase")).code, 2)
        const open = join(folder, "open")
        writeFileSync(open, "the first passphrase", { mode: 0o644 })
        const ran = yield* vault("show-phrase", "--json", "--passphrase-file", open)
        assert.strictEqual(errorOf(ran).code, "VAULT_INSECURE")
      }),
    PATIENT
  )

  it.live(
    "a generated passphrase is used without a question and removed when an own one is set",
    () =>
      Effect.gen(function* () {
        const { home, second, vault } = yield* arrange
        const ran = yield* alknet(["--home", home, "invite", "--role", "guest", "--json"])
        assert.strictEqual(ran.code, 0, ran.stderr)
        const path = join(home, "passphrase")
        assert.strictEqual(statSync(path).mode & 0o777, 0o600)
        assert.match(readFileSync(path, "utf8"), /^[0-9A-Za-z]{32}\n$/)
        assert.include(ran.stderr, "alknet vault passphrase")
        assert.strictEqual((yield* vault("show-phrase")).code, 0)
        assert.isTrue(JSON.parse((yield* vault("status", "--json")).stdout).generatedPassphrase)
        assert.strictEqual((yield* vault("passphrase", "--new-passphrase-file", second)).code, 0)
        assert.isFalse(existsSync(path))
        assert.strictEqual((yield* vault("show-phrase", "--passphrase-file", second)).code, 0)
      }),
    PATIENT
  )
})
