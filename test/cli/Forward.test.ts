/** `alknet forward` and `alknet socks` as a user types them: a web server behind one node, curl at the other. */
import { execFile } from "node:child_process"
import { writeFileSync } from "node:fs"
import { createServer } from "node:http"
import { connect } from "node:net"
import { join } from "node:path"
import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { alknet, errorOf, secretFile, spawnAlknet, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 120_000

/** A web server that says its name and what was asked. */
const web = (name: string): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer((request, response) => response.end(`${name} ${request.url}`))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.sync(() => {
        server.close()
        server.closeAllConnections()
      })
  ).pipe(
    Effect.map((server) => {
      const address = server.address()
      return typeof address === "object" && address !== null ? address.port : 0
    })
  )

/** Runs one of the two until the scope closes; gives its first line. */
const ready = (args: ReadonlyArray<string>) =>
  Effect.acquireRelease(
    Effect.sync(() => spawnAlknet([...args, "--json"])),
    (child) =>
      Effect.callback<void>((resume) => {
        if (child.exitCode !== null) return resume(Effect.void)
        child.once("close", () => resume(Effect.void))
        child.kill("SIGINT")
      })
  ).pipe(
    Effect.flatMap((child) =>
      Effect.callback<string, string>((resume) => {
        let [stdout, stderr] = ["", ""]
        child.stderr?.on("data", (bytes) => {
          stderr += String(bytes)
        })
        child.once("close", () => resume(Effect.fail(stderr)))
        child.stdout?.on("data", (bytes) => {
          stdout += String(bytes)
          if (stdout.includes("\n")) resume(Effect.succeed(stdout))
        })
      })
    ),
    Effect.map((line) => JSON.parse(line))
  )

const curl = (...args: ReadonlyArray<string>): Effect.Effect<string> =>
  Effect.callback((resume) => {
    const child = execFile("curl", ["--silent", "--max-time", "20", "--noproxy", "", ...args], (_error, stdout) =>
      resume(Effect.succeed(stdout))
    )
    return Effect.sync(() => child.kill())
  })

const arrange = Effect.gen(function* () {
  const folder = yield* temporaryFolder
  const [a, b] = [join(folder, "a"), join(folder, "b")]
  const behind = yield* web("behind")
  const here = yield* web("here")
  yield* alknet(["--home", a, "config", "set", "forward.rules", "deny *:25", `allow 127.0.0.1:${behind}`])
  const far = yield* startNode(a, ["--log-level", "trace"])
  const scopes = [`ssh:forward:127.0.0.1:${behind}`, "ssh:forward:127.0.0.1:25", "ssh:listen:127.0.0.1:0"]
  const invite = ["--home", a, "invite", ...scopes.flatMap((scope) => ["--scope", scope]), "--json"]
  const { ticket } = JSON.parse((yield* alknet(invite)).stdout)
  yield* alknet(["--home", b, "join", ticket, "--name", "a", "--json"])
  return { folder, a, b, behind, far, here }
})

class Pair extends Context.Service<Pair, Effect.Success<typeof arrange>>()("test/ForwardPair") {
  static readonly layer = Layer.effect(this, arrange)
}

layer(Pair.layer, { excludeTestServices: true, timeout: PATIENT })("forwarding on the command line", (it) => {
  it.effect(
    "forward goes both ways and says where",
    () =>
      Effect.gen(function* () {
        const { b, behind, here } = yield* Pair
        const local = `0:127.0.0.1:${behind}`
        const remote = `0:127.0.0.1:${here}`
        const said = yield* ready(["--home", b, "forward", "-L", local, "-L", "0:127.0.0.1:25", "-R", remote, "a"])
        assert.strictEqual(said.event, "ready")
        assert.deepStrictEqual(
          said.forwards.map(({ destination, side }: { destination: string; side: string }) => [side, destination]),
          [
            ["local", `127.0.0.1:${behind}`],
            ["local", "127.0.0.1:25"],
            ["remote", `127.0.0.1:${here}`]
          ]
        )
        const [first, denied, third] = said.forwards.map(({ listen }: { listen: string }) => `http://${listen}/x`)
        assert.strictEqual(yield* curl(first), "behind /x")
        assert.strictEqual(yield* curl(denied), "")
        assert.strictEqual(yield* curl(third), "here /x")
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.effect(
    "SSH-I06 curl through the proxy reaches a web server behind the peer, with a login where one is asked for",
    () =>
      Effect.gen(function* () {
        const { b, behind, folder } = yield* Pair
        const url = `http://127.0.0.1:${behind}/y`
        const plain = yield* ready(["--home", b, "socks", "a", "--listen", "127.0.0.1:0"])
        assert.deepStrictEqual(Object.keys(plain), ["event", "listen"])
        assert.strictEqual(yield* curl("--proxy", `socks5h://${plain.listen}`, url), "behind /y")
        assert.strictEqual(yield* curl("--proxy", `socks5h://${plain.listen}`, "http://127.0.0.1:25/"), "")
        const login = secretFile(folder, "login", "me:a secret\n")
        const locked = yield* ready(["--home", b, "socks", "a", "--listen", "127.0.0.1:0", "--login-file", login])
        assert.strictEqual(yield* curl("--proxy", `socks5h://me:a%20secret@${locked.listen}`, url), "behind /y")
        assert.strictEqual(yield* curl("--proxy", `socks5h://${locked.listen}`, url), "")
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.effect(
    "SSH-I13 what the peer does not allow ends with exit code 3, what makes no sense with 2",
    () =>
      Effect.gen(function* () {
        const { b, folder } = yield* Pair
        const forward = (...args: ReadonlyArray<string>) => alknet(["--home", b, "forward", ...args, "a", "--json"])
        const denied = yield* forward("-R", "8080:127.0.0.1:80")
        assert.deepStrictEqual([denied.code, errorOf(denied).code], [3, "DENIED"])
        for (const wrong of [[], ["-L", "8080"], ["-R", "8080:host"]]) {
          assert.strictEqual((yield* forward(...wrong)).code, 2)
        }
        const open = yield* alknet(["--home", b, "socks", "a", "--listen", "0.0.0.0:0", "--json"])
        assert.strictEqual(open.code, 2)
        writeFileSync(join(folder, "plain"), "me:x")
        const shown = ["--home", b, "socks", "a", "--login-file", join(folder, "plain"), "--json"]
        assert.strictEqual((yield* alknet(shown)).code, 1)
      }),
    PATIENT
  )

  it.effect(
    "the log of the peer names no destination, at any level",
    () =>
      Effect.gen(function* () {
        const { b, behind, far } = yield* Pair
        const { listen } = yield* ready(["--home", b, "socks", "a", "--listen", "127.0.0.1:0"])
        const proxy = ["--proxy", `socks5h://${listen}`]
        assert.strictEqual(yield* curl(...proxy, `http://127.0.0.1:${behind}/z`), "behind /z")
        assert.strictEqual(yield* curl(...proxy, "http://hidden-name.example/"), "")
        assert.include(far.stderr(), "alpn=alknet/tunnel")
        assert.notInclude(far.stderr(), "hidden-name")
        assert.notMatch(far.stderr(), new RegExp(`127\\.0\\.0\\.1\\S{0,3}${behind}`))
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.effect(
    "both go through the endpoint of a running node of the same home",
    () =>
      Effect.gen(function* () {
        const { b, behind, here } = yield* Pair
        const node = yield* startNode(b)
        assert.include(node.ready.alpns, "alknet/tunnel")
        const [local, remote] = [`0:127.0.0.1:${behind}`, `0:127.0.0.1:${here}`]
        const { forwards } = yield* ready(["--home", b, "forward", "-L", local, "-R", remote, "a"])
        assert.strictEqual(yield* curl(`http://${forwards[0].listen}/b`), "behind /b")
        assert.strictEqual(yield* curl(`http://${forwards[1].listen}/c`), "here /c")
        const { listen } = yield* ready(["--home", b, "socks", "a", "--listen", "127.0.0.1:0"])
        assert.strictEqual(yield* curl("--proxy", `socks5h://${listen}`, `http://127.0.0.1:${behind}/d`), "behind /d")
      }).pipe(Effect.scoped),
    PATIENT
  )

  it.effect(
    "SSH-I12 kill -9 of the using side leaves no listener at the other",
    () =>
      Effect.gen(function* () {
        const { b, here } = yield* Pair
        const child = spawnAlknet(["--home", b, "forward", "-R", `0:127.0.0.1:${here}`, "a", "--json"])
        const line = yield* Effect.callback<string>((resume) => {
          child.stdout?.once("data", (bytes) => resume(Effect.succeed(String(bytes))))
        })
        const url = `http://${JSON.parse(line).forwards[0].listen}/`
        assert.strictEqual(yield* curl(url), "here /")
        child.kill("SIGKILL")
        // The listener goes when the connection is known to be gone: after its idle time.
        const port = Number(new URL(url).port)
        const refused = Effect.callback<boolean>((resume) => {
          const socket = connect({ host: "127.0.0.1", port }, () => {
            socket.destroy()
            resume(Effect.succeed(false))
          })
          socket.on("error", () => resume(Effect.succeed(true)))
        })
        yield* Effect.repeat(Effect.delay(refused, "250 millis"), { until: (isGone) => isGone })
      }),
    PATIENT
  )
})
