/** Two nodes and a stranger, as a user types it: invite, join, call, ping, proxy, unlock, peers, keys. */
import { existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Fiber, Layer } from "effect"
import { alknet, arrangePair, errorOf, spawnAlknet } from "./Alknet.ts"

const PATIENT = 120_000

/** Arranged once for all tests of this file; they leave it as they found it. */
class Pair extends Context.Service<Pair, Effect.Success<typeof arrangePair>>()("test/Pair") {
  static readonly layer = Layer.effect(this, arrangePair)
}

const NOBODY = "h6gnq3i81majz9gmkfru14fcgete84gorgtoya5ajsyg1kmsf5gy"

layer(Pair.layer, { excludeTestServices: true, timeout: PATIENT })("a pair of nodes", (it) => {
  it.effect(
    "invite and join pin both directions, with the shapes that are documented",
    () =>
      Effect.gen(function* () {
        const { a, b, invited, joined, node } = yield* Pair
        const invite = JSON.parse(invited.stdout)
        assert.deepStrictEqual(Object.keys(invite), ["ticket", "expires", "role", "scopes"])
        assert.strictEqual(invite.role, "user")
        assert.isAbove(invite.expires, Date.now() / 1000)
        assert.strictEqual(joined.code, 0, joined.stderr)
        const { knownAs, name, nodeId } = JSON.parse(joined.stdout)
        assert.deepStrictEqual([name, nodeId], ["a", node.ready.nodeId])
        const there = JSON.parse((yield* alknet(["--home", a, "peers", "list", "--json"])).stdout)
        assert.deepStrictEqual(Object.keys(there[0]), ["name", "nodeId", "roles", "scopes", "enabled", "lastSeen"])
        assert.deepStrictEqual([there[0].name, there[0].roles, there[0].enabled], [knownAs, ["user"], true])
        const here = JSON.parse((yield* alknet(["--home", b, "peers", "list", "--json"])).stdout)
        assert.deepStrictEqual([here.length, here[0].nodeId, here[0].scopes], [1, node.ready.nodeId, []])
      }),
    PATIENT
  )

  it.effect(
    "a call answers with the output itself",
    () =>
      Effect.gen(function* () {
        const { b } = yield* Pair
        const ran = yield* alknet(["--home", b, "call", "a", "services/list", "--json"])
        assert.strictEqual(ran.code, 0, ran.stderr)
        const names = JSON.parse(ran.stdout).operations.map((one: { readonly name: string }) => one.name)
        assert.includeMembers(names, ["node/info", "node/ping"])
        assert.strictEqual(ran.stderr, "")
        const ops = JSON.parse((yield* alknet(["--home", b, "ops", "a", "--json"])).stdout)
        assert.deepStrictEqual(Object.keys(ops[0]), ["name", "namespace", "op_type"])
        const schema = yield* alknet(["--home", b, "ops", "a", "node/info", "--json"])
        assert.strictEqual(JSON.parse(schema.stdout).name, "node/info")
        const input = yield* alknet(["--home", b, "call", "a", "services/schema", "-", "--json"], {
          stdin: '{"name":"node/ping"}'
        })
        assert.strictEqual(JSON.parse(input.stdout).name, "node/ping")
      }),
    PATIENT
  )

  it.effect(
    "ping tells times and transport",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Pair
        const ran = yield* alknet(["--home", b, "ping", "a", "-c", "2", "--json"])
        assert.strictEqual(ran.code, 0, ran.stderr)
        const { address, nodeId, rttMillis, transport } = JSON.parse(ran.stdout)
        assert.deepStrictEqual([nodeId, address], [node.ready.nodeId, node.ready.addresses[0]])
        assert.include(["quic", "tls"], transport)
        assert.strictEqual(rttMillis.length, 2)
      }),
    PATIENT
  )

  it.effect(
    "an unknown operation, a missing scope and wrong input have their exit codes",
    () =>
      Effect.gen(function* () {
        const { b } = yield* Pair
        const call = (...args: ReadonlyArray<string>) => alknet(["--home", b, "call", "a", ...args, "--json"])
        const unknown = yield* call("nothing/here")
        assert.deepStrictEqual([unknown.code, errorOf(unknown).code], [3, "NOT_FOUND"])
        const forbidden = yield* call("node/status")
        assert.deepStrictEqual([forbidden.code, errorOf(forbidden).code], [3, "FORBIDDEN"])
        const invalid = yield* call("services/schema", '{"name":7}')
        assert.deepStrictEqual([invalid.code, errorOf(invalid).code], [1, "INVALID_INPUT"])
        const json = yield* call("services/schema", "{name}")
        assert.deepStrictEqual([json.code, errorOf(json).code], [2, "USAGE"])
        const peer = yield* alknet(["--home", b, "call", "nobody", "services/list", "--json"])
        assert.deepStrictEqual([peer.code, errorOf(peer).code], [1, "UNKNOWN_PEER"])
        const ticket = yield* alknet(["--home", b, "call", "alk1nonsense", "services/list", "--json"])
        assert.deepStrictEqual([ticket.code, errorOf(ticket).code], [2, "TICKET_INVALID"])
      }),
    PATIENT
  )

  it.effect(
    "a stranger is denied with exit code 3, alike for an ALPN that is there and one that is not",
    () =>
      Effect.gen(function* () {
        const { folder, node } = yield* Pair
        const stranger = join(folder, "stranger")
        const before = node.stderr().length
        const call = yield* alknet(["--home", stranger, "call", node.ready.ticket, "services/list", "--json", "-q"])
        assert.strictEqual(call.code, 3, call.stderr)
        const [address] = node.ready.addresses
        const args = ["--home", stranger, "proxy", node.ready.nodeId]
        const there = yield* alknet([...args, "alknet/call", "--addr", address!, "--json"], { stdin: "hello" })
        const absent = yield* alknet([...args, "alknet/nothing", "--addr", address!, "--json"], { stdin: "hello" })
        assert.deepStrictEqual([there.code, absent.code], [3, 3])
        assert.deepStrictEqual(errorOf(there), errorOf(absent))
        assert.deepStrictEqual(errorOf(call), errorOf(there))
        const said = node.stderr().slice(before)
        const rejects = said.split("\n").filter((line) => line.includes(" auth.reject "))
        assert.isAtLeast(rejects.length, 1)
        assert.match(
          rejects[0]!,
          /^\S+ alknet auth\.reject conn=\S+ remote=127\.0\.0\.1 method=cert credential=[a-z0-9]{52} reason=unknown$/
        )
      }),
    PATIENT
  )

  it.effect(
    "nobody there is exit code 4, and another node at the address too",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Pair
        const gone = yield* alknet(["--home", b, "ping", NOBODY, "--addr", "127.0.0.1:1", "--json"])
        assert.deepStrictEqual([gone.code, errorOf(gone).code], [4, "UNREACHABLE"])
        const other = yield* alknet(["--home", b, "ping", NOBODY, "--addr", node.ready.addresses[0]!, "--json"])
        assert.deepStrictEqual([other.code, errorOf(other).code], [4, "UNREACHABLE"])
      }),
    PATIENT
  )

  it.effect(
    "an invite is good for one node, and join can be repeated",
    () =>
      Effect.gen(function* () {
        const { b, folder, ticket } = yield* Pair
        const again = yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
        assert.strictEqual(again.code, 0, again.stderr)
        const second = yield* alknet(["--home", join(folder, "late"), "join", "-", "--name", "a", "--json", "-q"], {
          stdin: ticket
        })
        assert.deepStrictEqual([second.code, errorOf(second).code], [3, "JOIN_ERROR"])
        const damage = ticket.endsWith("q") ? "p" : "q"
        const damaged = yield* alknet(["--home", b, "join", `${ticket.slice(0, -1)}${damage}`, "--json"])
        assert.strictEqual(damaged.code, 2)
      }),
    PATIENT
  )

  it.effect(
    "proxy carries bytes both ways and ends with the other side",
    () =>
      Effect.gen(function* () {
        const { b } = yield* Pair
        const body = Buffer.from('{"type":"call.requested","id":"1","payload":{"operationId":"/node/ping","input":{}}}')
        const frame = Buffer.concat([Buffer.alloc(4), body])
        frame.writeUInt32BE(body.length)
        const ran = yield* alknet(["--home", b, "proxy", "a", "alknet/call"], { stdin: frame })
        assert.strictEqual(ran.code, 0, ran.stderr)
        assert.include(ran.stdout, '"type":"call.responded","id":"1"')
      }),
    PATIENT
  )

  it.effect(
    "unlock lends one process to all commands, connections are used again, and lock ends it",
    () =>
      Effect.gen(function* () {
        const { b } = yield* Pair
        const unlocked = yield* alknet(["--home", b, "unlock", "--for", "10m", "--json"])
        assert.strictEqual(unlocked.code, 0, unlocked.stderr)
        const { pid } = JSON.parse(unlocked.stdout)
        for (let round = 0; round < 2; round++) {
          const ran = yield* alknet(["--home", b, "call", "a", "node/ping", "--json"])
          assert.deepStrictEqual([ran.code, JSON.parse(ran.stdout)], [0, {}])
        }
        const status = JSON.parse((yield* alknet(["--home", b, "status", "--json"])).stdout)
        assert.deepStrictEqual([status.kind, status.pid, status.connectionCount], ["unlock", pid, 1])
        assert.deepStrictEqual(status.addresses, [])
        const denied = yield* alknet(["--home", b, "call", "a", "node/status", "--json"])
        assert.deepStrictEqual([denied.code, errorOf(denied).code], [3, "FORBIDDEN"])
        assert.strictEqual((yield* alknet(["--home", b, "lock"])).code, 0)
        const over = yield* alknet(["--home", b, "lock", "--json"])
        assert.deepStrictEqual([over.code, errorOf(over).code], [1, "CONTROL_ERROR"])
        assert.isFalse(existsSync(join(b, "control.sock")))
      }),
    PATIENT
  )

  it.effect(
    "unlock on a fresh home makes its vault, with the passphrase from standard input",
    () =>
      Effect.gen(function* () {
        const { folder } = yield* Pair
        const home = join(folder, "fresh")
        const unlocked = yield* alknet(["--home", home, "unlock", "--passphrase-file", "-", "--json", "-q"], {
          stdin: "a passphrase of mine\n"
        })
        assert.strictEqual(unlocked.code, 0, unlocked.stderr)
        assert.isFalse(existsSync(join(home, "passphrase")))
        const id = JSON.parse((yield* alknet(["--home", home, "id", "--json"])).stdout)
        assert.strictEqual(id.nodeId, JSON.parse(unlocked.stdout).nodeId)
        assert.strictEqual((yield* alknet(["--home", home, "lock"])).code, 0)
      }),
    PATIENT
  )

  it.effect(
    "the node that serves is not ended by lock",
    () =>
      Effect.gen(function* () {
        const { a } = yield* Pair
        const ran = yield* alknet(["--home", a, "lock", "--json"])
        assert.deepStrictEqual([ran.code, errorOf(ran).code], [1, "NODE_SERVES"])
      }),
    PATIENT
  )

  it.effect(
    "peers: a disabled one is denied, an enabled one is back; keys are shown once",
    () =>
      Effect.gen(function* () {
        const { a, b, joined } = yield* Pair
        const { knownAs } = JSON.parse(joined.stdout)
        assert.strictEqual((yield* alknet(["--home", a, "peers", "disable", knownAs])).code, 0)
        const denied = yield* alknet(["--home", b, "call", "a", "node/ping", "--json"])
        assert.strictEqual(denied.code, 3, denied.stderr)
        assert.strictEqual((yield* alknet(["--home", a, "peers", "enable", knownAs])).code, 0)
        assert.strictEqual((yield* alknet(["--home", b, "call", "a", "node/ping", "--json"])).code, 0)
        const added = yield* alknet([
          "--home",
          a,
          "peers",
          "add",
          NOBODY,
          "--name",
          "desk",
          "--role",
          "guest",
          "--scope",
          "git:read:*",
          "--json"
        ])
        assert.deepStrictEqual(JSON.parse(added.stdout).roles, ["guest"])
        const taken = yield* alknet(["--home", a, "peers", "add", NOBODY, "--name", "other", "--json"])
        assert.deepStrictEqual([taken.code, errorOf(taken).code], [1, "STORE_ERROR"])
        assert.strictEqual((yield* alknet(["--home", a, "peers", "remove", "desk"])).code, 0)

        const made = JSON.parse((yield* alknet(["--home", a, "keys", "add", "--scope", "call:*", "--json"])).stdout)
        assert.match(made.key, /^alk_[0-9A-Za-z]{26}$/)
        assert.strictEqual(made.prefix, made.key.slice(0, 8))
        assert.deepStrictEqual(made.scopes, ["call:*"])
        const listed = yield* alknet(["--home", a, "keys", "list", "--json"])
        assert.notInclude(listed.stdout, made.key)
        assert.deepStrictEqual(JSON.parse(listed.stdout), [{ prefix: made.prefix, scopes: ["call:*"], expires: null }])
        assert.strictEqual((yield* alknet(["--home", a, "keys", "revoke", made.prefix])).code, 0)
      }),
    PATIENT
  )

  it.effect(
    "Ctrl-C ends a command that waits, with 130",
    () =>
      Effect.gen(function* () {
        const { b, node } = yield* Pair
        const connected = yield* Effect.forkChild(node.says(/ conn\.open .* alpn=alknet\/call/), {
          startImmediately: true
        })
        const child = spawnAlknet(["--home", b, "proxy", "a", "alknet/call"], "pipe")
        const ended = yield* Effect.forkChild(
          Effect.callback<number | null>((resume) => {
            child.on("close", (status) => resume(Effect.succeed(status)))
          }),
          { startImmediately: true }
        )
        yield* Fiber.join(connected)
        child.kill("SIGINT")
        const code = yield* Fiber.join(ended)
        assert.strictEqual(code, 130)
      }),
    PATIENT
  )

  it.effect(
    "nothing that was printed or kept in the log holds a secret",
    () =>
      Effect.gen(function* () {
        const { node, passphrase, ticket } = yield* Pair
        const said = node.stderr()
        assert.notInclude(said, readFileSync(passphrase, "utf8").trim())
        assert.notInclude(said, ticket)
        assert.notInclude(said, " at ")
      }),
    PATIENT
  )
})
