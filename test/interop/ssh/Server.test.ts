/** OpenSSH's own programs against the SSH server. */
import { readdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import {
  entryOf,
  fingerprintOf,
  keyFile,
  newKey,
  type Ran,
  runProgram,
  type ServerOptions,
  sshArgs,
  sshServer,
  temporaryFolder
} from "../../layers/handlers/ssh/sshServer.ts"

/** A server whose peer `alice` has these scopes, and how to run `ssh` as alice. */
const arrange = (scopes: ReadonlyArray<string>, options: Omit<ServerOptions, "peers"> = {}) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const key = newKey()
    const identity = keyFile(folder, "id", key.privateText)
    const server = yield* sshServer({ ...options, peers: [entryOf("alice", [key.fingerprint], scopes)] })
    const ssh = (options: ReadonlyArray<string>, command: ReadonlyArray<string>, input?: string | Uint8Array) =>
      runProgram("ssh", [...sshArgs(server.port, "-i", identity, ...options), ...command], input)
    return { folder, identity, server, ssh, key }
  })

const text = ({ stdout }: Ran) => stdout.toString("utf8")

describe("programs", () => {
  it.live("SSH-I01 output, errors and the exit status of a program come back apart, and so does a signal", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:*"])
      const mixed = yield* ssh([], ["echo out; echo error >&2; exit 3"])
      assert.deepStrictEqual([mixed.code, text(mixed), mixed.stderr], [3, "out\n", "error\n"])
      assert.strictEqual((yield* ssh([], ["true"])).code, 0)
      // What OpenSSH says of an exit-signal.
      const killed = yield* ssh(["-v", "-o", "LogLevel=VERBOSE"], ["kill -TERM $$"])
      assert.strictEqual(killed.code, 255)
      assert.match(killed.stderr, /exit-signal|signal/i)
    })
  )

  it.live("input reaches a program and its end ends it; large output comes whole on both outputs", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:*"])
      const input = new Uint8Array(5_000_000).fill(7)
      const counted = yield* ssh([], ["wc -c"], input)
      assert.strictEqual(text(counted).trim(), "5000000")
      const echoed = yield* ssh([], ["cat"], input)
      assert.isTrue(echoed.stdout.equals(input))
      const both = yield* ssh([], ["head -c 6000000 /dev/zero >&2 & head -c 6000000 /dev/zero; wait"])
      assert.deepStrictEqual([both.stdout.length, both.stderr.length, both.code], [6_000_000, 6_000_000, 0])
    })
  )

  it.live("a program of one scope runs without a shell, and nothing else does", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:echo"])
      const quoted = yield* ssh([], ["echo 'a  b' \"c;d\" \\$HOME"])
      assert.deepStrictEqual([quoted.code, text(quoted)], [0, "a  b c;d $HOME\n"])
      for (const command of ["echo a; id", "echo $HOME", "echo *", "id", "/bin/echo a", "echo a | cat"]) {
        const refused = yield* ssh([], [command])
        assert.deepStrictEqual([refused.code, text(refused)], [255, ""], command)
        assert.match(refused.stderr, /exec request failed/, command)
      }
    })
  )

  it.live("a program that is not there is 127, one that may not be run 126", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:no-such-program", "ssh:exec:/etc/passwd"])
      assert.strictEqual((yield* ssh([], ["no-such-program"])).code, 127)
      assert.strictEqual((yield* ssh([], ["/etc/passwd"])).code, 126)
    })
  )

  it.live("only language and terminal of the client reach the environment", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:env"])
      const set = ["LANG=de_DE.UTF-8", "LC_ALL=C", "TERM=dumb", "LD_PRELOAD=/tmp/x", "PATH=/tmp", "LC_x=1"]
      const lines = text(yield* ssh(["-o", `SetEnv=${set.map((one) => `"${one}"`).join(" ")}`], ["env"])).split("\n")
      for (const wished of set.slice(0, 3)) assert.include(lines, wished)
      for (const other of set.slice(3)) assert.notInclude(lines, other)
      assert.isEmpty(lines.filter((line) => line.startsWith("ALKNET") || line.startsWith("NODE")))
    })
  )

  it.live("SSH-I09 keys change during a transfer, by the will of either side", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:*"], { rekeyBytes: 1_000_000 })
      const input = new Uint8Array(8_000_000).map((_, index) => index * 31)
      for (const options of [[], ["-o", "RekeyLimit=1M"]]) {
        const ran = yield* ssh(options, ["cat"], input)
        assert.isTrue(ran.code === 0 && ran.stdout.equals(input), options.join(" "))
      }
    })
  )
})

describe("terminals", () => {
  it.live("SSH-I02 a terminal has the size and the name that the client says", () =>
    Effect.gen(function* () {
      const { ssh } = yield* arrange(["ssh:exec:*", "ssh:shell"])
      const ran = yield* ssh(["-tt"], ["tty; echo $TERM; exit 4"])
      assert.strictEqual(ran.code, 4)
      assert.match(text(ran), /\/dev\/pts\/\d+\r\n/)
      const shell = yield* ssh(["-tt"], [], "echo $((40+2))marks; exit 5\n")
      assert.strictEqual(shell.code, 5)
      assert.include(text(shell), "42marks")
    })
  )

  it.live("a recorded session says so and leaves an asciicast that only its owner can read", () =>
    Effect.gen(function* () {
      const recordings = join(yield* temporaryFolder, "recordings")
      const { ssh } = yield* arrange(["ssh:exec:*"], { recordings })
      const ran = yield* ssh(["-tt"], ["echo seen"])
      assert.include(text(ran), "This session is recorded.")
      const [name = ""] = readdirSync(recordings)
      const [header = "", ...events] = readFileSync(join(recordings, name), "utf8").trim().split("\n")
      assert.strictEqual(JSON.parse(header).version, 2)
      const shown = events.map((line) => JSON.parse(line)).filter(([, kind]) => kind === "o")
      assert.include(shown.map(([, , data]) => data).join(""), "seen")
      assert.notInclude(text(yield* ssh([], ["echo plain"])), "recorded")
    })
  )
})

describe("logins", () => {
  it.live("SSH-I08 a certificate of an authority in the store is good for its users, its time and its command", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const [authority, user] = [newKey(), newKey()]
      const signing = keyFile(folder, "ca", authority.privateText)
      const identity = keyFile(folder, "id", user.privateText)
      const server = yield* sshServer({
        peers: [entryOf("team", [authority.fingerprint], ["ssh:exec:*", "ssh:shell"])]
      })
      const attempt = (options: ReadonlyArray<string>, run: ReadonlyArray<string>, ...ssh: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          writeFileSync(join(folder, "id.pub"), `${user.publicText}\n`)
          const made = yield* runProgram("ssh-keygen", [
            "-q",
            "-s",
            signing,
            "-I",
            "x",
            ...options,
            join(folder, "id.pub")
          ])
          assert.strictEqual(made.code, 0, made.stderr)
          return yield* runProgram("ssh", [...sshArgs(server.port, "-i", identity, ...ssh), ...run])
        })
      const good = yield* attempt(["-n", "bob,alice", "-V", "-1h:+1h"], ["echo in"])
      assert.deepStrictEqual([good.code, text(good)], [0, "in\n"])
      const forced = yield* attempt(["-n", "alice", "-O", "force-command=echo forced"], ["echo other"])
      assert.deepStrictEqual([forced.code, text(forced)], [0, "forced\n"])
      const near = yield* attempt(["-n", "alice", "-O", "source-address=127.0.0.0/8"], ["echo near"])
      assert.strictEqual(text(near), "near\n")
      const noTerminal = yield* attempt(["-n", "alice", "-O", "no-pty"], ["tty"], "-tt")
      assert.notMatch(text(noTerminal), /\/dev\//)
      for (const refused of [
        ["-n", "eve", "-V", "-1h:+1h"],
        ["-V", "-1h:+1h"],
        ["-n", "alice", "-V", "-2h:-1h"],
        ["-n", "alice", "-V", "+1h:+2h"],
        ["-n", "alice", "-O", "source-address=10.0.0.0/8"],
        ["-n", "alice", "-O", "critical:strange@example.com=1"]
      ]) {
        const ran = yield* attempt(refused, ["echo in"])
        assert.strictEqual(ran.code, 255, refused.join(" "))
        assert.match(ran.stderr, /Permission denied \(publickey\)/, refused.join(" "))
      }
      assert.isTrue(server.audit.some((line) => /auth\.reject .*method=sshkey .*reason=expired/.test(line)))
      assert.isTrue(server.audit.some((line) => /auth\.accept .*method=sshkey .*peer=team/.test(line)))
    })
  )

  it.live("keys of every kind log in; RSA keys that are too short do not", () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const make = (name: string, ...args: ReadonlyArray<string>) =>
        Effect.gen(function* () {
          yield* runProgram("ssh-keygen", ["-q", "-N", "", "-f", join(folder, name), ...args])
          const [, base64 = ""] = readFileSync(join(folder, `${name}.pub`), "utf8").split(" ")
          return fingerprintOf(Buffer.from(base64, "base64"))
        })
      const kinds = { p256: ["ecdsa", "256"], p384: ["ecdsa", "384"], p521: ["ecdsa", "521"], rsa: ["rsa", "3072"] }
      const fingerprints = yield* Effect.forEach(Object.entries(kinds), ([name, [type = "", bits = ""]]) =>
        make(name, "-t", type, "-b", bits)
      )
      fingerprints.push(yield* make("weak", "-t", "rsa", "-b", "2048"))
      const server = yield* sshServer({ peers: [entryOf("alice", fingerprints, ["ssh:exec:echo"])] })
      const login = (name: string) => runProgram("ssh", [...sshArgs(server.port, "-i", join(folder, name)), "echo in"])
      for (const name of Object.keys(kinds)) assert.strictEqual(text(yield* login(name)), "in\n", name)
      assert.strictEqual((yield* login("weak")).code, 255)
    })
  )
})
