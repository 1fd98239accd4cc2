/** `alknet up`: what a node prints, how it ends, and what it says when it cannot start. */
import { createSocket } from "node:dgram"
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Clock, Effect } from "effect"
import { alknet, errorOf, privateFolder, secretFile, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 120_000

const arrange = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  return { folder, home: join(folder, "home"), passphrase: secretFile(folder, "passphrase", "correct horse battery\n") }
})

describe("a node", () => {
  it.live(
    "starts without a question on a fresh home, says who it is, and ends on SIGINT with 130, leaving nothing behind",
    () =>
      Effect.gen(function* () {
        const { home } = yield* arrange
        const node = yield* startNode(home)
        const { addresses, alpns, event, fingerprint, nodeId, ticket } = node.ready
        assert.deepStrictEqual(Object.keys(node.ready), [
          "event",
          "nodeId",
          "fingerprint",
          "addresses",
          "ticket",
          "alpns"
        ])
        assert.strictEqual(event, "ready")
        assert.match(nodeId, /^[a-z0-9]{52}$/)
        assert.match(fingerprint, /^ed25519:[0-9a-f]{64}$/)
        assert.strictEqual(addresses.length, 1)
        assert.match(addresses[0]!, /^127\.0\.0\.1:[1-9]\d*$/)
        assert.match(ticket, /^alk1[a-z0-9]+$/)
        assert.includeMembers([...alpns], ["alknet/call", "alknet/join"])
        assert.strictEqual(statSync(home).mode & 0o777, 0o700)
        assert.strictEqual(statSync(join(home, "control.sock")).mode & 0o777, 0o600)
        assert.match(readFileSync(join(home, "passphrase"), "utf8"), /^[0-9A-Za-z]{32}\n$/)
        assert.include(node.stderr(), "alknet vault show-phrase")

        const started = yield* Clock.currentTimeMillis
        yield* node.signal("SIGINT")
        assert.deepStrictEqual(yield* node.ended, { code: 130, signal: null })
        assert.isBelow((yield* Clock.currentTimeMillis) - started, 2000)
        assert.deepStrictEqual(readdirSync(home).sort(), ["files", "passphrase", "peers.db", "vault"])
      }),
    PATIENT
  )

  it.live(
    "is one for a home: a second is refused, and after kill -9 the next takes over",
    () =>
      Effect.gen(function* () {
        const { home, passphrase } = yield* arrange
        const first = yield* startNode(home, ["--passphrase-file", passphrase])
        const second = yield* alknet(["--home", home, "up", "--listen", "127.0.0.1:0", "--json"])
        assert.strictEqual(second.code, 1)
        assert.strictEqual(errorOf(second).code, "ALREADY_RUNNING")
        assert.include(errorOf(second).message, String(first.pid))
        yield* first.signal("SIGKILL")
        yield* first.ended
        assert.isTrue(existsSync(join(home, "control.sock")))
        const next = yield* startNode(home, ["--passphrase-file", passphrase])
        assert.strictEqual(next.ready.nodeId, first.ready.nodeId)
        yield* next.signal("SIGTERM")
        assert.strictEqual((yield* next.ended).code, 130)
        assert.isFalse(existsSync(join(home, "control.sock")))
      }),
    PATIENT
  )

  it.live(
    "serves what --only says, and says what it cannot serve",
    () =>
      Effect.gen(function* () {
        const { home } = yield* arrange
        const node = yield* startNode(home, ["--only", "call"])
        assert.deepStrictEqual(node.ready.alpns, ["alknet/call"])
        const wrong = yield* alknet(["--home", join(home, "other"), "up", "--only", "teleport", "--json"])
        assert.deepStrictEqual([wrong.code, errorOf(wrong).code], [2, "USAGE"])
      }),
    PATIENT
  )

  it.live(
    "lets strangers call where it was told to, and shows them what is open only",
    () =>
      Effect.gen(function* () {
        const { folder, home } = yield* arrange
        const node = yield* startNode(home, ["--anonymous", "call"])
        const stranger = (...args: ReadonlyArray<string>) =>
          alknet(["--home", join(folder, "stranger"), "call", node.ready.ticket, ...args, "--json"])
        assert.strictEqual((yield* stranger("node/ping")).code, 0)
        const info = JSON.parse((yield* stranger("node/info")).stdout)
        assert.deepStrictEqual(info, { nodeId: node.ready.nodeId })
        assert.strictEqual((yield* stranger("node/status")).code, 3)
      }),
    PATIENT
  )

  it.live(
    "prints for people what each ALPN is for",
    () =>
      Effect.gen(function* () {
        const { home } = yield* arrange
        const node = yield* startNode(home)
        const ran = yield* alknet(["--home", home, "status"])
        assert.include(ran.stdout, node.ready.nodeId)
        for (const alpn of node.ready.alpns) assert.include(ran.stdout, alpn)
        const status = JSON.parse((yield* alknet(["--home", home, "status", "--json"])).stdout)
        assert.strictEqual(status.pid, node.pid)
        assert.strictEqual(status.kind, "up")
        assert.deepStrictEqual(status.connections, [])
        const id = JSON.parse((yield* alknet(["--home", home, "id", "--json"])).stdout)
        const { fingerprint, nodeId, ticket } = node.ready
        assert.deepStrictEqual(id, { nodeId, fingerprint, ticket })
        const qr = yield* alknet(["--home", home, "id", "--qr"])
        assert.include(qr.stdout, "▄")
      }),
    PATIENT
  )
})

describe("a node that cannot start says why in one line", () => {
  const refused = (home: string, ...args: ReadonlyArray<string>) =>
    Effect.gen(function* () {
      const ran = yield* alknet(["--home", home, "up", "--listen", "127.0.0.1:0", "--json", ...args])
      assert.strictEqual(ran.code, 1)
      assert.strictEqual(ran.stdout, "")
      assert.strictEqual(ran.stderr.trim().split("\n").length, 1, ran.stderr)
      const error = errorOf(ran)
      assert.isNotEmpty(error.message)
      assert.isFalse(existsSync(join(home, "control.sock")))
      return error
    })

  it.live(
    "wrong passphrase, a damaged vault, an unreadable config, a home that others can write to",
    () =>
      Effect.gen(function* () {
        const { folder, home, passphrase } = yield* arrange
        yield* alknet(["--home", home, "vault", "create", "--yes", "--passphrase-file", passphrase])
        const vault = readFileSync(join(home, "vault"))
        const wrong = secretFile(folder, "wrong", "not the passphrase\n")
        assert.strictEqual((yield* refused(home, "--passphrase-file", wrong)).code, "WRONG_PASSPHRASE")
        assert.strictEqual((yield* refused(home)).code, "PASSPHRASE_NEEDED")
        writeFileSync(join(home, "alknet.toml"), "\nlisten 4433\n")
        const config = yield* refused(home, "--passphrase-file", passphrase)
        assert.strictEqual(config.code, "CONFIG_INVALID")
        assert.include(config.message, "line 2")
        writeFileSync(join(home, "alknet.toml"), "")
        writeFileSync(join(home, "vault"), vault.subarray(0, vault.length - 3))
        assert.strictEqual((yield* refused(home, "--passphrase-file", passphrase)).code, "VAULT_CORRUPTED")
        assert.isTrue(vault.subarray(0, vault.length - 3).equals(readFileSync(join(home, "vault"))))
      }),
    PATIENT
  )

  it.live(
    "a port that another program has",
    () =>
      Effect.gen(function* () {
        const { home, passphrase } = yield* arrange
        const other = createSocket("udp4")
        yield* Effect.acquireRelease(
          Effect.callback<void>((resume) => {
            other.bind(0, "127.0.0.1", () => resume(Effect.void))
          }),
          () => Effect.callback<void>((resume) => void other.close(() => resume(Effect.void)))
        )
        const address = `127.0.0.1:${other.address().port}`
        const ran = yield* alknet([
          "--home",
          home,
          "up",
          "--listen",
          address,
          "--passphrase-file",
          passphrase,
          "--json",
          "-q"
        ])
        assert.strictEqual(ran.code, 1)
        assert.include(errorOf(ran).message, address)
        assert.deepStrictEqual(readdirSync(home).sort(), ["files", "peers.db", "vault"])
      }),
    PATIENT
  )

  it.live(
    "a home in a folder that cannot be made",
    () =>
      Effect.gen(function* () {
        const { folder, passphrase } = yield* arrange
        const file = join(privateFolder(folder, "x"), "file")
        writeFileSync(file, "")
        assert.strictEqual((yield* refused(join(file, "home"), "--passphrase-file", passphrase)).code, "HOME_UNUSABLE")
      }),
    PATIENT
  )
})

describe("doctor", () => {
  it.live(
    "finds a fresh machine in order, and names what is wrong",
    () =>
      Effect.gen(function* () {
        const { home } = yield* arrange
        privateFolder(home, "")
        writeFileSync(join(home, "alknet.toml"), 'listen = ["127.0.0.1:0"]\n')
        const fine = yield* alknet(["--home", home, "doctor", "--json"])
        assert.strictEqual(fine.code, 0, fine.stdout)
        const { checks, ok } = JSON.parse(fine.stdout)
        assert.isTrue(ok)
        assert.includeMembers(
          checks.map(({ check }: { readonly check: string }) => check),
          ["node", "quic", "argon2", "clock", "home", "vault", "peers", "config", "udp", "ipv6", "port 127.0.0.1:0"]
        )
        writeFileSync(join(home, "alknet.toml"), "nope = 1\n")
        writeFileSync(join(home, "vault"), "no vault\n", { mode: 0o600 })
        const bad = yield* alknet(["--home", home, "doctor"])
        assert.strictEqual(bad.code, 1)
        assert.match(bad.stdout, /^vault +fail /m)
        assert.match(bad.stdout, /^config +fail /m)
        assert.notMatch(bad.stdout + bad.stderr, / {4}at /)
      }),
    PATIENT
  )
})
