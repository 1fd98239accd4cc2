/** A machine as a user reaches it: `alknet ssh`, and OpenSSH with what `alknet ssh-config` prints. */
import { execFile } from "node:child_process"
import { mkdirSync, readFileSync } from "node:fs"
import { dirname, join } from "node:path"
import { assert, it } from "@effect/vitest"
import * as pty from "@lydell/node-pty"
import { Effect } from "effect"
import { alknet, errorOf, PROGRAM, privateFolder, startNode, temporaryFolder } from "./Alknet.ts"

const PATIENT = 120_000

const run = (program: string, args: ReadonlyArray<string>, env: NodeJS.ProcessEnv = process.env) =>
  Effect.callback<{ readonly code: number | string; readonly stdout: string; readonly stderr: string }>((resume) => {
    const child = execFile(program, args, { env, timeout: 60_000 }, (error, stdout, stderr) =>
      resume(Effect.succeed({ code: error?.code ?? 0, stdout, stderr }))
    )
    child.stdin?.end()
  })

/** `b` knows the running node as `box`, and has these scopes there. */
const paired = (...scopes: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const folder = yield* temporaryFolder
    const a = privateFolder(folder, "a")
    const b = join(folder, "b")
    yield* startNode(a)
    const scoped = scopes.flatMap((scope) => ["--scope", scope])
    const { ticket } = JSON.parse((yield* alknet(["--home", a, "invite", ...scoped, "--json"])).stdout)
    yield* alknet(["--home", b, "join", ticket, "--name", "box", "--json"])
    return { folder, b, ssh: (...args: ReadonlyArray<string>) => alknet(["--home", b, "ssh", "box", ...args]) }
  })

it.live(
  "output, errors and the exit status of a program are those of the command; input ends it",
  () =>
    Effect.gen(function* () {
      const { b, ssh } = yield* paired("ssh:exec:*")
      const mixed = yield* ssh("echo out; echo error >&2; exit 7")
      assert.deepStrictEqual(mixed, { code: 7, stdout: "out\n", stderr: "error\n" })
      assert.strictEqual((yield* ssh("kill -TERM $$")).code, 143)
      const large = yield* ssh("--", "head", "-c", "3000000", "/dev/zero")
      assert.deepStrictEqual([large.code, large.stdout.length], [0, 3_000_000])
      const counted = yield* alknet(["--home", b, "ssh", "box", "wc -c"], { stdin: new Uint8Array(3_000_000) })
      assert.strictEqual(counted.stdout.trim(), "3000000")
    }).pipe(Effect.scoped),
  PATIENT
)

it.live(
  "who may not is told so, with the exit code for it",
  () =>
    Effect.gen(function* () {
      const some = yield* paired("ssh:exec:true")
      const refused = yield* some.ssh("--json", "id")
      assert.deepStrictEqual([refused.code, errorOf(refused).code], [3, "DENIED"])
      assert.strictEqual((yield* some.ssh("true")).code, 0)
      const none = yield* paired("call:*")
      const denied = yield* none.ssh("--json", "true")
      assert.deepStrictEqual([denied.code, errorOf(denied).code], [3, "DENIED"])
    }).pipe(Effect.scoped),
  PATIENT
)

/** A terminal in which the command runs; `until` waits for what it shows from then on. */
const onTerminal = (args: ReadonlyArray<string>) =>
  Effect.gen(function* () {
    const terminal = yield* Effect.acquireRelease(
      Effect.sync(() => pty.spawn("/bin/sh", ["-c", `"$@"; echo "left $?"; stty -a`, "sh", PROGRAM, ...args], {})),
      (terminal) => Effect.sync(() => terminal.kill("SIGKILL"))
    )
    let shown = ""
    const watchers = new Set<() => void>()
    terminal.onData((text) => {
      shown += text
      for (const watch of watchers) watch()
    })
    const until = (pattern: RegExp): Effect.Effect<void> =>
      Effect.callback<void>((resume) => {
        const watch = () => {
          const found = pattern.exec(shown)
          if (found === null) return
          watchers.delete(watch)
          shown = shown.slice(found.index + found[0].length)
          resume(Effect.void)
        }
        watchers.add(watch)
        watch()
      }).pipe(
        Effect.timeoutOrElse({
          duration: "60 seconds",
          orElse: () => Effect.die(new Error(`${pattern} never came; there was: ${shown}`))
        })
      )
    return { terminal, until }
  })

it.live(
  "SSH-I02 a shell has our terminal's size, also a new one; Ctrl-C is its own; ~. leaves, and the terminal is as it was",
  () =>
    Effect.gen(function* () {
      const { b } = yield* paired("ssh:shell")
      const { terminal, until } = yield* onTerminal(["--home", b, "ssh", "box"])
      terminal.write("stty size; echo $((40+2))marks\r")
      yield* until(/24 80[\s\S]*42marks/)
      terminal.resize(100, 30)
      terminal.write("stty size; echo $((40+3))marks\r")
      yield* until(/30 100[\s\S]*43marks/)
      terminal.write("sleep 600\r")
      yield* until(/sleep 600/)
      terminal.write("\u0003")
      terminal.write("echo $((40+4))marks\r")
      yield* until(/44marks/)
      terminal.write("\r~.")
      yield* until(/left 255/)
      yield* until(/ icanon[\s\S]* echo /)
    }).pipe(Effect.scoped),
  PATIENT
)

/** The lines of the first fenced `sh` blocks of the guide. */
const commandsOfGuide = (): ReadonlyArray<string> => {
  const guide = readFileSync(join(dirname(PROGRAM), "../docs/reach-your-machine.md"), "utf8")
  return [...guide.matchAll(/^```sh\n([\s\S]*?)^```$/gm)].flatMap(([, block = ""]) => block.trim().split("\n"))
}

it.live(
  "the guide leads from nothing to `ssh mybox` in three commands, as written",
  () =>
    Effect.gen(function* () {
      const folder = yield* temporaryFolder
      const environmentOf = (name: string) => {
        const home = privateFolder(folder, name)
        mkdirSync(join(home, ".ssh"))
        return { PATH: `${dirname(PROGRAM)}:${process.env["PATH"]}`, HOME: home }
      }
      const [machine, desk] = [environmentOf("machine"), environmentOf("desk")]
      mkdirSync(join(machine.HOME, ".local/share"), { recursive: true })
      yield* startNode(join(machine.HOME, ".local/share/alknet"))
      const shell = (line: string, env: NodeJS.ProcessEnv) => run("/bin/sh", ["-c", line], env)
      const [invite = "", join_ = "", config = "", ssh = "", ...ours] = commandsOfGuide()
      const invited = yield* shell(invite, machine)
      assert.strictEqual(invited.code, 0, invited.stderr)
      const joined = yield* shell(join_.replace("TICKET", invited.stdout.trim()), desk)
      assert.strictEqual(joined.code, 0, joined.stderr)
      const configured = yield* shell(config, desk)
      assert.strictEqual(configured.code, 0, configured.stderr)
      // OpenSSH looks for its config where the system says that the user lives.
      const file = join(desk.HOME, ".ssh/config")
      const reached = yield* shell(
        `${ssh.replace("ssh ", `ssh -F ${file} -o BatchMode=yes `)} 'echo there; exit 5'`,
        desk
      )
      assert.deepStrictEqual([reached.code, reached.stdout], [5, "there\n"], reached.stderr)
      const listed = yield* shell(ours[1] ?? "", desk)
      assert.deepStrictEqual([listed.code, listed.stdout.startsWith("Filesystem")], [0, true], listed.stderr)
    }).pipe(Effect.scoped),
  PATIENT
)

it.live(
  "OpenSSH refuses a node that shows another host key than ssh-config has printed",
  () =>
    Effect.gen(function* () {
      const { b, folder } = yield* paired("ssh:exec:*")
      const printed = yield* alknet(["--home", b, "ssh-config", "box", "--json"])
      const { config, knownHosts } = JSON.parse(printed.stdout)
      assert.match(knownHosts, /^alknet-[a-z0-9]{52} ssh-ed25519 AAAA/)
      const write = (name: string, text: string) => {
        const path = join(privateFolder(folder, name), "config")
        return Effect.as(
          Effect.promise(() => import("node:fs/promises").then((files) => files.writeFile(path, text))),
          path
        )
      }
      const good = yield* write("good", config)
      assert.strictEqual((yield* run("ssh", ["-F", good, "-o", "BatchMode=yes", "box", "true"])).code, 0)
      const another = "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"
      const bad = yield* write("bad", config.replace(/AAAA\S+/, another))
      const refused = yield* run("ssh", [
        "-F",
        bad,
        "-o",
        "BatchMode=yes",
        "-o",
        "UserKnownHostsFile=none",
        "box",
        "true"
      ])
      assert.strictEqual(refused.code, 255)
      assert.match(refused.stderr, /verification failed/i)
    }).pipe(Effect.scoped),
  PATIENT
)
